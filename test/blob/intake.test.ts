/** Bytes on their way to a file: the same in every size and cut, refused whole, and nobody writes afterwards. */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { receive } from "../../src/blob/intake.ts";
import { createIntakeThread } from "../../src/blob/intake-thread.ts";
import { Problem } from "../../src/errors.ts";
import { systemCode } from "../../src/lib/private-files.ts";
import { limit } from "../../src/limits.ts";

const folder = mkdtempSync(join(tmpdir(), "synthetic-intake-"));
const thread = createIntakeThread();
afterAll(async () => {
  await thread.close();
  rmSync(folder, { recursive: true });
});

const NO_BOUND = Number.MAX_SAFE_INTEGER;
const BATCH = limit("upload_batch_bytes");
const sha = (bytes: Uint8Array): string => new Bun.CryptoHasher("sha256").update(bytes).digest("hex");

function someBytes(length: number, seed: number): Buffer {
  const pattern = Buffer.from(Array.from({ length: 4_099 }, (_, at) => (at * 31 + seed) % 251));
  return Buffer.alloc(length, pattern);
}

/** Parts of one buffer, which the receiver must not take for itself, or buffers of their own. */
async function* cut(bytes: Buffer, size: number, own: boolean): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += size) {
    const part = bytes.subarray(at, at + size);
    // One that is a whole buffer is handed over.
    yield own || part.byteLength === bytes.buffer.byteLength ? new Uint8Array(part) : part;
  }
}

async function withFile<T>(name: string, work: (file: Awaited<ReturnType<typeof open>>) => Promise<T>) {
  const file = await open(join(folder, name), "w");
  try {
    return await work(file);
  } finally {
    await file.close();
  }
}

for (const [length, size] of [
  [0, 1],
  [1, 1],
  [limit("upload_batch_pieces_count") * 3 + 1, 1],
  [BATCH - 1, 10_000],
  [BATCH + 7, 1_000],
  [BATCH, BATCH],
  [BATCH + 1, 65_536],
  [limit("upload_window_bytes") * 3 + 17, 300_001],
  [limit("upload_sync_bytes") * 5 + 3, 1_048_576],
] as const)
  for (const own of [true, false])
    test(`${length} bytes in pieces of ${size}${own ? "" : " of one buffer"}`, async () => {
      const bytes = someBytes(length, size % 97);
      const name = `${length}-${own}`;
      const digest = await withFile(name, (file) => receive(thread, file, cut(bytes, size, own), NO_BOUND));
      expect(digest).toEqual({ sha256: sha(bytes), size_bytes: length });
      expect(readFileSync(join(folder, name)).equals(bytes)).toBe(true);
    });

test("many at once do not mix", async () => {
  const sent = Array.from({ length: 12 }, (_, seed) => someBytes(3 * BATCH + seed, seed));
  const digests = await Promise.all(
    sent.map((bytes, index) =>
      withFile(`many-${index}`, (file) => receive(thread, file, cut(bytes, 70_000, true), NO_BOUND)),
    ),
  );
  expect(digests.map(({ sha256 }) => sha256)).toEqual(sent.map(sha));
});

test("what the sender throws comes through, and the next upload is not touched by it", async () => {
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield* cut(someBytes(3 * BATCH, 1), 65_536, true);
    throw new Error("cut off");
  }
  const failure = await withFile("broken", (file) =>
    receive(thread, file, broken(), NO_BOUND).catch((error: unknown) => error),
  );
  expect(String(failure)).toContain("cut off");
  const bytes = someBytes(2 * BATCH, 5);
  const digest = await withFile("next", (file) => receive(thread, file, cut(bytes, BATCH, true), NO_BOUND));
  expect(digest.sha256).toBe(sha(bytes));
});

test("one byte too many is too_large, small or large", async () => {
  for (const length of [10, 4 * BATCH]) {
    const failure = await withFile("large", (file) =>
      receive(thread, file, cut(someBytes(length, 2), 65_536, true), length - 1).catch(
        (error: unknown) => error,
      ),
    );
    expect(failure).toBeInstanceOf(Problem);
    expect((failure as Problem).code).toBe("too_large");
  }
});

test("a file that cannot be written keeps the word of the file system", async () => {
  await withFile("readable", (file) => file.write("x"));
  const file = await open(join(folder, "readable"), "r");
  try {
    const failure = await receive(thread, file, cut(someBytes(2 * BATCH, 3), 65_536, true), NO_BOUND).catch(
      (error: unknown) => error,
    );
    expect(systemCode(failure)).toBe("EBADF");
  } finally {
    await file.close();
  }
});

test("a sync that failed on the way fails the upload, although the last one succeeds", async () => {
  await withFile("unsynced", async (file) => {
    let syncs = 0;
    const failing = new Proxy(file, {
      get(target, name: keyof typeof file) {
        if (name === "datasync")
          return async () => {
            syncs += 1;
            if (syncs === 1) throw Object.assign(new Error("input/output error"), { code: "EIO" });
          };
        const value: unknown = target[name];
        return typeof value === "function" ? (value.bind(target) as unknown) : value;
      },
    });
    const bytes = someBytes(2 * limit("upload_sync_bytes"), 6);
    const failure = await receive(thread, failing, cut(bytes, 65_536, true), NO_BOUND).catch(
      (error: unknown) => error,
    );
    expect(systemCode(failure)).toBe("EIO");
    expect(syncs).toBeGreaterThan(0);
  });
});

test("a thread that was ended refuses", async () => {
  const other = createIntakeThread();
  await other.close();
  const failure = await withFile("ended", (file) =>
    receive(other, file, cut(someBytes(2 * BATCH, 4), 65_536, true), NO_BOUND).catch(
      (error: unknown) => error,
    ),
  );
  expect((failure as Problem).code).toBe("unavailable");
});
