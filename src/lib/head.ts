/**
 * The running head of a transcript: head(n) = SHA-256(head(n-1) || text of line n from `"seq"`), head(0) = 32 zero
 * bytes. A client can compute it, and the same history has the same head in every store.
 */
import { headedStart } from "./wire-line.ts";

export const ZERO_HEAD: Uint8Array = new Uint8Array(32);

/** The head after one more line, given the part of it that is covered (see `headedText`). */
export function nextHead(head: Uint8Array, headed: string | Uint8Array): Uint8Array {
  const hasher = new Bun.CryptoHasher("sha256");
  hasher.update(head);
  hasher.update(headed);
  return hasher.digest();
}

/** The head after the wire lines in `bytes`; `starts` is what `lineStarts` gave, each line ends before its newline. */
export function headAfterLines(
  head: Uint8Array,
  bytes: Uint8Array,
  starts: Uint32Array,
  from = 0,
  to = starts.length - 1,
): Uint8Array {
  let current = head;
  for (let index = from; index < to; index += 1) {
    const start = starts[index] ?? 0;
    const end = (starts[index + 1] ?? 0) - 1;
    current = nextHead(current, bytes.subarray(headedStart(bytes, start), end));
  }
  return current;
}

export function headHex(head: Uint8Array): string {
  return Buffer.from(head.buffer, head.byteOffset, head.byteLength).toString("hex");
}
