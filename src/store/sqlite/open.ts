/**
 * From a data directory to a database that can be served: locked, known to be ours, whole as far as a look can tell,
 * and of this release's schema. Whatever is not so is refused with the reason and the way out, and nothing on disk
 * is changed. It is the only place that creates a store. It knows nothing of what is in the tables.
 */
import { type Database, SQLiteError } from "bun:sqlite";
import { lstatSync, realpathSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";
import { assert, Problem } from "../../errors.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Ids } from "../../lib/ids.ts";
import { makePrivateFolder, syncFile, syncFolder, systemCode } from "../../lib/private-files.ts";
import {
  APPLICATION_ID,
  classifySqliteError,
  closeConnection,
  immediate,
  isWalResetSafe,
  openWriter,
  type Synchronous,
  sqliteVersion,
} from "./connection.ts";
import { acquireDirectoryLock, type DirectoryLock } from "./directory-lock.ts";
import { buildingPath, databasePath, formerStoreSigns, removeDatabase } from "./files.ts";
import { filesystemOf } from "./filesystem.ts";
import { type AppliedMigration, applyMigrations, type MigrationStatus, migrationStatus } from "./migrate.ts";
import { type Migration, MIGRATIONS } from "./migrations.ts";
import { openProbe } from "./probe.ts";
import { listSnapshots, type Snapshot } from "./snapshot.ts";

export interface OpenOptions {
  data_dir: string;
  /** Whether an older schema may be brought up to date. */
  migrate: boolean;
  /** Those of the release, unless a test says otherwise. */
  migrations?: readonly Migration[];
  clock: Clock;
  ids: Ids;
  /** Only for the controls of tests. */
  synchronous?: Synchronous;
}

export interface OpenedDatabase {
  /** The only writing connection; the caller closes it. */
  writer: Database;
  path: string;
  /** UUID of this history. */
  generation: string;
  /** Released by the caller after everything else is closed. */
  lock: DirectoryLock;
  /** Whether there was no store before. */
  created: boolean;
  applied: AppliedMigration[];
  /** The copy from before the migrations, where some were applied to a store that was there. */
  snapshot: Snapshot | null;
  /** What the operator should know, though it can be served. */
  warnings: string[];
}

export const STORE_SQL = {
  insert: "INSERT INTO store (id, generation, created_at_ms) VALUES (1, $generation, $created_at_ms)",
  /** Which history this is; one row. */
  find: "SELECT generation FROM store WHERE id = 1",
  /** Moves the whole log into the file and empties it; one row (busy, log, checkpointed). */
  checkpoint: "PRAGMA wal_checkpoint(TRUNCATE)",
};

function refused(detail: string, cause?: unknown): Problem {
  return new Problem("refused_store", detail, { cause });
}

function wayBack(data_dir: string): string {
  const newest = listSnapshots(data_dir)[0];
  if (newest !== undefined)
    return `The newest snapshot comes back, with the server stopped, by: ${newest.restore_command}`;
  return `Restore it from its replica into another directory, or move ${data_dir} away to begin anew.`;
}

/** The public form of what went wrong with the files; other errors are defects and stay as they are. */
function storeProblem(data_dir: string, error: unknown): unknown {
  if (error instanceof Problem) return error;
  const path = databasePath(data_dir);
  const code = systemCode(error);
  const kind = classifySqliteError(error);
  if (kind === "full" || code === "ENOSPC" || code === "EDQUOT") {
    return new Problem("storage_full", `There is no room in ${data_dir}.`, { cause: error });
  }
  if (kind === "busy") {
    const detail = `${path} is held by another program. Close it, or stop a replication that was left running.`;
    return new Problem("locked", detail, { cause: error });
  }
  if (kind === "corrupt")
    return refused(`${path} is damaged, or is no database. ${wayBack(data_dir)}`, error);
  if (kind === "io" || (code !== null && !(error instanceof SQLiteError))) {
    const detail = `${data_dir} cannot be read and written as a store (${code ?? "I/O error"}). Check its owner, mode and disk.`;
    return refused(detail, error);
  }
  return error;
}

function requireLocalFilesystem(data_dir: string, warnings: string[]): void {
  const { filesystem, safe, doubtful } = filesystemOf(data_dir);
  if (!safe) {
    throw refused(
      `${data_dir} is on a network filesystem (${filesystem}), where SQLite loses commits without a word. ` +
        "Choose a directory on a local disk with --data; --replica keeps copies elsewhere.",
    );
  }
  if (doubtful) {
    warnings.push(`${data_dir} is on ${filesystem}: a store is safe there only if it is a local disk.`);
  }
}

function warnOfOpenModes(data_dir: string, warnings: string[]): void {
  for (const [path, wanted] of [[data_dir, "700"] as const, [databasePath(data_dir), "600"] as const]) {
    const mode = (statSync(path).mode & 0o777).toString(8);
    if (/[1-7]/.test(mode.slice(-2)))
      warnings.push(`${path} is open to other users (mode ${mode}): chmod ${wanted} ${path}`);
  }
}

function readGeneration(db: Database): string | null {
  const generation = db.query(STORE_SQL.find).values()[0]?.[0];
  return typeof generation === "string" ? generation : null;
}

/**
 * Looks at a store without changing a byte of it. Also beside a running server. Errors: `refused_store` when it is
 * not ours, is damaged, or has no identity; what else is the matter is in the status.
 */
export function inspectStore(data_dir: string, list: readonly Migration[] = MIGRATIONS): MigrationStatus {
  return withProbe(data_dir, (db) => migrationStatus(db, list));
}

/** SQLite takes an empty file for a new database, but a store of ours is never seen empty (see `createStore`). */
function requireFile(data_dir: string): void {
  const path = databasePath(data_dir);
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) throw refused(`There is no store in ${data_dir}.`);
  if (stat.isSymbolicLink())
    throw refused(`${path} is a symbolic link. Name the directory that it leads to with --data.`);
  if (!stat.isFile()) throw refused(`${path} is not a file. Choose another directory.`);
  if (stat.size === 0) throw refused(`${path} is empty. ${wayBack(data_dir)}`);
}

/** Gives `look` a connection that changes nothing on disk. Errors: as `inspectStore`; what `look` throws. */
export function withProbe<T>(data_dir: string, look: (db: Database) => T): T {
  let db: Database | null = null;
  try {
    requireFile(data_dir);
    db = openProbe(databasePath(data_dir));
    const application_id = db.query("PRAGMA application_id").values()[0]?.[0];
    if (application_id !== APPLICATION_ID) {
      throw refused(
        `${databasePath(data_dir)} belongs to another program. Move it away, or choose another directory.`,
      );
    }
    const result = look(db);
    if (readGeneration(db) === null) {
      throw refused(`${databasePath(data_dir)} does not say which store it is. ${wayBack(data_dir)}`);
    }
    return result;
  } catch (error) {
    throw storeProblem(data_dir, error);
  } finally {
    if (db !== null) closeConnection(db);
  }
}

/**
 * A new store gets its name only when it is whole: built beside, emptied log, synced, renamed, folder synced. So a
 * stop at any moment leaves nothing or a store, and an empty or cut `synthetic.db` is never one that we began.
 */
function createStore(data_dir: string, options: OpenOptions, now_ms: number): AppliedMigration[] {
  const building = buildingPath(data_dir);
  makePrivateFolder(join(data_dir, "tmp"));
  removeDatabase(building);
  try {
    const db = openWriter(building, { create: true });
    let applied: AppliedMigration[];
    try {
      ({ applied } = applyMigrations(db, options.migrations ?? MIGRATIONS, { now_ms }));
      immediate(db, () => {
        db.query(STORE_SQL.insert).run({ generation: options.ids.next(), created_at_ms: now_ms });
      });
      const [busy, log] = db.query(STORE_SQL.checkpoint).values()[0] ?? [];
      assert(busy === 0 && log === 0, "the log of a new store is empty before the store gets its name");
    } finally {
      // SQLite has to be done with the file before a descriptor of ours touches it (facts 1).
      closeConnection(db);
    }
    syncFile(building);
    renameSync(building, databasePath(data_dir));
    syncFolder(data_dir);
    return applied;
  } catch (error) {
    removeDatabase(building);
    throw error;
  }
}

function requireNoFormerStore(data_dir: string): void {
  const signs = formerStoreSigns(data_dir);
  if (signs.length === 0) return;
  throw refused(
    `${data_dir} has no synthetic.db, but ${signs.join(", ")}: a store was here, and a new one is not begun over it. ${wayBack(data_dir)}`,
  );
}

/** What has to be done to a store that is there. Changes nothing. */
function planFor(data_dir: string, options: OpenOptions, list: readonly Migration[]): boolean {
  const { fault, pending, version, latest_version } = inspectStore(data_dir, list);
  if (fault !== null) throw refused(`${databasePath(data_dir)}: ${fault}`);
  if (pending.length > 0 && !options.migrate) {
    throw refused(
      `The store in ${data_dir} is at version ${version}, and this release needs ${latest_version}. ` +
        "Run `synthetic migrate`, or start with `synthetic serve --migrate`; a snapshot is kept before.",
    );
  }
  return pending.length > 0;
}

function migrateExisting(db: Database, data_dir: string, options: OpenOptions, now_ms: number) {
  const list = options.migrations ?? MIGRATIONS;
  return applyMigrations(db, list, { now_ms, snapshot: { data_dir, ids: options.ids } });
}

function openLocked(
  data_dir: string,
  options: OpenOptions,
  warnings: string[],
): Omit<OpenedDatabase, "lock"> {
  const path = databasePath(data_dir);
  const now_ms = options.clock.now_ms();
  // Not where a link leads: one that leads nowhere is a disk that is not mounted, and no room for a new store.
  const created = lstatSync(path, { throwIfNoEntry: false }) === undefined;
  let result: { applied: AppliedMigration[]; snapshot: Snapshot | null } = { applied: [], snapshot: null };
  let to_migrate = false;
  if (created) {
    requireNoFormerStore(data_dir);
    result.applied = createStore(data_dir, options, now_ms);
  } else {
    to_migrate = planFor(data_dir, options, options.migrations ?? MIGRATIONS);
  }
  const writer = openWriter(
    path,
    options.synchronous === undefined ? {} : { synchronous: options.synchronous },
  );
  try {
    if (to_migrate) result = migrateExisting(writer, data_dir, options, now_ms);
    const generation = readGeneration(writer);
    assert(generation !== null, "a store has a generation");
    warnOfOpenModes(data_dir, warnings);
    const version = sqliteVersion(writer);
    if (!isWalResetSafe(version)) warnings.push(unsafeVersionWarning(version));
    return { writer, path, generation, created, ...result, warnings };
  } catch (error) {
    closeConnection(writer);
    throw error;
  }
}

function unsafeVersionWarning(version: string): string {
  return `SQLite ${version} can lose commits when a second process checkpoints (fixed in 3.51.3): it serves, but must not be replicated.`;
}

/**
 * The data directory's store, ready to be served, and the directory locked for this process. A store is created
 * where there was none; an older one is brought up to date when `migrate` allows it, after a snapshot. When it
 * throws, the lock is free again and, unless it says otherwise, nothing on disk has changed. Errors: `locked`;
 * `refused_store` with the reason and the way out; `storage_full`.
 */
export async function openDatabase(options: OpenOptions): Promise<OpenedDatabase> {
  const warnings: string[] = [];
  let data_dir = options.data_dir;
  let lock: DirectoryLock | null = null;
  try {
    requireLocalFilesystem(data_dir, warnings);
    makePrivateFolder(data_dir);
    // One name for one store, however the directory was named.
    data_dir = realpathSync(data_dir);
    lock = acquireDirectoryLock(data_dir);
    return { ...openLocked(data_dir, options, warnings), lock };
  } catch (error) {
    lock?.release();
    throw storeProblem(data_dir, error);
  }
}
