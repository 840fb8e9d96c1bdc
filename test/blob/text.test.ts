/** What counts as text: by its bytes alone, and only by the first of them. */
import { describe, expect, test } from "bun:test";
import { gzipSync } from "node:zlib";
import { looksLikeText } from "../../src/blob/text.ts";
import { limit } from "../../src/limits.ts";

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

describe("text", () => {
  test.each([
    ["a line", "hello\n"],
    ["one letter", "x"],
    ["empty lines", "\n\n\r\n"],
    ["JSON lines", '{"a":1}\n{"a":2}\n'],
    ["a byte order mark", "\ufeffhello"],
    ["many scripts", "héllo 界 \u{1f600}\n"],
    ["a terminal's log", "\u001b[31mred\u001b[0m\tx\b\b\f\r\n".repeat(50)],
    ["a bell now and then", `${"x".repeat(99)}\u0007`],
    ["a name of a format further on", "see %PDF-1.7"],
    ["a RIFF that is no picture", "RIFF and more of this text"],
  ])("is %s", (_name, text) => {
    expect(looksLikeText(bytesOf(text))).toBe(true);
  });

  test("may end within a character, wherever it is cut", () => {
    for (const character of ["é", "界", "\u{1f600}"]) {
      const bytes = bytesOf(`hello ${character}`);
      for (let end = 6; end <= bytes.byteLength; end += 1)
        expect(looksLikeText(bytes.subarray(0, end))).toBe(true);
    }
  });
});

describe("not text", () => {
  test.each([
    ["nothing", []],
    ["NUL", [0x61, 0x00, 0x62]],
    ["UTF-16", [0xff, 0xfe, 0x61, 0x00]],
    ["Latin-1", [0x63, 0x61, 0x66, 0xe9, 0x20, 0x61]],
    ["a byte that begins no character", [0x61, 0xff]],
    ["the end of a character without its beginning", [0x61, 0x80, 0x80, 0x80, 0x80]],
    ["a character cut in the middle of the sample", [0xe7, 0x95, 0x61]],
    ["an overlong character", [0xc0, 0x80, 0x61]],
    ["half a surrogate pair", [0xed, 0xa0, 0x80, 0x61]],
    ["mostly control characters", [0x01, 0x02, 0x61, 0x7f]],
    ["gzip", [...gzipSync("hello")]],
    ["zstd", [...Bun.zstdCompressSync("hello")]],
    ["zip", [...bytesOf("PK\u0003\u0004 and text")]],
    ["PNG", [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]],
    ["JPEG", [0xff, 0xd8, 0xff, 0xe0]],
    ["GIF", [...bytesOf("GIF89a and text")]],
    ["WebP", [...bytesOf("RIFFxxxxWEBP")]],
    ["PDF", [...bytesOf("%PDF-1.7\n")]],
    ["ELF", [...bytesOf("\u007fELF and text")]],
  ])("is %s", (_name, bytes) => {
    expect(looksLikeText(Uint8Array.from(bytes))).toBe(false);
  });

  test("is a second bell in a hundred bytes", () => {
    expect(looksLikeText(bytesOf(`${"x".repeat(98)}\u0007\u0007`))).toBe(false);
  });
});

test("only the first text_sample_bytes count", () => {
  const bytes = new Uint8Array(limit("text_sample_bytes") + 1).fill(0x61);
  bytes[limit("text_sample_bytes")] = 0;
  expect(looksLikeText(bytes)).toBe(true);
  bytes[limit("text_sample_bytes") - 1] = 0;
  expect(looksLikeText(bytes)).toBe(false);
});
