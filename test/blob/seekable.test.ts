/** The format of compressed files: what others make of it, what is written when, and what damage does. */
import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { zstdDecompressSync } from "node:zlib";
import { readFrame, readIndex } from "../../src/blob/seekable.ts";
import { Problem } from "../../src/errors.ts";
import { limit } from "../../src/limits.ts";
import { createFiles, portions, withFile } from "./files.ts";
import { createRandom, randomText } from "./random-text.ts";

const files = createFiles();
const HAS_ZSTD = spawnSync("zstd", ["--version"]).status === 0;

/** Everything that the file gives through its index. */
function decodeAll(path: string, stored_bytes: number): Promise<Uint8Array> {
  return withFile(path, "r", async (file) => {
    const index = await readIndex(file, stored_bytes);
    const frames: Uint8Array[] = [];
    for (let number = 0; number < index.frame_count; number += 1)
      frames.push(await readFrame(file, index, number));
    return new Uint8Array(Buffer.concat(frames));
  });
}

async function outcome(promise: Promise<Uint8Array>): Promise<Uint8Array | string> {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof Problem) return error.code;
    throw error;
  }
}

describe("a compressed file", () => {
  test("is decoded to the same bytes by zstd, by node:zlib, by Bun and through its index", async () => {
    const random = createRandom(11);
    const sizes = [0, 1, 63, 64, 65, 128, 500, 3000];
    for (const size_bytes of sizes) {
      const text = randomText(random, size_bytes);
      const { path, ...made } = (await files.compress(text, { block_bytes: 64 }))!;
      const stored = readFileSync(path);
      expect(made).toEqual({ stored_bytes: stored.byteLength, raw_bytes: text.byteLength });
      expect(await decodeAll(path, made.stored_bytes)).toEqual(text);
      expect(new Uint8Array(zstdDecompressSync(stored))).toEqual(text);
      expect(new Uint8Array(Bun.zstdDecompressSync(stored))).toEqual(text);
      if (!HAS_ZSTD) continue;
      const decoded = spawnSync("zstd", ["-d", "-c", "--no-progress"], { input: stored });
      expect([decoded.status, new Uint8Array(decoded.stdout)]).toEqual([0, text]);
    }
  });

  test("has frames of artifact_block_bytes, and a new one for the byte behind", async () => {
    for (const more of [0, 1]) {
      const text = new Uint8Array(limit("artifact_block_bytes") + more).fill(0x0a);
      const { path, stored_bytes } = (await files.compress(text))!;
      await withFile(path, "r", async (file) => {
        const index = await readIndex(file, stored_bytes);
        expect(index.frame_count).toBe(1 + more);
        expect(index.frame(0)).toMatchObject({
          stored_start: 0,
          raw_bytes: limit("artifact_block_bytes"),
          newline_count: limit("artifact_block_bytes"),
        });
        expect(index.lines.newline_count).toBe(text.byteLength);
      });
    }
  });

  test("is the same in whatever portions its bytes come", async () => {
    const text = randomText(createRandom(12), 2000);
    const whole = (await files.compress(portions(text, text.byteLength), { block_bytes: 100 }))!;
    for (const portion_bytes of [1, 7, 100, 101, 333]) {
      const made = (await files.compress(portions(text, portion_bytes), { block_bytes: 100 }))!;
      expect(readFileSync(made.path)).toEqual(readFileSync(whole.path));
    }
  });

  test("may be as long as at_most_bytes and not longer, and what is read is let go early", async () => {
    for (const size_bytes of [0, 10, 5000]) {
      const text = new Uint8Array(Buffer.from(randomText(createRandom(13), size_bytes)));
      const { stored_bytes } = (await files.compress(text, { block_bytes: 512 }))!;
      expect(await files.compress(text, { block_bytes: 512, at_most_bytes: stored_bytes })).not.toBeNull();
      expect(await files.compress(text, { block_bytes: 512, at_most_bytes: stored_bytes - 1 })).toBeNull();
    }
    let given = 0;
    let is_closed = false;
    async function* endless(): AsyncGenerator<Uint8Array> {
      try {
        for (;;) {
          given += 1;
          yield crypto.getRandomValues(new Uint8Array(1000));
        }
      } finally {
        is_closed = true;
      }
    }
    expect(await files.compress(endless(), { block_bytes: 1000, at_most_bytes: 10_000 })).toBeNull();
    expect([given < 20, is_closed]).toEqual([true, true]);
  });

  test("is not finished when its bytes cannot be read", async () => {
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(1000);
      throw new Error("no more");
    }
    const made = files.compress(broken(), { block_bytes: 100 });
    expect(await made.catch(String)).toBe("Error: no more");
  });
});

describe("a damaged file", () => {
  test("gives integrity_failed when any one byte of it is another", async () => {
    const random = createRandom(14);
    const text = randomText(random, 150);
    const { path } = (await files.compress(text, { block_bytes: 64 }))!;
    const stored = new Uint8Array(readFileSync(path));
    const same: number[] = [];
    for (let at = 0; at < stored.byteLength; at += 1) {
      const damaged = stored.slice();
      damaged[at]! ^= 1 << random(8);
      const found = await outcome(decodeAll(files.write(damaged), damaged.byteLength));
      if (found === "integrity_failed") continue;
      // Not every bit of a zstd frame matters; none does harm.
      expect(found).toEqual(text);
      same.push(at);
    }
    const index_start = stored.findLastIndex(
      (_, at) =>
        stored[at] === 0x57 && stored[at + 1] === 0x2a && stored[at + 2] === 0x4d && stored[at + 3] === 0x18,
    );
    expect(same.filter((at) => at >= index_start)).toEqual([]);
  });

  test("gives integrity_failed when it is shorter or longer, also than the file system says", async () => {
    const text = randomText(createRandom(15), 150);
    const { path, stored_bytes } = (await files.compress(text, { block_bytes: 64 }))!;
    const stored = new Uint8Array(readFileSync(path));
    for (let length = 0; length < stored_bytes; length += 1) {
      const cut = files.write(stored.subarray(0, length));
      expect(await outcome(decodeAll(cut, length))).toBe("integrity_failed");
      if (length % 4 !== 0) continue;
      expect(await outcome(decodeAll(cut, stored_bytes))).toBe("integrity_failed");
      expect(
        await outcome(decodeAll(files.write(stored.subarray(length + 1)), stored_bytes - length - 1)),
      ).toBe("integrity_failed");
    }
    expect(await outcome(decodeAll(files.write(Buffer.concat([stored, stored])), 2 * stored_bytes))).toBe(
      "integrity_failed",
    );
  });

  test("gives integrity_failed when its index is whole and says what cannot be", async () => {
    const text = randomText(createRandom(17), 100);
    const { path, stored_bytes } = (await files.compress(text, { block_bytes: 1000 }))!;
    const stored = new Uint8Array(readFileSync(path));
    const row_at = stored_bytes - 32;
    /** With one number of the only row changed, and the checksum made to fit. */
    const forged = (at: number, change: (number: number) => number): Promise<Uint8Array> => {
      const bytes = stored.slice();
      const view = new DataView(bytes.buffer);
      view.setUint32(row_at + at, change(view.getUint32(row_at + at, true)), true);
      view.setUint32(row_at + 20, Bun.hash.crc32(bytes.subarray(row_at - 8, row_at + 20)), true);
      return decodeAll(files.write(bytes), stored_bytes);
    };
    expect(await outcome(forged(0, (number) => number))).toEqual(text);
    const lies: [at: number, change: (number: number) => number][] = [
      [0, () => 0],
      [0, (number) => number + 1],
      [0, (number) => number - 1],
      [4, () => 0],
      [4, (number) => number + 1],
      [4, (number) => number - 1],
      [8, () => text.byteLength + 1],
      [12, (number) => number ^ 1],
    ];
    for (const [at, change] of lies) expect(await outcome(forged(at, change))).toBe("integrity_failed");
  });

  test("gives integrity_failed when it is something else", async () => {
    const random = createRandom(16);
    for (const bytes of [
      new Uint8Array(),
      new Uint8Array(1000),
      randomText(random, 1000),
      Bun.zstdCompressSync(randomText(random, 1000)),
    ])
      expect(await outcome(decodeAll(files.write(bytes), bytes.byteLength))).toBe("integrity_failed");
  });
});
