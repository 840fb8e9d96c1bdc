/**
 * The files of artifacts. Bytes are written beside their place, hashed on the way, synced and renamed; the row comes
 * after them. One lock a digest keeps an upload and a removal of the same bytes apart.
 */
import { open, rename, stat, unlink, type FileHandle } from "node:fs/promises";
import { invalid, Problem } from "../errors.ts";
import { createBytesCache } from "../lib/bytes-cache.ts";
import { createGate } from "../lib/gate.ts";
import type { Clock } from "../lib/clock.ts";
import type { Ids } from "../lib/ids.ts";
import { createPace, paced } from "../lib/pace.ts";
import { systemCode } from "../lib/private-files.ts";
import { limit } from "../limits.ts";
import type {
  Blob,
  BlobDigest,
  BlobFile,
  BlobKey,
  BlobPlace,
  Blobs,
  GcReport,
  GrowingKey,
  PutOptions,
} from "./contract.ts";
import { absentAsNull, createFile, createFolders, fileProblem } from "./durable.ts";
import { createGrowing } from "./growing.ts";
import { receive } from "./intake.ts";
import { createIntakeThread } from "./intake-thread.ts";
import { blobPath, constructFolder, folderOf, temporaryPath } from "./layout.ts";
import { createLineIndex, type LineIndex } from "./line-index.ts";
import { compressTo, readAt } from "./seekable.ts";
import { openBytes, openIdentity, openSeekable } from "./source.ts";
import { looksLikeText } from "./text.ts";
import { filesOf, foldersIn, type FoundFile, places } from "./walk.ts";

export interface BlobsOptions {
  /** A folder that is there and lasts. */
  root: string;
  clock: Clock;
  ids: Ids;
  /** What failed behind everybody's back: nothing is lost by it but room. */
  noteFailure(error: unknown): void;
  /** A count that grows while others write: they go first, and uploads take what is left. */
  othersProgress?(): number;
  /** Replaces the limit of that name. */
  plain_copy_ms?: number;
}

export function createBlobs({
  root,
  clock,
  ids,
  noteFailure,
  othersProgress = () => 0,
  plain_copy_ms = limit("plain_copy_ms"),
}: BlobsOptions): Blobs {
  const folders = createFolders(root);
  const digests = createGate();
  const thread = createIntakeThread();
  const pace = createPace({
    clock,
    progress: othersProgress,
    bytes_per_s: limit("upload_busy_bytes_per_s"),
    busy_ms: limit("upload_busy_ms"),
  });
  const removals = new Set<Promise<void>>();
  const { promise: closing, resolve: tellClosing } = Promise.withResolvers<void>();
  /** Temporary files that are being written now. */
  const in_use = new Set<string>();
  /** Small files that stay as they are, whole. */
  const small = createBytesCache<Uint8Array>(limit("small_artifacts_bytes"));
  /** Newlines of files that are not compressed, so that only the first look reads them whole. */
  const indexes = createBytesCache<LineIndex>(limit("line_indexes_bytes"));

  async function withDigest<T>({ construct_id, type, sha256 }: BlobKey, work: () => Promise<T>): Promise<T> {
    const leave = await digests.enter(`${construct_id}/${type}/${sha256}`);
    try {
      return await work();
    } finally {
      leave();
    }
  }

  async function find(key: BlobKey): Promise<BlobFile | null> {
    for (const encoding of ["zstd", "identity"] as const) {
      const found = await absentAsNull(stat(blobPath(root, key, encoding)));
      if (found !== null) return { stored_bytes: found.size, encoding };
    }
    return null;
  }

  const growing = createGrowing({
    root,
    folders,
    in_use,
    withDigest,
    isThere: async (key) => (await find(key)) !== null,
  });

  /** Runs `work` with a new file of a folder; the file is gone afterwards unless it was renamed. */
  async function withTemporary<T>(
    folder: string,
    work: (file: FileHandle, path: string) => Promise<T>,
  ): Promise<T> {
    const path = temporaryPath(folder, ids.next());
    in_use.add(path);
    try {
      const file = await createFile(path);
      try {
        return await work(file, path);
      } finally {
        await file.close();
        await absentAsNull(unlink(path));
      }
    } finally {
      in_use.delete(path);
    }
  }

  async function put<T>(
    place: BlobPlace,
    chunks: AsyncIterable<Uint8Array>,
    options: PutOptions,
    commit: (digest: BlobDigest) => Promise<T>,
  ): Promise<T> {
    const folder = folderOf(root, place);
    await folders.make(folder);
    return withTemporary(folder, async (file, temporary) => {
      const digest = await receive(thread, file, paced(pace, chunks), options.max_bytes);
      if (options.sha256 !== undefined && options.sha256 !== digest.sha256)
        throw invalid("Content-Digest", `The bytes that came have the SHA-256 ${digest.sha256}.`);
      const key: BlobKey = { construct_id: place.construct_id, type: place.type, sha256: digest.sha256 };
      return withDigest(key, async () => {
        const was_there = (await find(key)) !== null;
        if (!was_there) await rename(temporary, blobPath(root, key, "identity"));
        // Also of one that was there: whoever put it there may not have come so far.
        await folders.sync(folder);
        try {
          return await commit(digest);
        } catch (error) {
          // A row that may be there after all keeps its file; gc takes what nobody names.
          const is_known = error instanceof Problem && error.code !== "unavailable";
          if (!was_there && is_known) await unlink(blobPath(root, key, "identity"));
          throw error;
        }
      });
    });
  }

  async function readSmall(key: BlobKey, file: FileHandle, path: string, size: number): Promise<Uint8Array> {
    try {
      const bytes = await readAt(file, 0, new Uint8Array(size));
      // Once it is compressed, the compressed one is served.
      if ((await absentAsNull(stat(blobPath(root, key, "zstd")))) === null)
        // Twice: the body of its answers is a copy.
        small.set(path, bytes, 2 * size + limit("line_index_entry_bytes"));
      return bytes;
    } finally {
      await file.close();
    }
  }

  async function openBlob(key: BlobKey): Promise<Blob> {
    const plain = blobPath(root, key, "identity");
    const kept = small.get(plain);
    if (kept !== undefined) return openBytes(kept, plain);
    // Compressed first; a second look, because it may be compressed between the two.
    for (const encoding of ["zstd", "identity", "zstd"] as const) {
      const path = blobPath(root, key, encoding);
      const file = await absentAsNull(open(path, "r"));
      if (file === null) continue;
      const { size } = await file.stat();
      if (encoding === "zstd") return openSeekable(file, path, size);
      if (size <= limit("inline_artifact_bytes"))
        return openBytes(await readSmall(key, file, path, size), path);
      const index = indexes.get(path) ?? createLineIndex(limit("artifact_block_bytes"));
      indexes.set(path, index, limit("line_index_entry_bytes") + size / 16_384);
      return openIdentity(file, path, size, index);
    }
    throw new Problem("integrity_failed", "The file of this artifact is missing.");
  }

  /** Whether a compressed file decodes to the bytes of its name. */
  async function isWhole(path: string, stored_bytes: number, sha256: string): Promise<boolean> {
    const blob = await openSeekable(await open(path, "r"), path, stored_bytes);
    try {
      const hasher = new Bun.CryptoHasher("sha256");
      for await (const piece of blob.read(0, blob.size_bytes)) hasher.update(piece);
      return hasher.digest("hex") === sha256;
    } finally {
      await blob.close();
    }
  }

  /** Whoever was just told the name of the plain file opens it yet, so it stays for a moment beside the compressed one. */
  function removeCopy(key: BlobKey): Promise<void> {
    const removal = (async () => {
      if (plain_copy_ms > 0) await Promise.race([Bun.sleep(plain_copy_ms), closing]);
      await withDigest(key, async () => {
        // Meanwhile both may have gone, and the plain one have come again.
        const is_compressed = (await absentAsNull(stat(blobPath(root, key, "zstd")))) !== null;
        if (is_compressed) await absentAsNull(unlink(blobPath(root, key, "identity")));
      });
    })()
      .catch(noteFailure)
      .finally(() => removals.delete(removal));
    removals.add(removal);
    return removal;
  }

  async function compress(key: BlobKey): Promise<BlobFile | null> {
    const plain = blobPath(root, key, "identity");
    const source = await absentAsNull(open(plain, "r"));
    if (source === null) return null;
    const { size } = await source.stat();
    const blob = openIdentity(source, plain, size, createLineIndex(limit("artifact_block_bytes")));
    try {
      if (size < limit("compressed_artifact_bytes") || !(await isText(blob))) return null;
      return await withTemporary(folderOf(root, key), async (file, temporary) => {
        const made = await compressTo(blob.read(0, size), file, {
          at_most_bytes: Math.floor(size * COMPRESSED_SHARE),
        });
        if (made === null || !(await isWhole(temporary, made.stored_bytes, key.sha256))) return null;
        await file.sync();
        await withDigest(key, async () => {
          if ((await absentAsNull(stat(plain))) === null) return;
          await rename(temporary, blobPath(root, key, "zstd"));
          await folders.sync(folderOf(root, key));
          small.forget(plain);
        });
        const removal = removeCopy(key);
        if (plain_copy_ms === 0) await removal;
        return { stored_bytes: made.stored_bytes, encoding: "zstd" as const };
      });
    } finally {
      await blob.close();
    }
  }

  async function usage(
    construct_id: string,
  ): Promise<Map<string, { stored_bytes: number; files_count: number }>> {
    const found = new Map<string, { stored_bytes: number; files_count: number }>();
    for (const type of await foldersIn(constructFolder(root, construct_id))) {
      const sum = { stored_bytes: 0, files_count: 0 };
      for await (const { stored_bytes } of filesOf(root, { construct_id, type })) {
        sum.stored_bytes += stored_bytes;
        sum.files_count += 1;
      }
      found.set(type, sum);
    }
    return found;
  }

  async function collect(
    { place, meaning, path, stored_bytes }: FoundFile,
    isReferenced: (key: BlobKey | GrowingKey) => Promise<boolean>,
    remove: (path: string, bytes: number, list: string[]) => Promise<void>,
    report: GcReport,
  ): Promise<void> {
    if (meaning.kind === "temporary") {
      if (!in_use.has(path)) await remove(path, stored_bytes, report.temporary);
    } else if (meaning.kind === "growing") {
      const key = { ...place, artifact_id: meaning.artifact_id };
      await growing.withArtifact(key.artifact_id, async () => {
        if (!(await isReferenced(key))) await remove(path, stored_bytes, report.unreferenced);
      });
    } else {
      const key = { ...place, sha256: meaning.sha256 };
      await withDigest(key, async () => {
        // A copy that compressing left behind is as useless as one that nobody names.
        const is_copy =
          meaning.encoding === "identity" && (await absentAsNull(stat(blobPath(root, key, "zstd")))) !== null;
        if (is_copy || !(await isReferenced(key))) await remove(path, stored_bytes, report.unreferenced);
      });
    }
  }

  async function gc(
    { grace_ms, dry_run, now_ms }: { grace_ms: number; dry_run: boolean; now_ms: number },
    isReferenced: (key: BlobKey | GrowingKey) => Promise<boolean>,
  ): Promise<GcReport> {
    const report: GcReport = { temporary: [], unreferenced: [], removed_bytes: 0 };
    const remove = async (path: string, bytes: number, list: string[]): Promise<void> => {
      list.push(path.slice(root.length + 1));
      if (dry_run) return;
      await absentAsNull(unlink(path));
      report.removed_bytes += bytes;
    };
    for await (const place of places(root))
      for await (const file of filesOf(root, place)) {
        if (file.changed_ms <= now_ms - grace_ms) await collect(file, isReferenced, remove, report);
      }
    return report;
  }

  /** What is to be compressed, one at a time. */
  const waiting: BlobKey[] = [];
  let compressing: Promise<void> | null = null;
  let closed = false;

  async function compressAll(): Promise<void> {
    for (let key = waiting.shift(); key !== undefined && !closed; key = waiting.shift()) {
      // A file that stays as it is loses nothing but room.
      await compress(key).catch((error: unknown) => noteFailure(error));
    }
    compressing = null;
  }

  return {
    put: (place, chunks, options, commit) => told(put(place, chunks, options, commit)),
    find: (key) => told(find(key)),
    open: (key) => told(openBlob(key)),
    compress: (key) => told(compress(key)),
    compressSoon(key) {
      if (closed || waiting.length >= limit("waiting_compressions_count")) return;
      waiting.push(key);
      compressing ??= compressAll();
    },
    growing: {
      ...growing,
      create: (key, first, commit) =>
        growing.create(key, { ...first, chunks: paced(pace, first.chunks) }, commit),
      append: (key, offset, chunks, max_bytes) => growing.append(key, offset, paced(pace, chunks), max_bytes),
    },
    usage: (construct_id) => told(usage(construct_id)),
    gc: (options, isReferenced) => told(gc(options, isReferenced)),
    async close() {
      closed = true;
      tellClosing();
      await compressing;
      await Promise.all(removals);
      await thread.close();
    },
  };
}

/** A compressed file is kept when it saves at least a fifth. */
const COMPRESSED_SHARE = 0.8;

async function isText(blob: Blob): Promise<boolean> {
  const parts: Uint8Array[] = [];
  for await (const piece of blob.read(0, Math.min(blob.size_bytes, limit("text_sample_bytes"))))
    parts.push(piece);
  return looksLikeText(Buffer.concat(parts));
}

/** The same, with failures of the file system in public words. */
async function told<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise;
  } catch (error) {
    throw systemCode(error) === null ? error : fileProblem(error);
  }
}
