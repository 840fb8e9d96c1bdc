/**
 * Lines of input as entries to send: whole entries, lines of text, or JSON values that become bodies. Pure.
 */
import { Problem } from "../errors.ts";

export interface EntryFormat {
  /**
   * `entry`: NDJSON of `{"kind","actor"?,"at_ms"?,"key"?,"body"}`; `text`: each line is a body; `json`: each
   * line is the JSON of a body, verbatim.
   */
  form: "entry" | "text" | "json";
  kind?: string;
  actor?: string;
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const DEFAULT_KIND = "note";

function decode(line: Uint8Array, number: number): string {
  try {
    return decoder.decode(line);
  } catch {
    throw new Problem("malformed_body", `Line ${number} is not UTF-8.`, {
      hint: "Convert the input, for instance with iconv.",
    });
  }
}

function isBlank(line: Uint8Array): boolean {
  return line.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d);
}

function withoutReturn(line: Uint8Array): Uint8Array {
  return line.at(-1) === 0x0d ? line.subarray(0, -1) : line;
}

/**
 * The line to send for line `number` (from 1), or null for one to be passed over: blank lines, except in
 * text, where they are content. Errors: `malformed_body`.
 */
export function entryLine(
  line: Uint8Array,
  number: number,
  { form, kind, actor }: EntryFormat,
): Uint8Array | null {
  if (form === "entry") return isBlank(line) ? null : withoutReturn(line);
  const actor_member = actor === undefined ? "" : `,"actor":${JSON.stringify(actor)}`;
  const head = `{"kind":${JSON.stringify(kind ?? DEFAULT_KIND)}${actor_member},"body":`;
  if (form === "text") return Buffer.from(`${head}${JSON.stringify(decode(withoutReturn(line), number))}}`);
  if (isBlank(line)) return null;
  const body = decode(line, number).trim();
  try {
    // Not for its value: a line that is no single value could bring members of its own into the entry.
    JSON.parse(body);
  } catch {
    throw new Problem("malformed_body", `Line ${number} is not JSON.`, {
      hint: "--text takes lines as they are.",
    });
  }
  return Buffer.from(`${head}${body}}`);
}
