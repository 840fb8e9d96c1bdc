/**
 * Is this a store of ours, and does this release understand it? Asked before anything is opened for writing,
 * beside a running server or without one, and answered without changing a byte of the database or its log.
 */
import type { Database } from "bun:sqlite";
import { lstatSync } from "node:fs";
import { APPLICATION_ID, closeConnection } from "./connection.ts";
import { databasePath } from "./files.ts";
import { type MigrationStatus, migrationStatus } from "./migrate.ts";
import { type Migration, MIGRATIONS } from "./migrations.ts";
import { openProbe } from "./probe.ts";
import { refused, storeProblem, wayBack } from "./refuse.ts";

export const STORE_SQL = {
  insert: "INSERT INTO store (id, generation, created_at_ms) VALUES (1, $generation, $created_at_ms)",
  /** Which history this is; one row. */
  find: "SELECT generation FROM store WHERE id = 1",
};

/** The store's identity, or null when it has none. */
export function readGeneration(db: Database): string | null {
  const generation = db.query(STORE_SQL.find).values()[0]?.[0];
  return typeof generation === "string" ? generation : null;
}

/**
 * Errors: `refused_store` unless the file says that it is ours; SQLiteError when it is no database or is
 * damaged.
 */
function requireOurs(db: Database, path: string): void {
  if (db.query("PRAGMA application_id").values()[0]?.[0] === APPLICATION_ID) return;
  throw refused(`${path} belongs to another program. Move it away, or choose another directory.`);
}

/**
 * The smallest page there can be. SQLite takes what is shorter for a new database; a store of ours never is
 * (create.ts).
 */
const SMALLEST_BYTES = 512;

function requireFile(data_dir: string): void {
  const path = databasePath(data_dir);
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) throw refused(`There is no store in ${data_dir}.`);
  if (stat.isSymbolicLink())
    throw refused(`${path} is a link. Name the directory that it leads to with --data.`);
  if (!stat.isFile()) throw refused(`${path} is not a file. Choose another directory.`);
  if (stat.size < SMALLEST_BYTES)
    throw refused(`${path} is cut off after ${stat.size} bytes. ${wayBack(data_dir)}`);
}

/**
 * Gives `look` a connection to the store that changes neither it nor its log. Errors: `refused_store` when
 * there is none, it is not ours, or it is damaged; `locked` when it cannot be read because another program
 * holds it; what `look` throws.
 */
export function withProbe<T>(data_dir: string, look: (db: Database) => T): T {
  const path = databasePath(data_dir);
  let db: Database | null = null;
  try {
    requireFile(data_dir);
    db = openProbe(path);
    requireOurs(db, path);
    return look(db);
  } catch (error) {
    throw storeProblem(data_dir, error);
  } finally {
    if (db !== null) closeConnection(db);
  }
}

/**
 * Where the store stands; a newer one, or one with other migrations, is told by `fault`. Errors: as
 * `withProbe`.
 */
export function inspectStore(data_dir: string, list: readonly Migration[] = MIGRATIONS): MigrationStatus {
  return withProbe(data_dir, (db) => {
    const status = migrationStatus(db, list);
    if (status.fault !== null || readGeneration(db) !== null) return status;
    throw refused(`${databasePath(data_dir)} does not say which store it is. ${wayBack(data_dir)}`);
  });
}
