/**
 * Artifacts that still grow: one file each, appended at its end. What an answered append wrote is on the disk; what a
 * killed process had written and not answered counts as soon as it is synced, so the file's length is the truth.
 */
import { copyFile, link, open, rename, unlink, type FileHandle } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { Problem } from "../errors.ts";
import { createGate } from "../lib/gate.ts";
import { systemCode } from "../lib/private-files.ts";
import { limit } from "../limits.ts";
import type { Blob, BlobDigest, BlobKey, Blobs, FirstBytes, GrowingKey } from "./contract.ts";
import { absentAsNull, createFile, fileProblem, type Folders, tooLarge, writeAll } from "./durable.ts";
import { blobPath, folderOf, growingPath, temporaryPath } from "./layout.ts";
import { createLineIndex, type LineIndex } from "./line-index.ts";
import { openIdentity } from "./source.ts";

interface Growing {
  size_bytes: number;
  index: LineIndex;
}

export interface GrowingOptions {
  root: string;
  folders: Folders;
  /** Temporary files that are being written now: gc leaves them alone. */
  in_use: Set<string>;
  /** The lock of a digest, which is held from "is it there?" to the end of a commit. */
  withDigest<T>(key: BlobKey, work: () => Promise<T>): Promise<T>;
  /** Whether a file of these bytes is there. */
  isThere(key: BlobKey): Promise<boolean>;
}

function missing(): Problem {
  return new Problem("not_found", "This artifact does not grow.");
}

export function createGrowing(options: GrowingOptions): Blobs["growing"] & {
  withArtifact<T>(artifact_id: string, work: () => Promise<T>): Promise<T>;
} {
  const { root, folders, in_use, withDigest, isThere } = options;
  const gate = createGate();
  /** Those that were touched last; what is forgotten is read from the file again. */
  const known = new Map<string, Growing>();

  async function withArtifact<T>(artifact_id: string, work: () => Promise<T>): Promise<T> {
    const leave = await gate.enter(artifact_id);
    try {
      return await work();
    } catch (error) {
      throw fileProblem(error);
    } finally {
      leave();
    }
  }

  function remember(key: GrowingKey, size_bytes: number): Growing {
    const found = known.get(key.artifact_id) ?? {
      size_bytes,
      index: createLineIndex(limit("artifact_block_bytes")),
    };
    found.size_bytes = size_bytes;
    known.delete(key.artifact_id);
    known.set(key.artifact_id, found);
    for (const [oldest] of known) {
      if (known.size <= limit("known_growing_count")) break;
      known.delete(oldest);
    }
    return found;
  }

  /** What is known of the file; on first sight it is synced, so that its length can be promised. Null without a file. */
  async function look(key: GrowingKey): Promise<Growing | null> {
    const found = known.get(key.artifact_id);
    if (found !== undefined) return found;
    const file = await absentAsNull(open(growingPath(root, key), "r+"));
    if (file === null) return null;
    try {
      await file.sync();
      await folders.sync(folderOf(root, key));
      return remember(key, (await file.stat()).size);
    } finally {
      await file.close();
    }
  }

  /**
   * Opens a file to append to it. A seal that died may have left the file a second name, which stands for the bytes of
   * that moment and may belong to another artifact by now: then this one goes on with a copy.
   */
  async function openAlone(path: string): Promise<FileHandle> {
    const file = await open(path, "r+");
    const { nlink } = await file.stat();
    if (nlink === 1) return file;
    await file.close();
    const copy = temporaryPath(dirname(path), basename(path));
    in_use.add(copy);
    try {
      await copyFile(path, copy);
      const copied = await open(copy, "r+");
      try {
        await copied.sync();
        await rename(copy, path);
        await folders.sync(dirname(path));
        return copied;
      } catch (error) {
        await copied.close();
        throw error;
      }
    } finally {
      in_use.delete(copy);
    }
  }

  /** Gives what went wrong. What came before it is kept: the sender asks for the length and goes on from there. */
  async function appendTo(
    file: FileHandle,
    state: Growing,
    chunks: AsyncIterable<Uint8Array>,
    max_bytes: number,
  ): Promise<unknown> {
    let position = state.size_bytes;
    let failure: unknown = null;
    try {
      for await (const chunk of chunks) {
        if (position + chunk.byteLength > max_bytes) throw tooLarge(max_bytes);
        await writeAll(file, chunk, position);
        position += chunk.byteLength;
      }
    } catch (error) {
      failure = error;
      await file.truncate(position);
    }
    await file.datasync();
    state.size_bytes = position;
    return failure;
  }

  return {
    withArtifact,
    create: (key, first, commit) =>
      withArtifact(key.artifact_id, async () => {
        const hasher = new Bun.CryptoHasher("sha256");
        if (await first.isKnown()) {
          for await (const chunk of first.chunks) hasher.update(chunk);
          return commit(hasher.digest("hex"));
        }
        const folder = folderOf(root, key);
        await folders.make(folder);
        await writeFirst(growingPath(root, key), first, hasher);
        await folders.sync(folder);
        known.delete(key.artifact_id);
        return commit(hasher.digest("hex"));
      }),
    append: (key, offset, chunks, max_bytes) =>
      withArtifact(key.artifact_id, async () => {
        const state = await look(key);
        if (state === null) throw missing();
        if (offset !== state.size_bytes)
          throw new Problem("conflict", `The artifact ends at ${state.size_bytes}.`, {
            members: { offset: state.size_bytes },
            hint: "Go on from `offset`.",
          });
        const file = await openAlone(growingPath(root, key));
        try {
          const failure = await appendTo(file, state, chunks, max_bytes);
          if (failure !== null) throw failure;
        } catch (error) {
          // Where the file ends has to be looked at again unless a sync has told.
          if (systemCode(error) !== null) known.delete(key.artifact_id);
          throw error;
        } finally {
          await file.close();
        }
        return state.size_bytes;
      }),
    length: async (key) => {
      const state = known.get(key.artifact_id);
      if (state !== undefined) return state.size_bytes;
      return withArtifact(key.artifact_id, async () => (await look(key))?.size_bytes ?? null);
    },
    async open(key): Promise<Blob> {
      const state = known.get(key.artifact_id) ?? (await withArtifact(key.artifact_id, () => look(key)));
      if (state === null) throw missing();
      const path = growingPath(root, key);
      const file = await absentAsNull(open(path, "r"));
      if (file === null) throw missing();
      return openIdentity(file, path, state.size_bytes, state.index);
    },
    seal: <T>(key: GrowingKey, commit: (digest: BlobDigest) => Promise<T>): Promise<T> =>
      withArtifact(key.artifact_id, async () => {
        const state = await look(key);
        if (state === null) throw missing();
        const path = growingPath(root, key);
        const digest = { sha256: await digestOf(path, state.size_bytes), size_bytes: state.size_bytes };
        const blob: BlobKey = { construct_id: key.construct_id, type: key.type, sha256: digest.sha256 };
        const result = await withDigest(blob, async () => {
          // A second name and no rename: until the row says otherwise, the one that grows is the artifact.
          if (!(await isThere(blob))) await link(path, blobPath(root, blob, "identity"));
          await folders.sync(folderOf(root, key));
          return commit(digest);
        });
        known.delete(key.artifact_id);
        await unlink(path);
        return result;
      }),
  };
}

/** Over whatever a killed process may have left, since nobody has it. What fails leaves nothing behind. */
async function writeFirst(
  path: string,
  { chunks, max_bytes }: FirstBytes,
  hasher: Bun.CryptoHasher,
): Promise<void> {
  await absentAsNull(unlink(path));
  const file = await createFile(path);
  try {
    let position = 0;
    for await (const chunk of chunks) {
      if (position + chunk.byteLength > max_bytes) throw tooLarge(max_bytes);
      hasher.update(chunk);
      await writeAll(file, chunk, position);
      position += chunk.byteLength;
    }
    await file.sync();
  } catch (error) {
    await absentAsNull(unlink(path));
    throw error;
  } finally {
    await file.close();
  }
}

async function digestOf(path: string, size_bytes: number): Promise<string> {
  const file = await open(path, "r");
  const hasher = new Bun.CryptoHasher("sha256");
  try {
    const buffer = new Uint8Array(limit("artifact_read_bytes"));
    for (let at = 0; at < size_bytes;) {
      const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.byteLength, size_bytes - at), at);
      if (bytesRead === 0) throw new Problem("integrity_failed", "A file of an artifact became shorter.");
      hasher.update(buffer.subarray(0, bytesRead));
      at += bytesRead;
    }
  } finally {
    await file.close();
  }
  return hasher.digest("hex");
}
