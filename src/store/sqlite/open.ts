/**
 * From a data directory to a database that can be served: locked, known to be ours, whole as far as a look
 * can tell, and of this release's schema. Whatever is not so is refused with the reason and the way out, and
 * nothing of the store is changed. It knows nothing of what is in the tables.
 */
import type { Database } from "bun:sqlite";
import { lstatSync, realpathSync, statSync } from "node:fs";
import { assert } from "../../errors.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Ids } from "../../lib/ids.ts";
import { makePrivateFolder } from "../../lib/private-files.ts";
import {
  closeConnection,
  isWalResetSafe,
  openWriter,
  type Synchronous,
  sqliteVersion,
} from "./connection.ts";
import { createStore } from "./create.ts";
import { acquireDirectoryLock, type DirectoryLock } from "./directory-lock.ts";
import { databasePath } from "./files.ts";
import { filesystemOf } from "./filesystem.ts";
import { inspectStore, readGeneration } from "./inspect.ts";
import { type AppliedMigration, applyMigrations, type ApplyResult } from "./migrate.ts";
import { type Migration, MIGRATIONS } from "./migrations.ts";
import { refused, storeProblem } from "./refuse.ts";
import type { Snapshot } from "./snapshot.ts";

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

function requireLocalFilesystem(data_dir: string, warnings: string[]): void {
  const { network, doubtful } = filesystemOf(data_dir);
  if (network !== null) {
    throw refused(
      `${data_dir} is on a network filesystem (${network}), where SQLite loses commits without a word. ` +
        "Choose a directory on a local disk with --data; --replica keeps copies elsewhere.",
    );
  }
  if (doubtful) {
    warnings.push(`${data_dir} is on a FUSE filesystem: a store is safe there only if that is a local disk.`);
  }
}

function warnOfModes(data_dir: string, warnings: string[]): void {
  for (const [path, wanted] of [[data_dir, "700"] as const, [databasePath(data_dir), "600"] as const]) {
    const { mode } = statSync(path);
    if ((mode & 0o077) !== 0)
      warnings.push(`${path} is open to other users of this machine: chmod ${wanted} ${path}`);
  }
}

function warnOfSqlite(version: string, warnings: string[]): void {
  if (isWalResetSafe(version)) return;
  warnings.push(
    `SQLite ${version} can lose commits when a second process moves the log (fixed in 3.51.3): ` +
      "the store can be served, but not replicated.",
  );
}

/** Whether the store has migrations to come. Changes nothing. */
function hasPending(data_dir: string, { migrate }: OpenOptions, list: readonly Migration[]): boolean {
  const { fault, pending, version, latest_version } = inspectStore(data_dir, list);
  if (fault !== null) throw refused(`${databasePath(data_dir)}: ${fault}`);
  if (pending.length > 0 && !migrate) {
    throw refused(
      `The store in ${data_dir} is at version ${version}, and this release needs ${latest_version}. ` +
        "Run `synthetic migrate`, or start with `synthetic serve --migrate`; a snapshot is kept before.",
    );
  }
  return pending.length > 0;
}

function openLocked(
  data_dir: string,
  options: OpenOptions,
  warnings: string[],
): Omit<OpenedDatabase, "lock"> {
  const path = databasePath(data_dir);
  const { ids, migrations = MIGRATIONS, synchronous = "FULL" } = options;
  const now_ms = options.clock.now_ms();
  // The name itself, not where it leads: a link to nowhere is a disk that is not mounted, and no place for a
  // new store.
  const created = lstatSync(path, { throwIfNoEntry: false }) === undefined;
  const pending = !created && hasPending(data_dir, options, migrations);
  let result: ApplyResult = { applied: [], snapshot: null };
  if (created) result = { applied: createStore({ data_dir, migrations, now_ms, ids }), snapshot: null };
  const writer = openWriter(path, { synchronous });
  try {
    if (pending) result = applyMigrations(writer, migrations, { now_ms, snapshot: { data_dir, ids } });
    const generation = readGeneration(writer);
    assert(generation !== null, "a store has a generation");
    warnOfModes(data_dir, warnings);
    warnOfSqlite(sqliteVersion(writer), warnings);
    return { writer, path, generation, created, ...result, warnings };
  } catch (error) {
    closeConnection(writer);
    throw error;
  }
}

/**
 * The data directory's store, ready to be served, and the directory locked for this process. A store is
 * created where there was none; an older one is brought up to date when `migrate` allows it, after a
 * snapshot. When it throws, the lock is free again, and the store is as it was unless the error says
 * otherwise. Errors: `locked`; `refused_store` with the reason and the way out; `storage_full`.
 */
export async function openDatabase(options: OpenOptions): Promise<OpenedDatabase> {
  const warnings: string[] = [];
  let { data_dir } = options;
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
