/** The index of newlines against a walk through the bytes: seeded texts, blocks of many sizes, bytes in any portions. */
import { describe, expect, test } from "bun:test";
import { createLineIndex, type LineBlocks, storedLineIndex } from "../../src/blob/line-index.ts";
import { createRandom, randomText } from "./random-text.ts";

const newlinesIn = (bytes: Uint8Array): number => bytes.filter((byte) => byte === 0x0a).length;

/** Everything that an index says about a text, compared with the text. */
function check(index: LineBlocks, text: Uint8Array, starts: readonly number[]): void {
  expect(index.scanned_bytes).toBe(text.byteLength);
  expect(index.newline_count).toBe(newlinesIn(text));
  for (const [block, start] of starts.entries()) {
    expect(index.blockStart(block)).toBe(start);
    expect(index.newlinesBefore(block)).toBe(newlinesIn(text.subarray(0, start)));
    const next = starts[block + 1] ?? text.byteLength;
    if (next > start) expect([index.blockAt(start), index.blockAt(next - 1)]).toEqual([block, block]);
  }
  expect(index.blockOfLine(1)).toBe(0);
  let number = 1;
  for (const [at, byte] of text.entries()) {
    if (byte !== 0x0a) continue;
    number += 1;
    expect(index.blockOfLine(number)).toBe(index.blockAt(at));
  }
}

function multiples(block_bytes: number, size_bytes: number): number[] {
  return Array.from({ length: Math.floor(size_bytes / block_bytes) + 1 }, (_, index) => index * block_bytes);
}

describe("an index that grows", () => {
  test("says of every block and line what the text says, in whatever portions it came", () => {
    const random = createRandom(1);
    for (const block_bytes of [1, 2, 3, 7, 64, 1000]) {
      for (let round = 0; round < 6; round += 1) {
        const text = randomText(random, random(400));
        const index = createLineIndex(block_bytes);
        for (let at = 0; at < text.byteLength;) {
          const end = at + 1 + random(150);
          index.extend(text.subarray(at, end));
          at = end;
        }
        check(index, text, multiples(block_bytes, text.byteLength));
      }
    }
  });

  test("is empty at first, with one block and one line to begin", () => {
    const index = createLineIndex(4);
    check(index, new Uint8Array(), [0]);
    index.extend(new Uint8Array());
    check(index, new Uint8Array(), [0]);
  });

  test("counts bytes once that are brought again, and none behind a gap", () => {
    const random = createRandom(2);
    const text = randomText(random, 300);
    const index = createLineIndex(16);
    while (index.scanned_bytes < text.byteLength) {
      const offset = random(text.byteLength);
      const before = index.scanned_bytes;
      const end = Math.min(text.byteLength, offset + random(60));
      index.extend(text.subarray(offset, end), offset);
      expect(index.scanned_bytes).toBe(offset > before ? before : Math.max(before, end));
    }
    check(index, text, multiples(16, text.byteLength));
  });
});

describe("an index from stored counts", () => {
  test("says of every block and line what the text says, however long the blocks are", () => {
    const random = createRandom(3);
    for (let round = 0; round < 30; round += 1) {
      const text = randomText(random, random(400));
      const starts = [0];
      for (let at = 0; at < text.byteLength;) {
        at = Math.min(text.byteLength, at + 1 + random(90));
        starts.push(at);
      }
      const before = starts.map((start) => newlinesIn(text.subarray(0, start)));
      check(storedLineIndex(Float64Array.from(starts), Float64Array.from(before)), text, starts);
    }
  });
});
