/**
 * Files and folders that only their owner can read, and the syncs that make them last. It knows nothing of
 * what is in them. Never point these at an SQLite database that is open in this process: closing any
 * descriptor of it drops the process's locks on it (facts 1).
 */
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, resolve } from "node:path";

const PRIVATE_FOLDER = 0o700;
const PRIVATE_FILE = 0o600;

/**
 * The file system's word for what went wrong (`ENOENT`, `EEXIST`, …), or null when it is not one of its
 * errors.
 */
export function systemCode(error: unknown): string | null {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : null;
}

/** Makes the bytes of a file last through a power failure; its name lasts only after `syncFolder`. */
export function syncFile(path: string): void {
  const descriptor = openSync(path, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Makes the names in a folder last; without it a renamed file is gone after a power failure (facts 5). */
export function syncFolder(path: string): void {
  syncFile(path);
}

/** The nearest folder that is there: the path itself, or where its missing parents would be made. */
export function nearestFolder(path: string): string {
  let folder = resolve(path);
  while (statSync(folder, { throwIfNoEntry: false }) === undefined && dirname(folder) !== folder) {
    folder = dirname(folder);
  }
  return folder;
}

/** The folder is there, and lasts. What had to be made is 0700; one that was there keeps its mode. */
export function makePrivateFolder(path: string): void {
  const existing = nearestFolder(path);
  mkdirSync(path, { recursive: true, mode: PRIVATE_FOLDER });
  for (let folder = resolve(path); folder.length > existing.length; folder = dirname(folder)) {
    syncFolder(dirname(folder));
  }
}

/** An empty file of mode 0600, or false when the name is taken: then nothing was opened, read or changed. */
export function createPrivateFile(path: string): boolean {
  try {
    closeSync(openSync(path, "wx", PRIVATE_FILE));
    return true;
  } catch (error) {
    if (systemCode(error) === "EEXIST") return false;
    throw error;
  }
}

/**
 * The file holds exactly this text, is 0600 and lasts; a reader sees the old text or the new, never a part.
 */
export function replacePrivateFile(path: string, text: string): void {
  const temporary = `${path}.tmp`;
  rmSync(temporary, { force: true });
  writeFileSync(temporary, text, { flag: "wx", mode: PRIVATE_FILE });
  syncFile(temporary);
  renameSync(temporary, path);
  syncFolder(dirname(path));
}
