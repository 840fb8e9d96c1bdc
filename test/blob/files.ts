/** Real files for the tests of blobs, in a folder that goes when the tests of the file have run. */
import { afterAll } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CompressOptions, compressTo } from "../../src/blob/seekable.ts";

export interface TestFiles {
  /** A path where nothing is. */
  fresh(): string;
  /** A new file with these bytes. */
  write(bytes: Uint8Array): string;
  /** A new file with these bytes compressed; null when they become too long. */
  compress(
    bytes: Uint8Array | AsyncIterable<Uint8Array>,
    options?: CompressOptions,
  ): Promise<{ path: string; stored_bytes: number; raw_bytes: number } | null>;
}

export function createFiles(): TestFiles {
  const folder = mkdtempSync(join(tmpdir(), "synthetic-blob-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  let count = 0;
  const fresh = (): string => join(folder, String((count += 1)));
  return {
    fresh,
    write(bytes) {
      const path = fresh();
      writeFileSync(path, bytes);
      return path;
    },
    async compress(bytes, options) {
      const path = fresh();
      const made = await withFile(path, "wx", (file) =>
        compressTo(bytes instanceof Uint8Array ? portions(bytes, 1000) : bytes, file, options),
      );
      return made === null ? null : { path, ...made };
    },
  };
}

export async function withFile<T>(
  path: string,
  flags: string,
  work: (file: FileHandle) => Promise<T>,
): Promise<T> {
  const file = await open(path, flags);
  try {
    return await work(file);
  } finally {
    await file.close();
  }
}

export async function* portions(bytes: Uint8Array, portion_bytes: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += portion_bytes) yield bytes.subarray(at, at + portion_bytes);
}

export async function joined(pieces: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  return new Uint8Array(Buffer.concat(await Array.fromAsync(pieces)));
}
