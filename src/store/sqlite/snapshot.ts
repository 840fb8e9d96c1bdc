/**
 * The copy that is kept before a store is changed: a whole database in one file, checked, and the command
 * that brings it back. It knows nothing of why the copy is made.
 */
import { Database } from "bun:sqlite";
import { existsSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { assert } from "../../errors.ts";
import type { Ids } from "../../lib/ids.ts";
import { createPrivateFile, makePrivateFolder, syncFile, syncFolder } from "../../lib/private-files.ts";
import { closeConnection, expectSetting } from "./connection.ts";
import { databasePath, removeDatabase, snapshotsPath } from "./files.ts";

export interface Snapshot {
  path: string;
  /** For a shell, with the server stopped. */
  restore_command: string;
}

export interface SnapshotOptions {
  data_dir: string;
  /** The schema's version in it. */
  version: number;
  now_ms: number;
  ids: Ids;
}

const SNAPSHOT_SQL = {
  /**
   * Writes the whole database into an empty file: one read of all pages, no lock that a writer would notice.
   */
  copy: "VACUUM INTO $path",
  renew: "UPDATE store SET generation = $generation WHERE id = 1",
};

function quoted(path: string): string {
  return `'${path.replaceAll("'", `'\\''`)}'`;
}

/**
 * The store as it is in the snapshot, with the server stopped. The log goes before the new file comes: a log
 * of the later store would be taken for the snapshot's own. A full disk fails in `cp`, while the old store is
 * still whole.
 */
function restoreCommand(data_dir: string, snapshot_path: string): string {
  const path = databasePath(data_dir);
  const [from, to, half] = [quoted(snapshot_path), quoted(path), quoted(`${path}.restored`)];
  return `cp ${from} ${half} && rm -f ${quoted(`${path}-wal`)} ${quoted(`${path}-shm`)} && mv ${half} ${to}`;
}

const NAME = /^synthetic-v\d+-\d{8}T\d{9}Z(?:-[0-9a-f-]+)?\.db$/;

/** The name ends with the time and so sorts by it. */
function timeOf(name: string): string {
  return name.slice(name.indexOf("-", "synthetic-".length));
}

/** Complete snapshots of a data directory, the newest first. */
export function listSnapshots(data_dir: string): Snapshot[] {
  const folder = snapshotsPath(data_dir);
  const names = existsSync(folder) ? readdirSync(folder).filter((name) => NAME.test(name)) : [];
  const newest_first = names.toSorted((a, b) => (timeOf(a) < timeOf(b) ? 1 : -1));
  return newest_first.map((name) => {
    const path = join(folder, name);
    return { path, restore_command: restoreCommand(data_dir, path) };
  });
}

function freePath(options: SnapshotOptions): string {
  const time = new Date(options.now_ms).toISOString().replaceAll(/[-:.]/g, "");
  const stem = join(snapshotsPath(options.data_dir), `synthetic-v${options.version}-${time}`);
  return existsSync(`${stem}.db`) ? `${stem}-${options.ids.next()}.db` : `${stem}.db`;
}

/**
 * A snapshot is another history as soon as both go on, and a replica must not take it for the newest state of
 * the old one (facts 49): so it has a generation of its own from the start.
 */
function finish(path: string, generation: string): void {
  const db = new Database(path, { readwrite: true, create: false, strict: true });
  try {
    db.run("PRAGMA synchronous = FULL");
    expectSetting(db, "quick_check(1)", "ok");
    db.query(SNAPSHOT_SQL.renew).run({ generation });
  } finally {
    closeConnection(db);
  }
}

/**
 * A complete, checked copy of the store is on disk, 0600, when this returns; when it throws there is none,
 * and the store is as it was. What an earlier attempt left half done is removed. `db` must not be in a
 * transaction. Errors: SQLiteError and the file system's errors as they come.
 */
export function takeSnapshot(db: Database, options: SnapshotOptions): Snapshot {
  assert(!db.inTransaction, "a snapshot is taken between transactions");
  const folder = snapshotsPath(options.data_dir);
  makePrivateFolder(folder);
  for (const name of readdirSync(folder))
    if (name.includes(".db.tmp")) rmSync(join(folder, name), { force: true });
  const path = freePath(options);
  const temporary = `${path}.tmp`;
  try {
    // SQLite accepts an empty file, and so the copy is private before its first byte.
    createPrivateFile(temporary);
    db.query(SNAPSHOT_SQL.copy).run({ path: temporary });
    finish(temporary, options.ids.next());
    syncFile(temporary);
    renameSync(temporary, path);
    syncFolder(folder);
  } catch (error) {
    removeDatabase(temporary);
    throw error;
  }
  return { path, restore_command: restoreCommand(options.data_dir, path) };
}
