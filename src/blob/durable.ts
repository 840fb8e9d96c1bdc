/**
 * Files and folders that outlast a power failure. A name lasts only when its folder is synced, and a folder only when
 * its parent is (facts 5); a folder that is there may have been made by a process that died before it did so.
 */
import { mkdir, open, type FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import { Problem } from "../errors.ts";
import { systemCode } from "../lib/private-files.ts";
import { limit } from "../limits.ts";

const PRIVATE_FOLDER = 0o700;
const PRIVATE_FILE = 0o600;

/** An error of the file system in public words; others stay as they are. */
export function fileProblem(error: unknown): unknown {
  const code = systemCode(error);
  if (error instanceof Problem || code === null) return error;
  if (code === "ENOSPC" || code === "EDQUOT")
    return new Problem("storage_full", "The disk is full; nothing of this request was stored.", {
      cause: error,
      retry_after_s: 10,
    });
  return new Problem("unavailable", `The file system failed (${code}).`, { cause: error, retry_after_s: 5 });
}

export function tooLarge(limit_bytes: number): Problem {
  return new Problem("too_large", `An artifact may be ${limit_bytes} bytes long.`, {
    members: { limit_bytes },
  });
}

/** Null when there is no such file; any other failure is an error. */
export async function absentAsNull<T>(promise: Promise<T>): Promise<T | null> {
  try {
    return await promise;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return null;
    throw error;
  }
}

export function createFile(path: string): Promise<FileHandle> {
  return open(path, "wx", PRIVATE_FILE);
}

export async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.byteLength;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.byteLength - done, position + done);
    done += bytesWritten;
  }
}

export interface Folders {
  /** The folder is there and lasts, and so do its parents up to the root. */
  make(path: string): Promise<void>;
  /** The names in it last. */
  sync(path: string): Promise<void>;
}

/** Folders below a root, which is there already. */
export function createFolders(root: string): Folders {
  /** Those that this process has seen to; never more than a few thousand are remembered. */
  const made = new Map<string, Promise<void>>();

  async function sync(path: string): Promise<void> {
    const folder = await open(path, "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }

  async function makeOne(path: string): Promise<void> {
    const parent = dirname(path);
    if (parent !== root) await make(parent);
    try {
      await mkdir(path, PRIVATE_FOLDER);
    } catch (error) {
      if (systemCode(error) !== "EEXIST") throw error;
    }
    await sync(parent);
  }

  function make(path: string): Promise<void> {
    const known = made.get(path);
    if (known !== undefined) return known;
    if (made.size >= limit("known_folders_count")) made.clear();
    const making = makeOne(path).catch((error: unknown) => {
      made.delete(path);
      throw error;
    });
    made.set(path, making);
    return making;
  }

  return { make, sync };
}
