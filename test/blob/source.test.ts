/**
 * Open files of both encodings against the naive way, which is to take the whole text and split it: seeded texts,
 * blocks of many sizes, every range, lines from anywhere and tails of any length.
 */
import { describe, expect, test } from "bun:test";
import { readFileSync, truncateSync } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import type { Blob, LinesRange, TextLines } from "../../src/blob/contract.ts";
import { createLineIndex } from "../../src/blob/line-index.ts";
import { openIdentity, openSeekable } from "../../src/blob/source.ts";
import { Problem } from "../../src/errors.ts";
import { limit } from "../../src/limits.ts";
import { createFiles, joined } from "./files.ts";
import { createRandom, type Random, randomText } from "./random-text.ts";

const files = createFiles();

/** A text as both encodings, each opened and closed again. */
async function withBoth(
  text: Uint8Array,
  block_bytes: number,
  work: (blob: Blob) => Promise<void>,
): Promise<void> {
  const plain = files.write(text);
  const made = (await files.compress(text, { block_bytes }))!;
  for (const blob of [
    openIdentity(await open(plain, "r"), plain, text.byteLength, createLineIndex(block_bytes)),
    await openSeekable(await open(made.path, "r"), made.path, made.stored_bytes),
  ]) {
    await work(blob);
    await blob.close();
  }
}

interface NaiveLine {
  start: number;
  end: number;
}

function naiveLines(text: Uint8Array): NaiveLine[] {
  const lines: NaiveLine[] = [];
  let start = 0;
  for (const [at, byte] of text.entries()) {
    if (byte !== 0x0a) continue;
    lines.push({ start, end: at });
    start = at + 1;
  }
  if (start < text.byteLength) lines.push({ start, end: text.byteLength });
  return lines;
}

/** What `lines` has to give. */
function naive(text: Uint8Array, { from = 1, tail, count, max_bytes }: LinesRange): TextLines {
  const all = naiveLines(text);
  const most = limit("text_line_bytes");
  const given = (line: NaiveLine): number => Math.min(most, line.end - line.start);
  const fit = (lines: readonly NaiveLine[]): number => {
    let sum_bytes = 0;
    const end = lines.findIndex((line, index) => (sum_bytes += given(line)) > max_bytes && index > 0);
    return end === -1 ? lines.length : end;
  };
  let first = from - 1;
  let last = Math.min(all.length, first + count);
  if (tail === undefined) last = Math.max(first, first + fit(all.slice(first, last)));
  else {
    first = Math.max(0, all.length - Math.min(tail, count));
    first = all.length - fit(all.slice(first).toReversed());
    last = all.length;
  }
  const taken = all.slice(first, last);
  const next = all[last];
  return {
    lines: taken.map((line, index) => ({
      number: first + index + 1,
      bytes: text.slice(line.start, line.start + given(line)),
      line_bytes: line.end - line.start,
    })),
    total_count: all.length,
    next_offset: next?.start ?? text.byteLength,
    next_line: next === undefined ? null : last + 1,
  };
}

function randomRange(random: Random, line_count: number): LinesRange {
  const count = 1 + random(random(4) === 0 ? 200 : 10);
  const max_bytes = [0, 1, 50, 1000, 1_000_000][random(5)]!;
  const place = [{}, { tail: 1 + random(line_count + 3) }, { from: 1 + random(line_count + 3) }][random(3)]!;
  return { count, max_bytes, ...place };
}

async function failure(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "no failure";
  } catch (error) {
    if (error instanceof Problem) return error.code;
    throw error;
  }
}

/** Counts the reads of a file from now on. */
function watchReads(file: FileHandle): { total_count: number; active_count: number } {
  const seen = { total_count: 0, active_count: 0 };
  const read = file.read.bind(file) as (...words: unknown[]) => Promise<unknown>;
  const watched = async (...words: unknown[]): Promise<unknown> => {
    seen.total_count += 1;
    seen.active_count += 1;
    try {
      return await read(...words);
    } finally {
      seen.active_count -= 1;
    }
  };
  Object.assign(file, { read: watched });
  return seen;
}

describe("bytes", () => {
  test("of every range are those of the text", async () => {
    const random = createRandom(21);
    for (const [size_bytes, block_bytes] of [
      [0, 8],
      [1, 8],
      [40, 8],
      [48, 48],
      [60, 7],
    ] as const) {
      const text = randomText(random, size_bytes);
      await withBoth(text, block_bytes, async (blob) => {
        expect(blob.size_bytes).toBe(text.byteLength);
        for (let start = 0; start <= text.byteLength; start += 1)
          for (let end = start; end <= text.byteLength; end += 1 + random(12))
            expect(await joined(blob.read(start, end))).toEqual(text.slice(start, end));
        expect(await joined(blob.read(0, text.byteLength + 100))).toEqual(text);
        expect(await joined(blob.read(5, 2))).toEqual(new Uint8Array());
      });
    }
  });

  test("as they are stored come whole and in order", async () => {
    const text = randomText(createRandom(22), limit("artifact_block_bytes") + 5000);
    await withBoth(text, 1000, async (blob) => {
      const stored = new Uint8Array(readFileSync(blob.path));
      expect(stored.byteLength).toBe(blob.stored_bytes);
      expect(await joined(blob.stored())).toEqual(stored);
    });
  });

  test("are read one block ahead, and nothing is under way when they are left in the middle", async () => {
    const text = randomText(createRandom(23), 5000);
    const path = files.write(text);
    const file = await open(path, "r");
    const blob = openIdentity(file, path, text.byteLength, createLineIndex(100));
    const reads = watchReads(file);
    for await (const piece of blob.read(250, 5000)) {
      expect(piece).toEqual(text.slice(250, 300));
      expect(reads.total_count).toBe(2);
      break;
    }
    expect(reads).toEqual({ total_count: 2, active_count: 0 });
    await blob.close();
  });
});

describe("lines", () => {
  test("are those of the text split at its newlines, from anywhere and from the end", async () => {
    const random = createRandom(24);
    for (const block_bytes of [1, 5, 64, 64, 300, 10_000]) {
      const text = randomText(random, block_bytes < 10 ? 100 : random(3000));
      const line_count = naiveLines(text).length;
      await withBoth(text, block_bytes, async (blob) => {
        for (let round = 0; round < 25; round += 1) {
          const range = randomRange(random, line_count);
          expect({ range, ...(await blob.lines(range)) }).toEqual({ range, ...naive(text, range) });
        }
      });
    }
  });

  test.each([
    "",
    "\n",
    "x",
    "x\n",
    "\n\n",
    "a\r\nb\r\n",
    "a\n\nb",
    "\nlast",
    "é\n界",
    "12345678",
    "1234567\n",
  ])("of %j are right from every line and for every tail", async (string) => {
    const text = new Uint8Array(Buffer.from(string));
    await withBoth(text, 4, async (blob) => {
      for (let number = 1; number <= 5; number += 1)
        for (const place of [{ from: number }, { tail: number }])
          for (const count of [1, 2, 10]) {
            const range: LinesRange = { ...place, count, max_bytes: 3 };
            expect({ range, ...(await blob.lines(range)) }).toEqual({ range, ...naive(text, range) });
          }
    });
  });

  test("lead through the whole text by next_line, and so does next_offset", async () => {
    const text = randomText(createRandom(25), 3000);
    await withBoth(text, 64, async (blob) => {
      let offset = 0;
      for (let from: number | null = 1; from !== null;) {
        const page: TextLines = await blob.lines({ from, count: 7, max_bytes: 200 });
        expect(await joined(blob.read(offset, page.next_offset))).toEqual(
          text.slice(offset, page.next_offset),
        );
        expect(page.lines[0]?.number).toBe(from);
        offset = page.next_offset;
        from = page.next_line;
      }
      expect(offset).toBe(text.byteLength);
    });
  });

  test("are whole up to text_line_bytes, cut beyond, and tell their length", async () => {
    const most = limit("text_line_bytes");
    const lengths = [most, most + 1, 10, 5 * most, 0, most - 1];
    const text = new Uint8Array(Buffer.from(lengths.map((length) => "x".repeat(length)).join("\n")));
    await withBoth(text, 1000, async (blob) => {
      for (const place of [{ from: 1 }, { tail: 100 }]) {
        const { lines } = await blob.lines({ ...place, count: 100, max_bytes: 10 * most });
        expect(lines.map(({ line_bytes }) => line_bytes)).toEqual(lengths);
        expect(lines.map(({ bytes }) => bytes.byteLength)).toEqual(
          lengths.map((length) => Math.min(length, most)),
        );
      }
      // The last ones are kept: what does not fit any more is the long one before them.
      const { lines } = await blob.lines({ tail: 100, count: 100, max_bytes: most });
      expect(lines.map(({ number }) => number)).toEqual([5, 6]);
    });
  });

  test("that are huge cost no more than their ends", async () => {
    const text = new Uint8Array(4_000_000).fill(0x78);
    text[2_500_000] = 0x0a;
    const { path, stored_bytes } = (await files.compress(text, { block_bytes: 20_000 }))!;
    const file = await open(path, "r");
    const blob = await openSeekable(file, path, stored_bytes);
    const reads = watchReads(file);
    for (const place of [{ from: 1 }, { tail: 2 }]) {
      const { lines, total_count } = await blob.lines({ ...place, count: 5, max_bytes: 1_000_000 });
      expect(total_count).toBe(2);
      expect(lines.map(({ line_bytes }) => line_bytes)).toEqual([2_500_000, 1_499_999]);
    }
    expect(reads.total_count).toBeLessThan(25);
    await blob.close();
  });
});

describe("a shared index", () => {
  test("that has seen more of the file shows no view more than its length", async () => {
    const random = createRandom(26);
    const text = randomText(random, 2000);
    const path = files.write(text);
    const index = createLineIndex(64);
    const views: { end: number; blob: Blob }[] = [];
    for (let end = 0; end <= text.byteLength; end += 1 + random(200))
      views.push({ end, blob: openIdentity(await open(path, "r"), path, end, index) });
    // The longest first, so that the index has advanced before the others look; then all at once.
    for (const { end, blob } of views.toReversed().slice(0, 3)) {
      const range = { tail: 5, count: 5, max_bytes: 1000 };
      expect(await blob.lines(range)).toEqual(naive(text.slice(0, end), range));
    }
    await Promise.all(
      views.map(async ({ end, blob }) => {
        for (let round = 0; round < 5; round += 1) {
          const range = randomRange(random, 50);
          expect({ end, range, ...(await blob.lines(range)) }).toEqual({
            end,
            range,
            ...naive(text.slice(0, end), range),
          });
        }
        await blob.close();
      }),
    );
  });

  test("is extended by whoever comes, at the same time: views of all lengths and one who appends", async () => {
    const random = createRandom(27);
    const text = randomText(random, 3000);
    const path = files.write(text);
    const index = createLineIndex(50);
    const looks = Array.from({ length: 12 }, async () => {
      const end = random(text.byteLength);
      const blob = openIdentity(await open(path, "r"), path, end, index);
      const range = { tail: 3, count: 3, max_bytes: 500 };
      expect(await blob.lines(range)).toEqual(naive(text.slice(0, end), range));
      await blob.close();
    });
    for (let at = 0; at < text.byteLength; at += 100) {
      index.extend(text.subarray(at, at + 100), at);
      await Bun.sleep(0);
    }
    await Promise.all(looks);
    expect([index.scanned_bytes, index.newline_count]).toEqual([
      text.byteLength,
      text.filter((byte) => byte === 0x0a).length,
    ]);
  });

  test("outlives a view that is closed while it scans", async () => {
    const text = randomText(createRandom(28), 3 * limit("artifact_block_bytes"));
    const path = files.write(text);
    const index = createLineIndex(1000);
    const range = { tail: 2, count: 2, max_bytes: 100 };
    const closed = await open(path, "r");
    await closed.close();
    const broken = failure(openIdentity(closed, path, text.byteLength, index).lines(range));
    const blob = openIdentity(await open(path, "r"), path, text.byteLength, index);
    const found = blob.lines(range);
    expect(await broken).toBe("unavailable");
    expect(await found).toEqual(naive(text, range));
    await blob.close();
  });
});

describe("damage", () => {
  test("of any byte gives integrity_failed or the right lines and bytes", async () => {
    const random = createRandom(29);
    const text = randomText(random, 150);
    const { path, stored_bytes } = (await files.compress(text, { block_bytes: 64 }))!;
    const stored = new Uint8Array(readFileSync(path));
    const range = { from: 2, count: 20, max_bytes: 1000 };
    for (let at = 0; at < stored_bytes; at += 1) {
      const damaged = stored.slice();
      damaged[at]! ^= 1 << random(8);
      const place = files.write(damaged);
      try {
        const blob = await openSeekable(await open(place, "r"), place, stored_bytes);
        try {
          expect(await blob.lines(range)).toEqual(naive(text, range));
          expect(await joined(blob.read(0, text.byteLength))).toEqual(text);
        } finally {
          await blob.close();
        }
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        expect(error.code).toBe("integrity_failed");
      }
    }
  });

  test("by a file that became shorter gives integrity_failed", async () => {
    const text = randomText(createRandom(30), 500);
    await withBoth(text, 64, async (blob) => {
      truncateSync(blob.path, 10);
      expect(await failure(joined(blob.read(0, blob.size_bytes)))).toBe("integrity_failed");
      expect(await failure(joined(blob.stored()))).toBe("integrity_failed");
      expect(await failure(blob.lines({ tail: 3, count: 3, max_bytes: 100 }))).toBe("integrity_failed");
    });
  });

  test("by lines that changed behind the index gives integrity_failed", async () => {
    const text = new Uint8Array(Buffer.from("one\ntwo\nthree\nfour\n"));
    const index = createLineIndex(64);
    index.extend(text);
    const path = files.write(new Uint8Array(text.byteLength).fill(0x78));
    const blob = openIdentity(await open(path, "r"), path, text.byteLength, index);
    for (const place of [{ from: 1 }, { from: 3 }, { tail: 2 }])
      expect(await failure(blob.lines({ ...place, count: 5, max_bytes: 100 }))).toBe("integrity_failed");
    await blob.close();
  });

  test("found at the opening closes the file", async () => {
    const path = files.write(new Uint8Array(100));
    const file = await open(path, "r");
    expect(await failure(openSeekable(file, path, 100))).toBe("integrity_failed");
    expect(await file.stat().catch(() => "closed")).toBe("closed");
  });
});
