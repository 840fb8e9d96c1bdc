/** Lines out of pieces of bytes, in memory bounded by the longest line. */
import { Problem } from "../errors.ts";
import { bytes } from "./format.ts";

const NEWLINE = 10;

/**
 * The lines of each piece as they become whole, without their newlines; empty ones too, so that they can be
 * counted. A last line without a newline comes at the end. Errors: `too_large` for a line above `max_bytes`.
 */
export async function* readLines(
  source: AsyncIterable<Uint8Array>,
  max_bytes: number,
): AsyncGenerator<Uint8Array[]> {
  let held: Uint8Array[] = [];
  let held_bytes = 0;
  let count = 0;
  const hold = (piece: Uint8Array): void => {
    held_bytes += piece.byteLength;
    if (held_bytes > max_bytes)
      throw new Problem("too_large", `Line ${count + 1} is longer than ${bytes(max_bytes)}.`);
    if (piece.byteLength > 0) held.push(piece);
  };
  const release = (): Uint8Array => {
    const line = held.length === 1 ? (held[0] ?? new Uint8Array()) : Buffer.concat(held, held_bytes);
    held = [];
    held_bytes = 0;
    count += 1;
    return line;
  };
  for await (const piece of source) {
    const lines: Uint8Array[] = [];
    let start = 0;
    for (let end = piece.indexOf(NEWLINE); end !== -1; end = piece.indexOf(NEWLINE, start)) {
      hold(piece.subarray(start, end));
      lines.push(release());
      start = end + 1;
    }
    hold(piece.subarray(start));
    if (lines.length > 0) yield lines;
  }
  if (held_bytes > 0) yield [release()];
}
