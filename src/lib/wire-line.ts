/**
 * The wire line of an entry: how it is written, and how its members are found again without parsing the body.
 *
 *   {"received_at_ms":1,"seq":7,"kind":"message","actor":"agent","at_ms":1,"key":"k","body":…}
 *
 * The order is fixed and the body is last and verbatim, so that what is stored is what is served. The text from
 * `"seq"` to the end is what the running head covers: the time of receipt is the server's and is left out.
 */

export interface LineHeader {
  received_at_ms: number;
  seq: number;
  kind: string;
  actor: string;
  at_ms: number;
  key?: string;
}

const NEWLINE = 10;
const decoder = new TextDecoder();

/** The part of a line that the running head covers, from `"seq"` to the closing brace. */
export function headedText(entry: Omit<LineHeader, "received_at_ms"> & { body: string }): string {
  const key = entry.key === undefined ? "" : `,"key":${JSON.stringify(entry.key)}`;
  return `"seq":${entry.seq},"kind":"${entry.kind}","actor":"${entry.actor}","at_ms":${entry.at_ms}${key},"body":${entry.body}}`;
}

/** A whole line, without its newline. */
export function wireLine(received_at_ms: number, headed: string): string {
  return `{"received_at_ms":${received_at_ms},${headed}`;
}

/** Where `"seq"` begins in a line that starts at `start`: behind `{"received_at_ms":` and its digits and comma. */
export function headedStart(bytes: Uint8Array, start: number): number {
  return bytes.indexOf(44, start) + 1;
}

/** The longest that the members before `body` can be: a key of 200 characters, each escaped to six at most. */
const HEADER_BYTES = 2_048;
const HEADER =
  /^\{"received_at_ms":(\d+),"seq":(\d+),"kind":"([a-z_]+)","actor":"([a-z]+)","at_ms":(\d+)(?:,"key":("(?:[^"\\]|\\.)*"))?,"body":/;

/** The members before the body, and where the body begins, relative to `start`. Throws on what is not a wire line. */
export function readHeader(bytes: Uint8Array, start = 0): { header: LineHeader; body_start: number } {
  // A character cut in two at the end of the slice becomes U+FFFD and lies behind the header in any case.
  const text = decoder.decode(bytes.subarray(start, start + HEADER_BYTES));
  const found = HEADER.exec(text);
  if (found === null) throw new Error("not a wire line");
  const [matched, received_at_ms, seq, kind, actor, at_ms, key] = found;
  const header: LineHeader = {
    received_at_ms: Number(received_at_ms),
    seq: Number(seq),
    kind: kind ?? "",
    actor: actor ?? "",
    at_ms: Number(at_ms),
  };
  if (key !== undefined) header.key = JSON.parse(key) as string;
  return { header, body_start: Buffer.byteLength(matched) };
}

/** The kind of the line at `start`, found at bytes; about a tenth of the cost of `readHeader`. */
export function readKind(bytes: Uint8Array, start: number): string {
  const from = bytes.indexOf(34, bytes.indexOf(44, headedStart(bytes, start)) + 8) + 1;
  return decoder.decode(bytes.subarray(from, bytes.indexOf(34, from)));
}

/** Where each line of NDJSON starts, and one past the end as the last element. */
export function lineStarts(bytes: Uint8Array): Uint32Array {
  const starts: number[] = [0];
  for (let at = bytes.indexOf(NEWLINE); at !== -1; at = bytes.indexOf(NEWLINE, at + 1)) starts.push(at + 1);
  return Uint32Array.from(starts);
}

/** A line whose body is left out: `"body":null` with its length and the beginning of its text. No newline. */
export function previewLine(line: Uint8Array, preview_characters: number): Uint8Array {
  const { body_start } = readHeader(line);
  const body_bytes = line.byteLength - body_start - 1;
  // Four bytes a character at most; a character cut at the end is dropped with the slice.
  const text = decoder.decode(
    line.subarray(body_start, body_start + Math.min(body_bytes, preview_characters * 4)),
  );
  const preview = JSON.stringify(text.slice(0, preview_characters).toWellFormed());
  const head = decoder.decode(line.subarray(0, body_start));
  return Buffer.from(`${head}null,"body_bytes":${body_bytes},"preview":${preview}}`);
}
