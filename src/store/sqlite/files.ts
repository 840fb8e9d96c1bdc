/**
 * The names of the database's files in a data directory, and what can be told from the names alone. Nothing
 * here opens one of them: only SQLite may (facts 1).
 */
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";

/** What SQLite keeps beside a database: log, index of the log, rollback journal. */
const COMPANIONS = ["-wal", "-shm", "-journal"];

/** Left by a store that once was: a new one must not be started over it by mistake. */
const SIGNS = [
  ...COMPANIONS.map((suffix) => `synthetic.db${suffix}`),
  ".synthetic.db-litestream",
  "search.db",
  "artifacts",
  "snapshots",
];

export function databasePath(data_dir: string): string {
  return join(data_dir, "synthetic.db");
}

/** A new store has this name until it is whole. */
export function buildingPath(data_dir: string): string {
  return join(data_dir, "tmp", "new-synthetic.db");
}

export function snapshotsPath(data_dir: string): string {
  return join(data_dir, "snapshots");
}

function isEmptyFolder(path: string): boolean {
  try {
    return readdirSync(path).length === 0;
  } catch {
    return false;
  }
}

/** Names in the directory that only a store leaves there; an empty folder is no sign. */
export function formerStoreSigns(data_dir: string): string[] {
  const present = new Set(readdirSync(data_dir));
  return SIGNS.filter((name) => present.has(name) && !isEmptyFolder(join(data_dir, name)));
}

/** Takes a database away with all that SQLite keeps beside it. Only for one that nobody has open. */
export function removeDatabase(path: string): void {
  for (const suffix of [...COMPANIONS, ""]) rmSync(`${path}${suffix}`, { force: true });
}
