/**
 * Whether bytes are text that is worth compressing and showing by lines. It looks at the content only: names and media
 * types are what a sender says.
 */
import { isUtf8 } from "node:buffer";
import { limit } from "../limits.ts";

/** First bytes of formats that are compressed already or no text, also where the rest would pass for text. */
const MAGIC: readonly (readonly number[])[] = [
  [0x1f, 0x8b], // gzip
  [0x28, 0xb5, 0x2f, 0xfd], // zstd
  [0x50, 0x4b, 0x03, 0x04], // zip
  [0x50, 0x4b, 0x05, 0x06], // zip without files
  [0x89, 0x50, 0x4e, 0x47], // PNG
  [0xff, 0xd8, 0xff], // JPEG
  [0x47, 0x49, 0x46, 0x38, 0x37, 0x61], // GIF87a
  [0x47, 0x49, 0x46, 0x38, 0x39, 0x61], // GIF89a
  [0x25, 0x50, 0x44, 0x46, 0x2d], // PDF
  [0x7f, 0x45, 0x4c, 0x46], // ELF
];
const RIFF = [0x52, 0x49, 0x46, 0x46];
const WEBP = [0x57, 0x45, 0x42, 0x50];
const WEBP_AT = 8;

/** What terminals and their logs are full of: BS, tab, LF, FF, CR, ESC. */
const USUAL_CONTROLS = new Set([0x08, 0x09, 0x0a, 0x0c, 0x0d, 0x1b]);
/** Of this many bytes one may be another control character: bells and the like in a log. */
const BYTES_PER_CONTROL = 100;

/**
 * Looks at the first `text_sample_bytes`: UTF-8 without NUL and with few control characters, and no known format. A
 * character may be cut off at the end. Nothing at all is not text.
 */
export function looksLikeText(sample: Uint8Array): boolean {
  const bytes = sample.subarray(0, limit("text_sample_bytes"));
  if (bytes.byteLength === 0 || isKnownFormat(bytes)) return false;
  if (!isUtf8(bytes.subarray(0, endOfCharacters(bytes)))) return false;
  let control_count = 0;
  for (const byte of bytes) {
    if (byte === 0) return false;
    if ((byte < 0x20 && !USUAL_CONTROLS.has(byte)) || byte === 0x7f) control_count += 1;
  }
  return control_count * BYTES_PER_CONTROL <= bytes.byteLength;
}

function isKnownFormat(bytes: Uint8Array): boolean {
  return (
    MAGIC.some((magic) => hasAt(bytes, 0, magic)) || (hasAt(bytes, 0, RIFF) && hasAt(bytes, WEBP_AT, WEBP))
  );
}

function hasAt(bytes: Uint8Array, offset: number, magic: readonly number[]): boolean {
  return magic.every((byte, index) => bytes[offset + index] === byte);
}

/** Where the last whole character ends: before the first byte of one that says it is longer than what is there. */
function endOfCharacters(bytes: Uint8Array): number {
  const { byteLength } = bytes;
  for (let back = 1; back <= 3 && back <= byteLength; back += 1) {
    const byte = bytes[byteLength - back] ?? 0;
    if (byte >= 0xc0) return characterLength(byte) > back ? byteLength - back : byteLength;
    if (byte < 0x80) break;
  }
  return byteLength;
}

/** Of a character in UTF-8, by its first byte (RFC 3629 §3). */
function characterLength(first: number): number {
  if (first >= 0xf0) return first <= 0xf4 ? 4 : 1;
  return first >= 0xe0 ? 3 : 2;
}
