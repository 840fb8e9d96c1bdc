/** Artifacts that grow: appended at their end only, kept as far as they came, sealed into a file of their digest. */
import { expect, test } from "bun:test";
import { appendFileSync, existsSync, linkSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Blobs, GrowingKey } from "../../src/blob/contract.ts";
import { Problem } from "../../src/errors.ts";
import { system_ids } from "../../src/lib/ids.ts";
import { limit } from "../../src/limits.ts";
import { blobsIn, chunksOf, makeBlobs } from "../support/blobs.ts";

const sha = (text: string): string => new Bun.CryptoHasher("sha256").update(text).digest("hex");
const newKey = (): GrowingKey => ({
  construct_id: system_ids.next(),
  type: "log",
  artifact_id: system_ids.next(),
});
const folderOf = (root: string, key: GrowingKey): string =>
  join(root, key.construct_id.slice(-2), key.construct_id, key.type);

async function problemOf(promise: Promise<unknown>): Promise<Problem> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

const begin = (blobs: Blobs, key: GrowingKey, text = "", is_known = false): Promise<string> =>
  blobs.growing.create(
    key,
    { chunks: chunksOf(text), max_bytes: 100, isKnown: async () => is_known },
    async (sha256) => sha256,
  );

async function textOf(blobs: Blobs, key: GrowingKey): Promise<string> {
  const blob = await blobs.growing.open(key);
  const parts: Uint8Array[] = [];
  for await (const piece of blob.read(0, blob.size_bytes)) parts.push(piece);
  await blob.close();
  return Buffer.concat(parts).toString();
}

test("it grows at its end and nowhere else", async () => {
  const { blobs } = makeBlobs();
  const key = newKey();
  await begin(blobs, key);
  expect(await blobs.growing.length(key)).toBe(0);
  expect(await blobs.growing.append(key, 0, chunksOf("one\n", 2), 100)).toBe(4);
  const stale = await problemOf(blobs.growing.append(key, 0, chunksOf("x"), 100));
  expect([stale.code, stale.extra.members?.["offset"]]).toEqual(["conflict", 4]);
  expect(await blobs.growing.append(key, 4, chunksOf("two\n"), 100)).toBe(8);
  expect(await textOf(blobs, key)).toBe("one\ntwo\n");
  const blob = await blobs.growing.open(key);
  expect((await blob.lines({ from: 2, count: 5, max_bytes: 100 })).lines.map(({ number }) => number)).toEqual(
    [2],
  );
  await blob.close();
});

test("its first bytes are there before the commit, and are written anew over what nobody has", async () => {
  const { blobs, root } = makeBlobs();
  const key = newKey();
  expect(await begin(blobs, key, "first")).toBe(sha("first"));
  expect(await textOf(blobs, key)).toBe("first");
  const later = blobsIn(root);
  await begin(later, key, "anew");
  expect(await textOf(later, key)).toBe("anew");
  expect(await begin(later, key, "again", true)).toBe(sha("again"));
  expect(await textOf(later, key)).toBe("anew");
  const unwanted = newKey();
  expect((await problemOf(begin(blobs, unwanted, "x".repeat(101)))).code).toBe("too_large");
  expect(readdirSync(folderOf(root, unwanted))).toEqual([]);
});

test("of two appends at one place one wins", async () => {
  const { blobs } = makeBlobs();
  const key = newKey();
  await begin(blobs, key);
  const both = await Promise.allSettled(
    ["aa", "bb"].map((text) => blobs.growing.append(key, 0, chunksOf(text), 9)),
  );
  expect(both.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
  expect(await blobs.growing.length(key)).toBe(2);
});

test("what came before a cut or beyond the bound is kept, and its length is told", async () => {
  const { blobs } = makeBlobs();
  const key = newKey();
  await begin(blobs, key);
  async function* cut(): AsyncGenerator<Uint8Array> {
    yield Buffer.from("came");
    throw new Problem("malformed_body", "cut");
  }
  expect((await problemOf(blobs.growing.append(key, 0, cut(), 100))).code).toBe("malformed_body");
  expect(await blobs.growing.length(key)).toBe(4);
  expect((await problemOf(blobs.growing.append(key, 4, chunksOf("123456789", 3), 8))).code).toBe("too_large");
  expect(await textOf(blobs, key)).toBe("came123");
});

test("another process goes on where the file ends, also behind bytes that were never answered", async () => {
  const { blobs, root } = makeBlobs();
  const key = newKey();
  await begin(blobs, key);
  await blobs.growing.append(key, 0, chunksOf("answered"), 100);
  appendFileSync(join(folderOf(root, key), `${key.artifact_id}.open`), " and not");
  const later = blobsIn(root);
  expect(await later.growing.length(key)).toBe(16);
  await later.growing.append(key, 16, chunksOf("."), 100);
  expect(await textOf(later, key)).toBe("answered and not.");
});

test("sealing fixes digest and length, and then it does not grow", async () => {
  const { blobs, root } = makeBlobs();
  const key = newKey();
  await begin(blobs, key);
  await blobs.growing.append(key, 0, chunksOf("text"), 100);
  expect(await blobs.growing.seal(key, async (digest) => digest)).toEqual({
    sha256: sha("text"),
    size_bytes: 4,
  });
  expect(readdirSync(folderOf(root, key))).toEqual([sha("text")]);
  expect(await blobs.growing.length(key)).toBeNull();
  expect((await problemOf(blobs.growing.append(key, 4, chunksOf("x"), 100))).code).toBe("not_found");
  expect((await problemOf(blobs.growing.open(key))).code).toBe("not_found");
});

test("a seal whose commit fails, or that died at any point, can be repeated", async () => {
  const { blobs, root } = makeBlobs();
  const key = newKey();
  const folder = folderOf(root, key);
  await begin(blobs, key);
  await blobs.growing.append(key, 0, chunksOf("text"), 100);
  const refuse = async (): Promise<never> => {
    throw new Problem("unavailable", "no");
  };
  expect((await problemOf(blobs.growing.seal(key, refuse))).code).toBe("unavailable");
  expect(await textOf(blobs, key)).toBe("text");
  // As after a kill between the second name and the row.
  const again = blobsIn(root);
  expect(existsSync(join(folder, sha("text")))).toBe(true);
  expect(await again.growing.seal(key, async ({ sha256 }) => sha256)).toBe(sha("text"));
  expect(readdirSync(folder)).toEqual([sha("text")]);
});

test("sealing bytes that are there already keeps one file, and growing on does not change it", async () => {
  const { blobs, root } = makeBlobs();
  const key = newKey();
  await blobs.put(key, chunksOf("text"), { max_bytes: 10 }, async () => 0);
  await begin(blobs, key);
  await blobs.growing.append(key, 0, chunksOf("text"), 100);
  await blobs.growing.seal(key, async () => 0);
  expect(readdirSync(folderOf(root, key))).toEqual([sha("text")]);
});

test("a second name that a killed seal left does not share what is appended afterwards", async () => {
  const { blobs, root } = makeBlobs();
  const key = newKey();
  const folder = folderOf(root, key);
  await begin(blobs, key);
  await blobs.growing.append(key, 0, chunksOf("text"), 100);
  linkSync(join(folder, `${key.artifact_id}.open`), join(folder, sha("text")));
  const again = blobsIn(root);
  await again.growing.append(key, 4, chunksOf(" more"), 100);
  // Somebody uploads the bytes whose name the killed seal took: they must be those bytes.
  await again.put(key, chunksOf("text"), { max_bytes: 10 }, async () => 0);
  const blob = await again.open({ ...key, sha256: sha("text") });
  const parts: Uint8Array[] = [];
  for await (const piece of blob.read(0, blob.size_bytes)) parts.push(piece);
  await blob.close();
  expect(Buffer.concat(parts).toString()).toBe("text");
});

test("more than known_growing_count of them are looked at again", async () => {
  const { blobs, root } = makeBlobs();
  const first = newKey();
  await begin(blobs, first);
  await blobs.growing.append(first, 0, chunksOf("kept"), 100);
  const place = newKey();
  for (let count = 0; count <= limit("known_growing_count"); count += 1) {
    const key = { ...place, artifact_id: system_ids.next() };
    if (count === 0) await begin(blobs, key);
    else writeFileSync(join(folderOf(root, place), `${key.artifact_id}.open`), "");
    await blobs.growing.length(key);
  }
  expect(await blobs.growing.length(first)).toBe(4);
}, 20_000);
