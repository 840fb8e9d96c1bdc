/** Files of artifacts: stored whole or not at all, once for equal bytes, compressed beside the original, collected when nobody names them. */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createBlobs } from "../../src/blob/blobs.ts";
import type { BlobDigest, Blobs } from "../../src/blob/contract.ts";
import { Problem } from "../../src/errors.ts";
import { system_clock } from "../../src/lib/clock.ts";
import { system_ids } from "../../src/lib/ids.ts";
import { limit } from "../../src/limits.ts";
import { chunksOf, makeBlobs } from "../support/blobs.ts";

const sha = (bytes: string | Uint8Array): string =>
  new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
const place = () => ({ construct_id: system_ids.next(), type: "log" });
const MAX = { max_bytes: 10_000_000 };

/** Names of the files below a folder. */
function files(root: string): string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
    .sort();
}

async function bytesOf(
  blobs: Blobs,
  key: { construct_id: string; type: string; sha256: string },
): Promise<Buffer> {
  const blob = await blobs.open(key);
  const parts: Uint8Array[] = [];
  for await (const piece of blob.read(0, blob.size_bytes)) parts.push(piece);
  await blob.close();
  return Buffer.concat(parts);
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof Problem) return error.code;
    throw error;
  }
  return "none";
}

describe("put", () => {
  test("gives digest and length to the commit, and the file is there before it", async () => {
    const { blobs, root } = makeBlobs();
    const where = place();
    const seen: BlobDigest = await blobs.put(where, chunksOf("hello", 2), MAX, async (digest) => {
      expect(files(root).filter((name) => name.endsWith(digest.sha256))).toHaveLength(1);
      return digest;
    });
    expect(seen).toEqual({ sha256: sha("hello"), size_bytes: 5 });
    const { construct_id } = where;
    expect(files(root)).toEqual([join(construct_id.slice(-2), construct_id, "log", sha("hello"))]);
    expect((await bytesOf(blobs, { ...where, sha256: sha("hello") })).toString()).toBe("hello");
  });

  test("of no bytes is a file of no bytes", async () => {
    const { blobs } = makeBlobs();
    const where = place();
    await blobs.put(where, chunksOf(""), MAX, async () => 0);
    expect((await bytesOf(blobs, { ...where, sha256: sha("") })).byteLength).toBe(0);
  });

  test("leaves nothing behind when it is too large, cut off, not what was said, or refused by its commit", async () => {
    const { blobs, root } = makeBlobs();
    const where = place();
    async function* cut(): AsyncGenerator<Uint8Array> {
      yield Buffer.from("first");
      throw new Problem("malformed_body", "The body ended before it was whole.");
    }
    const commit = async (): Promise<never> => {
      throw new Problem("conflict", "no");
    };
    expect(await codeOf(blobs.put(where, chunksOf("12345"), { max_bytes: 4 }, async () => 0))).toBe(
      "too_large",
    );
    expect(await codeOf(blobs.put(where, cut(), MAX, async () => 0))).toBe("malformed_body");
    expect(await codeOf(blobs.put(where, chunksOf("a"), { ...MAX, sha256: sha("b") }, async () => 0))).toBe(
      "invalid_request",
    );
    expect(await codeOf(blobs.put(where, chunksOf("a"), MAX, commit))).toBe("conflict");
    expect(files(root)).toEqual([]);
  });

  test("keeps the file when the outcome of the commit is unknown, and one that was there before", async () => {
    const { blobs, root } = makeBlobs();
    const where = place();
    const failing = (code: "unavailable" | "conflict") => async (): Promise<never> => {
      throw new Problem(code, "no");
    };
    expect(await codeOf(blobs.put(where, chunksOf("a"), MAX, failing("unavailable")))).toBe("unavailable");
    expect(files(root)).toHaveLength(1);
    expect(await codeOf(blobs.put(where, chunksOf("a"), MAX, failing("conflict")))).toBe("conflict");
    expect(files(root)).toHaveLength(1);
  });

  test("of equal bytes at once is one file, and each has its commit", async () => {
    const { blobs, root } = makeBlobs();
    const where = place();
    const done = await Promise.all(
      Array.from({ length: 8 }, (_, index) => blobs.put(where, chunksOf("same"), MAX, async () => index)),
    );
    expect(done).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(files(root)).toHaveLength(1);
  });
});

describe("compressing", () => {
  const text = "a line of a log that says the same again\n".repeat(2_000);

  test("leaves one file that reads the same, by range and by line", async () => {
    const { blobs, root } = makeBlobs();
    const key = { ...place(), sha256: sha(text) };
    await blobs.put(key, chunksOf(text), MAX, async () => 0);
    const made = await blobs.compress(key);
    expect(made?.encoding).toBe("zstd");
    expect(made?.stored_bytes).toBeLessThan(text.length / 10);
    expect(files(root).map((name) => name.slice(-4))).toEqual([".zst"]);
    expect((await bytesOf(blobs, key)).toString()).toBe(text);
    const blob = await blobs.open(key);
    const { lines, total_count } = await blob.lines({ from: 1_000, count: 1, max_bytes: 1_000 });
    expect(lines.map(({ number }) => number)).toEqual([1_000]);
    expect(total_count).toBe(2_000);
    await blob.close();
    expect(await blobs.compress(key)).toBeNull();
  });

  test("lets be what is no text, does not shrink by a fifth, or is below compressed_artifact_bytes", async () => {
    const { blobs } = makeBlobs();
    const random = Buffer.from(crypto.getRandomValues(new Uint8Array(40_000)));
    const printable = random.map((byte) => 32 + (byte % 95));
    const short = "x".repeat(limit("compressed_artifact_bytes") - 1);
    for (const bytes of [random, printable, Buffer.from(short)]) {
      const key = { ...place(), sha256: sha(bytes) };
      await blobs.put(key, chunksOf(bytes), MAX, async () => 0);
      expect(await blobs.compress(key)).toBeNull();
      expect((await blobs.find(key))?.encoding).toBe("identity");
    }
    const long = "x".repeat(limit("compressed_artifact_bytes"));
    const key = { ...place(), sha256: sha(long) };
    await blobs.put(key, chunksOf(long), MAX, async () => 0);
    expect((await blobs.compress(key))?.encoding).toBe("zstd");
  });

  test("of a file that is not what its name says keeps it", async () => {
    const { blobs, root } = makeBlobs();
    const key = { ...place(), sha256: sha(text) };
    await blobs.put(key, chunksOf(text), MAX, async () => 0);
    writeFileSync(join(root, files(root)[0] ?? ""), text.replace("log", "LOG"));
    expect(await blobs.compress(key)).toBeNull();
    expect((await blobs.find(key))?.encoding).toBe("identity");
  });

  test("does not disturb who reads meanwhile", async () => {
    const { blobs } = makeBlobs();
    const key = { ...place(), sha256: sha(text) };
    await blobs.put(key, chunksOf(text), MAX, async () => 0);
    const before = await blobs.open(key);
    await blobs.compress(key);
    const parts: Uint8Array[] = [];
    for await (const piece of before.read(0, before.size_bytes)) parts.push(piece);
    await before.close();
    expect(Buffer.concat(parts).toString()).toBe(text);
  });
});

describe("collecting", () => {
  const now = (): { grace_ms: number; now_ms: number } => ({ grace_ms: -60_000, now_ms: Date.now() });

  test("takes what nobody names and what was never finished, and tells them apart", async () => {
    const { blobs, root } = makeBlobs();
    const where = place();
    for (const text of ["kept", "stray"]) await blobs.put(where, chunksOf(text), MAX, async () => 0);
    const folder = join(root, where.construct_id.slice(-2), where.construct_id, where.type);
    writeFileSync(join(folder, `${system_ids.next()}.tmp`), "half");
    writeFileSync(join(folder, "notes.txt"), "somebody else's");
    const isReferenced = async (key: object): Promise<boolean> =>
      "sha256" in key && key.sha256 === sha("kept");
    const dry = await blobs.gc({ ...now(), dry_run: true }, isReferenced);
    expect(files(root)).toHaveLength(4);
    const report = await blobs.gc({ ...now(), dry_run: false }, isReferenced);
    expect({ ...report, removed_bytes: 0 }).toEqual(dry);
    expect(report.temporary).toHaveLength(1);
    expect(report.unreferenced.map((name) => name.split("/").at(-1))).toEqual([sha("stray")]);
    expect(report.removed_bytes).toBe(9);
    expect(files(root).map((name) => name.split("/").at(-1))).toEqual([sha("kept"), "notes.txt"].sort());
  });

  test("lets be what is younger than the grace, and what is being written", async () => {
    const { blobs, root } = makeBlobs();
    const { promise, resolve } = Promise.withResolvers<void>();
    async function* slow(): AsyncGenerator<Uint8Array> {
      yield Buffer.from("slow");
      await promise;
    }
    const putting = blobs.put(place(), slow(), MAX, async () => 0);
    await blobs.put(place(), chunksOf("young"), MAX, async () => 0);
    const nobody = async (): Promise<boolean> => false;
    expect(
      (await blobs.gc({ grace_ms: 60_000, now_ms: Date.now(), dry_run: false }, nobody)).unreferenced,
    ).toEqual([]);
    const report = await blobs.gc({ ...now(), dry_run: false }, nobody);
    expect([report.temporary.length, report.unreferenced.length]).toEqual([0, 1]);
    resolve();
    await putting;
    expect(files(root)).toHaveLength(1);
  });

  test("waits for an upload of the same bytes, and asks again behind it", async () => {
    const { blobs, root } = makeBlobs();
    const where = place();
    let named = false;
    const { promise: committing, resolve: commits } = Promise.withResolvers<void>();
    const { promise: going, resolve: go } = Promise.withResolvers<void>();
    const putting = blobs.put(where, chunksOf("raced"), MAX, async () => {
      commits();
      await going;
      named = true;
    });
    await committing;
    const collecting = blobs.gc({ ...now(), dry_run: false }, async () => named);
    await Bun.sleep(10);
    go();
    await putting;
    expect((await collecting).unreferenced).toEqual([]);
    expect(files(root)).toHaveLength(1);
  });

  test("takes the copy that compressing left behind", async () => {
    const { blobs, root } = makeBlobs();
    const text = "again and again\n".repeat(1_000);
    const key = { ...place(), sha256: sha(text) };
    await blobs.put(key, chunksOf(text), MAX, async () => 0);
    const [name = ""] = files(root);
    const bytes = readFileSync(join(root, name));
    await blobs.compress(key);
    writeFileSync(join(root, name), bytes);
    const report = await blobs.gc({ ...now(), dry_run: false }, async () => true);
    expect(report.unreferenced).toEqual([name]);
    expect((await bytesOf(blobs, key)).toString()).toBe(text);
  });
});

test("bytes that went and came again keep their file when the time of the old copy is over", async () => {
  const { root } = makeBlobs();
  const blobs = createBlobs({
    root,
    clock: system_clock,
    ids: system_ids,
    noteFailure: () => undefined,
    plain_copy_ms: 50,
  });
  const text = "again and again\n".repeat(1_000);
  const key = { ...place(), sha256: sha(text) };
  await blobs.put(key, chunksOf(text), MAX, async () => 0);
  await blobs.compress(key);
  await blobs.gc({ grace_ms: -60_000, now_ms: Date.now(), dry_run: false }, async () => false);
  expect(files(root)).toEqual([]);
  await blobs.put(key, chunksOf(text), MAX, async () => 0);
  await Bun.sleep(80);
  expect((await bytesOf(blobs, key)).toString()).toBe(text);
  await blobs.close();
});

test("a file that is missing is an integrity problem, and not found by looking", async () => {
  const { blobs, root } = makeBlobs();
  const key = { ...place(), sha256: sha("gone") };
  await blobs.put(key, chunksOf("gone"), MAX, async () => 0);
  rmSync(join(root, files(root)[0] ?? ""));
  expect(await blobs.find(key)).toBeNull();
  expect(await codeOf(blobs.open(key))).toBe("integrity_failed");
});

test("usage sums what files take, by type", async () => {
  const { blobs } = makeBlobs();
  const where = place();
  await blobs.put(where, chunksOf("12345"), MAX, async () => 0);
  await blobs.put({ ...where, type: "diff" }, chunksOf("123"), MAX, async () => 0);
  expect(Object.fromEntries(await blobs.usage(where.construct_id))).toEqual({
    log: { stored_bytes: 5, files_count: 1 },
    diff: { stored_bytes: 3, files_count: 1 },
  });
});
