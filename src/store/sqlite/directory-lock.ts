/**
 * One server to a data directory. The lock is an exclusive SQLite transaction on `lock.db`, held for life:
 * the kernel lets go of it when the holder ends, however it ends, and nothing has to be cleaned up (facts
 * 10). It knows nothing of the store; `server.json` only gives the words for who holds it.
 */
import { Database } from "bun:sqlite";
import { join } from "node:path";
import { Problem } from "../../errors.ts";
import { createPrivateFile, systemCode } from "../../lib/private-files.ts";
import { isThatProcess, readServerRecord } from "../../lib/server-record.ts";
import { limit } from "../../limits.ts";
import { classifySqliteError, closeConnection } from "./connection.ts";

export interface DirectoryLock {
  /** Lets go; a second call does nothing. */
  release(): void;
}

/**
 * A connection that is collected is closed, and its lock is gone: so these are kept, whatever the caller
 * does.
 */
const held = new Set<Database>();

function pathOf(data_dir: string): string {
  return join(data_dir, "lock.db");
}

function lockedProblem(data_dir: string, cause: unknown): Problem {
  const record = readServerRecord(data_dir);
  if (record === null || !isThatProcess(record)) {
    const detail = `${data_dir} is in use by another process: a command, or a server that is just starting.`;
    return new Problem("locked", detail, { hint: "Wait until it has ended, then try again.", cause });
  }
  const since = new Date(record.started_at_ms).toISOString();
  const detail = `${data_dir} is in use by process ${record.pid}, which serves ${record.url} since ${since}.`;
  return new Problem("locked", detail, { members: { pid: record.pid, url: record.url }, cause });
}

/** The public form of why the lock could not even be asked for. */
function lockProblem(data_dir: string, error: unknown): Problem {
  const path = pathOf(data_dir);
  const kind = classifySqliteError(error);
  if (kind === "busy") return lockedProblem(data_dir, error);
  if (kind === "full") return new Problem("storage_full", `There is no room for ${path}.`, { cause: error });
  if (kind === "corrupt") {
    const detail = `${path} is not a lock file of ours. It holds no data: see that no server runs here, then delete it.`;
    return new Problem("refused_store", detail, { cause: error });
  }
  const code = systemCode(error) ?? "no reason given";
  const detail = `${path} cannot be locked (${code}). Make ${data_dir} a folder that this user can write, on a local disk.`;
  return new Problem("refused_store", detail, { cause: error });
}

/**
 * The directory belongs to this process until `release` or its end; nobody else gets the lock meanwhile, also
 * not in this process. The directory has to be there. Errors: `locked` at once, with who holds it in words
 * and, for a server, as the members `pid` and `url`; `refused_store` when it cannot be locked;
 * `storage_full`.
 */
export function acquireDirectoryLock(data_dir: string): DirectoryLock {
  let db: Database | null = null;
  try {
    // Only ever made, never opened, by anything but SQLite: a descriptor of ours would drop the holder's
    // lock.
    createPrivateFile(pathOf(data_dir));
    db = new Database(pathOf(data_dir), { readwrite: true, create: false });
    // Outlasts an `isLocked` that looks at the same instant: it holds a shared lock for some microseconds.
    db.run(`PRAGMA busy_timeout = ${limit("directory_lock_ms")}`);
    // A rollback mode, where one lock excludes all others; and with nothing on disk, so that a full one can
    // be locked.
    db.run("PRAGMA journal_mode = MEMORY");
    db.run("BEGIN EXCLUSIVE");
  } catch (error) {
    if (db !== null) closeConnection(db);
    throw lockProblem(data_dir, error);
  }
  const holder = db;
  held.add(holder);
  return {
    release() {
      if (!held.delete(holder)) return;
      closeConnection(holder);
    },
  };
}

/**
 * Whether somebody holds the directory, this process included. Takes nothing from the holder; a server that
 * starts at this very instant waits for it. False also where there is no lock file.
 */
export function isLocked(data_dir: string): boolean {
  let db: Database | null = null;
  try {
    db = new Database(pathOf(data_dir), { readonly: true });
    db.query("SELECT 1 FROM sqlite_schema").values();
    return false;
  } catch (error) {
    return classifySqliteError(error) === "busy";
  } finally {
    if (db !== null) closeConnection(db);
  }
}
