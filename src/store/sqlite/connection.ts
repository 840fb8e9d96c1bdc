/**
 * Connections to the database: every setting that correctness or privacy rests on, said here and read back;
 * the one transaction wrapper; and what an engine error means. It knows nothing of tables, and nothing of
 * where the file is.
 */
import { Database, SQLiteError } from "bun:sqlite";
import { assert } from "../../errors.ts";
import { createPrivateFile, systemCode } from "../../lib/private-files.ts";
import { limit } from "../../limits.ts";

/** "SYNT": says in the file's header (offset 68) whose database it is. */
export const APPLICATION_ID = 0x53594e54;

/** Only tests ask for less than FULL, to see that their harness notices the loss (facts 4 and 57). */
export type Synchronous = "FULL" | "NORMAL" | "OFF";

export interface WriterOptions {
  synchronous?: Synchronous;
  /** Makes the file when there is none. */
  create?: boolean;
}

export type SqliteErrorKind = "full" | "busy" | "corrupt" | "io" | "constraint" | "other";

const MIB = 1024 * 1024;
/** The writer reads hot rows back to seal them: with a third of this each seal took 0.8 ms instead of 0.3. Used only as far as it fills. */
const WRITER_CACHE_BYTES = 96 * MIB;
/** One for each reading connection; the system's page cache stands behind it. */
const READER_CACHE_BYTES = 16 * MIB;
/** Pages in the log before a commit moves them into the file: 4 MiB, about 14 ms (transcripts.md 7). */
const CHECKPOINT_PAGES = 1_000;
/** A log that once grew beyond this is cut back at the next checkpoint that empties it. */
const LOG_KEPT_BYTES = 64 * MIB;

/**
 * https://sqlite.org/pragma.html#pragma_synchronous, …_auto_vacuum and …_secure_delete: the numbers read
 * back.
 */
const SYNCHRONOUS_NUMBER = { OFF: 0, NORMAL: 1, FULL: 2 } as const;
const INCREMENTAL = 2;
const FAST = 2;

/**
 * Throws unless the pragma reads so. An unknown or refused one is silently ignored by SQLite, so each is read
 * back.
 */
export function expectSetting(db: Database, name: string, wanted: number | string): void {
  const found = db.query<Record<string, unknown>, []>(`PRAGMA ${name}`).values()[0]?.[0];
  assert(found === wanted, `PRAGMA ${name} is ${String(found)}, not ${wanted}`);
}

function setCommon(db: Database, cache_bytes: number): void {
  db.run("PRAGMA temp_store = MEMORY");
  db.run("PRAGMA trusted_schema = OFF");
  db.run("PRAGMA mmap_size = 0");
  db.run(`PRAGMA cache_size = -${cache_bytes / 1024}`);
  expectSetting(db, "trusted_schema", 0);
}

/**
 * What is fixed for good by the first table, so it comes before everything else, also before WAL (facts 10).
 */
function setBirthmarks(db: Database): void {
  db.run("PRAGMA auto_vacuum = INCREMENTAL");
  db.run(`PRAGMA application_id = ${APPLICATION_ID}`);
  expectSetting(db, "auto_vacuum", INCREMENTAL);
}

function setWriter(db: Database, synchronous: Synchronous): void {
  db.run("PRAGMA journal_mode = WAL");
  expectSetting(db, "journal_mode", "wal");
  db.run(`PRAGMA synchronous = ${synchronous}`);
  expectSetting(db, "synchronous", SYNCHRONOUS_NUMBER[synchronous]);
  // Without it fsync on macOS returns before the drive has written; elsewhere it changes nothing.
  db.run("PRAGMA fullfsync = ON");
  db.run("PRAGMA checkpoint_fullfsync = ON");
  db.run("PRAGMA foreign_keys = ON");
  expectSetting(db, "foreign_keys", 1);
  db.run("PRAGMA secure_delete = FAST");
  expectSetting(db, "secure_delete", FAST);
  db.run(`PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
  db.run(`PRAGMA journal_size_limit = ${LOG_KEPT_BYTES}`);
}

/** Runs the settings; a connection on which one fails is closed, not leaked. */
function configured(db: Database, settings: () => void): Database {
  try {
    // First, because the others may have to wait for a checkpoint or a recovery of somebody else.
    db.run(`PRAGMA busy_timeout = ${limit("sqlite_busy_ms")}`);
    settings();
    return db;
  } catch (error) {
    db.close(true);
    throw error;
  }
}

/**
 * The writing connection: WAL, and a commit is on disk when it returns. With `create` a new file is 0600, an
 * empty one gets what must be there from birth; otherwise the file has to be there. Whether it is ours is not
 * asked here. Missing named parameters throw. Errors: SQLiteError as it comes (see `classifySqliteError`).
 */
export function openWriter(path: string, options: WriterOptions = {}): Database {
  const is_new = options.create === true && createPrivateFile(path);
  const db = new Database(path, { readwrite: true, create: false, strict: true });
  return configured(db, () => {
    setCommon(db, WRITER_CACHE_BYTES);
    if (is_new) setBirthmarks(db);
    setWriter(db, options.synchronous ?? "FULL");
  });
}

/**
 * A reading connection: it can change nothing, and it sees each commit of the writer that returned before its
 * read began. Errors: SQLiteError as it comes.
 */
export function openReader(path: string): Database {
  const db = new Database(path, { readonly: true, strict: true });
  return configured(db, () => {
    setCommon(db, READER_CACHE_BYTES);
    db.run("PRAGMA query_only = ON");
    expectSetting(db, "query_only", 1);
  });
}

/**
 * Closes for certain: without `true` an unfinished statement keeps the files and their locks until it is
 * collected.
 */
export function closeConnection(db: Database): void {
  db.close(true);
}

type Synchronously<T> = T extends PromiseLike<unknown> ? never : T;

function isPromise(value: unknown): boolean {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}

/**
 * Runs `work` in one transaction that holds the write lock from its start: all of it is on disk when this
 * returns, or nothing is stored and the error of `work` comes out. `work` is synchronous; a promise is
 * refused by its type, an async function before it runs, and any other promise by undoing everything, because
 * what comes after its first await would run outside of the transaction (facts 3). Does not nest. Errors:
 * what `work` throws; SQLiteError.
 */
export function immediate<T>(db: Database, work: () => T & Synchronously<T>): T {
  assert(!db.inTransaction, "transactions do not nest");
  assert(work.constructor.name !== "AsyncFunction", "the work of a transaction is synchronous");
  db.run("BEGIN IMMEDIATE");
  try {
    const result = work();
    assert(!isPromise(result), "the work of a transaction is synchronous");
    // SQLITE_FULL ends the transaction by itself; what was run after it would be stored one by one (facts
    // 10).
    assert(db.inTransaction, "the transaction ended before its work did");
    db.run("COMMIT");
    return result;
  } catch (error) {
    if (db.inTransaction) db.run("ROLLBACK");
    throw error;
  }
}

/** The version of the SQLite library that this process uses, such as 3.54.1. */
export function sqliteVersion(db: Database): string {
  return String(db.query("SELECT sqlite_version()").values()[0]?.[0]);
}

/**
 * Whether the library is free of the bug by which two connections that write and checkpoint at one instant
 * lose commits: fixed in 3.51.3, and in the branches 3.44.6 and 3.50.7
 * (https://sqlite.org/wal.html#walresetbug).
 */
export function isWalResetSafe(version: string): boolean {
  const [major = 0, minor = 0, patch = 0] = version.split(".").map(Number);
  if (major !== 3) return major > 3;
  if (minor === 44) return patch >= 6;
  if (minor === 50) return patch >= 7;
  return minor > 51 || (minor === 51 && patch >= 3);
}

/** Whether the library can tell how much a checkpoint would move; an older one would move it. */
export function canCountCheckpoint(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major > 3 || (major === 3 && minor >= 51);
}

/** Primary result codes (https://sqlite.org/rescode.html); extended ones carry them in their low byte. */
const KINDS = new Map<number, SqliteErrorKind>([
  [13, "full"], // FULL
  [5, "busy"], // BUSY
  [6, "busy"], // LOCKED
  [11, "corrupt"], // CORRUPT
  [26, "corrupt"], // NOTADB
  [10, "io"], // IOERR
  [14, "io"], // CANTOPEN: no such file, no permission, no descriptor left
  [8, "io"], // READONLY: the disk went read-only, or the file was moved or replaced
  [15, "io"], // PROTOCOL: the locks of the log's index do not work
  [22, "io"], // NOLFS
  [19, "constraint"], // CONSTRAINT
]);

/**
 * The index of the log could not grow: SQLite writes a byte of each new page to be sure of its room. The
 * commit failed, but its pages are in the log already: a crash before the next commit would bring it back
 * (facts 54).
 */
const IOERR_SHMSIZE = 4874;

/**
 * What an engine error means for the work at hand. Seen with Bun 1.4.5: ENOSPC is SQLITE_FULL (13), also on a
 * full tmpfs, and SQLITE_IOERR_SHMSIZE (4874) for the index of the log; EFBIG (`ulimit -f`) and EDQUOT are
 * SQLITE_IOERR_WRITE (778), not told apart from EIO; a failed fsync is SQLITE_IOERR_FSYNC (1034). Anything
 * but an SQLiteError is `other`.
 */
export function classifySqliteError(error: unknown): SqliteErrorKind {
  if (!(error instanceof SQLiteError)) return "other";
  if (error.errno === IOERR_SHMSIZE) return "full";
  return KINDS.get(error.errno & 0xff) ?? "other";
}

/**
 * Whether an error of the engine or of the file system says that the disk, or the user's share of it, is
 * full.
 */
export function isNoRoom(error: unknown): boolean {
  return (
    classifySqliteError(error) === "full" || ["ENOSPC", "EDQUOT", "EFBIG"].includes(systemCode(error) ?? "")
  );
}
