/**
 * From one version of the schema to another: what a store has had, what it still needs, and the doing of it.
 * A store that this program does not understand is refused, never mended. It knows nothing of files and
 * locks, except that a snapshot is kept before an existing store changes.
 */
import { Database } from "bun:sqlite";
import { assert, Problem } from "../../errors.ts";
import type { Ids } from "../../lib/ids.ts";
import { closeConnection, immediate, isNoRoom } from "./connection.ts";
import type { Migration } from "./migrations.ts";
import { type Snapshot, takeSnapshot } from "./snapshot.ts";

export interface AppliedMigration {
  version: number;
  name: string;
  /** Of the text of the file, hexadecimal. */
  sha256: string;
  applied_at_ms: number;
}

export interface MigrationStatus {
  /** Of the newest migration that was applied; 0 before the first. */
  version: number;
  /** What this program would bring it to. */
  latest_version: number;
  applied: AppliedMigration[];
  pending: { version: number; name: string }[];
  /** Why this program can neither serve nor change the store, and the way out; null when it can. */
  fault: string | null;
}

export interface ApplyOptions {
  now_ms: number;
  /** Given for a store that has data: a copy is kept there before the first change. */
  snapshot?: { data_dir: string; ids: Ids };
}

export interface ApplyResult {
  applied: AppliedMigration[];
  /** Null when nothing was to do, or none was asked for. */
  snapshot: Snapshot | null;
}

export const MIGRATION_SQL = {
  /** Made in the transaction of the first migration. */
  create: `CREATE TABLE migration (
  version       INTEGER PRIMARY KEY,                 -- counts from 1 without gaps
  name          TEXT    NOT NULL,                    -- of the file
  sha256        TEXT    NOT NULL,                    -- of the file's text, hexadecimal: it is never changed again
  applied_at_ms INTEGER NOT NULL                     -- UTC, milliseconds
) STRICT`,
  /** Whether there is a record of migrations, and any table at all; at most some dozens of rows. */
  tables: `SELECT name FROM sqlite_schema
           WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
             AND name NOT LIKE '\\_litestream\\_%' ESCAPE '\\'`,
  /** What was applied, in order; primary key; one row a migration. */
  list: "SELECT version, name, sha256, applied_at_ms FROM migration ORDER BY version",
  insert: `INSERT INTO migration (version, name, sha256, applied_at_ms)
           VALUES ($version, $name, $sha256, $applied_at_ms)`,
  /** The text of everything that migrations made; Litestream's tables are not ours (facts 52). */
  schema: `SELECT type || ' ' || name AS object, sql FROM sqlite_schema
           WHERE sql IS NOT NULL AND name <> 'migration' AND tbl_name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
             AND tbl_name NOT LIKE '\\_litestream\\_%' ESCAPE '\\'
           ORDER BY object`,
  /** Rows that point at nothing; reads every table with a reference; none when all is well. */
  dangling: "PRAGMA foreign_key_check",
};

export function migrationDigest(migration: Migration): string {
  return new Bun.CryptoHasher("sha256").update(migration.sql).digest("hex");
}

function listApplied(db: Database): AppliedMigration[] {
  const tables = db.query<{ name: string }, []>(MIGRATION_SQL.tables).all();
  if (tables.some(({ name }) => name === "migration")) {
    return db.query<AppliedMigration, []>(MIGRATION_SQL.list).all();
  }
  if (tables.length === 0) return [];
  throw new Problem(
    "refused_store",
    "The store has tables but no record of its migrations. Restore it from a copy.",
  );
}

function faultOf(applied: readonly AppliedMigration[], list: readonly Migration[]): string | null {
  const back = "or bring back a snapshot from before, as `snapshots/` in the data directory has them.";
  for (const [index, row] of applied.entries()) {
    const wanted = list[index];
    if (row.version !== index + 1) {
      return `Migration ${index + 1} is missing, though ${row.version} was applied. Restore the store from a copy.`;
    }
    if (wanted === undefined) {
      return (
        `The store is at version ${applied.length}, and this release knows versions up to ${list.length}. ` +
        `Use the release that brought it there or a newer one, ${back}`
      );
    }
    if (row.sha256 !== migrationDigest(wanted)) {
      return (
        `Migration ${row.version} was applied as "${row.name}" with another content than "${wanted.name}" of this ` +
        `release has. Use the release that made the store, ${back}`
      );
    }
  }
  return null;
}

/**
 * Where the store stands. Changes nothing. Errors: `refused_store` when there is no record; SQLiteError as it
 * comes.
 */
export function migrationStatus(db: Database, list: readonly Migration[]): MigrationStatus {
  assert(
    list.every(({ version }, index) => version === index + 1),
    "migrations count from 1 without gaps",
  );
  const applied = listApplied(db);
  const pending = list.slice(applied.length).map(({ version, name }) => ({ version, name }));
  const fault = faultOf(applied, list);
  return { version: applied.at(-1)?.version ?? 0, latest_version: list.length, applied, pending, fault };
}

/**
 * What is still to be applied, in order. Changes nothing. Errors: `refused_store` with the reason and the way
 * out.
 */
export function planMigrations(db: Database, list: readonly Migration[]): Migration[] {
  const { fault, version } = migrationStatus(db, list);
  if (fault !== null) throw new Problem("refused_store", fault);
  return list.slice(version);
}

function schemaOf(db: Database): Map<string, string> {
  const rows = db.query<{ object: string; sql: string }, []>(MIGRATION_SQL.schema).all();
  return new Map(rows.map(({ object, sql }) => [object, sql]));
}

/**
 * The store had these migrations, and its schema is what they make: compared, object by object, with a
 * database in memory that has just had them. Changes nothing. Errors: `refused_store` as `planMigrations`;
 * `integrity_failed` with the objects that differ.
 */
export function verifyMigrations(db: Database, list: readonly Migration[]): MigrationStatus {
  const status = migrationStatus(db, list);
  if (status.fault !== null) throw new Problem("refused_store", status.fault);
  const model = new Database(":memory:");
  try {
    for (const migration of list.slice(0, status.version)) applyOne(model, migration, 0);
    const [found, wanted] = [schemaOf(db), schemaOf(model)];
    const objects = new Set([...found.keys(), ...wanted.keys()]);
    const different = [...objects].filter((object) => found.get(object) !== wanted.get(object));
    if (different.length === 0) return status;
    throw new Problem(
      "integrity_failed",
      `The schema is not what its migrations make of it: ${different.join(", ")}.`,
    );
  } finally {
    closeConnection(model);
  }
}

/** One migration and its record, together or not at all. */
function applyOne(db: Database, migration: Migration, applied_at_ms: number): AppliedMigration {
  const record = {
    version: migration.version,
    name: migration.name,
    sha256: migrationDigest(migration),
    applied_at_ms,
  };
  // Rebuilding a table drops the old one, and with references on that would delete what points at it, by
  // cascade (https://sqlite.org/lang_altertable.html#otheralter). The setting cannot change inside a
  // transaction.
  db.run("PRAGMA foreign_keys = OFF");
  try {
    immediate(db, () => {
      if (migration.version === 1) db.run(MIGRATION_SQL.create);
      db.run(migration.sql);
      const dangling = db.query(MIGRATION_SQL.dangling).all();
      assert(
        dangling.length === 0,
        `migration ${migration.version} leaves ${dangling.length} rows that point at nothing`,
      );
      db.query(MIGRATION_SQL.insert).run(record);
    });
  } finally {
    db.run("PRAGMA foreign_keys = ON");
  }
  return record;
}

function snapshotProblem(error: unknown): Problem {
  const unchanged = "Nothing was changed.";
  if (isNoRoom(error)) {
    const detail = `There is no room for the snapshot that is kept before a migration. ${unchanged}`;
    return new Problem("storage_full", detail, {
      cause: error,
      hint: "Free as much as the database is large.",
    });
  }
  const detail = `The snapshot that is kept before a migration failed. ${unchanged} Check the store and its disk.`;
  return new Problem("refused_store", detail, { cause: error });
}

function migrationProblem(migration: Migration, snapshot: Snapshot | null, error: unknown): Problem {
  const { version, name } = migration;
  const back = snapshot === null ? "" : ` The store as it was: ${snapshot.path}.`;
  const undone = `was undone: the store is at version ${version - 1}.${back}`;
  if (isNoRoom(error)) {
    const detail = `The disk is full. Migration ${version} (${name}) ${undone}`;
    return new Problem("storage_full", detail, { cause: error, hint: "Free space, then migrate again." });
  }
  const detail = `Migration ${version} (${name}) failed and ${undone} Serve it with the release before this one.`;
  return new Problem("refused_store", detail, { cause: error });
}

/**
 * The store has all migrations of the list when this returns. Each is one transaction together with its
 * record, so that a stop at any moment leaves the store at one version or another and a second call goes on.
 * With `snapshot` a checked copy is on disk before the first change. Errors: `refused_store` and
 * `storage_full`; their detail says at which version the store is now.
 */
export function applyMigrations(
  db: Database,
  list: readonly Migration[],
  options: ApplyOptions,
): ApplyResult {
  const plan = planMigrations(db, list);
  const first = plan[0];
  if (first === undefined) return { applied: [], snapshot: null };
  let snapshot: Snapshot | null = null;
  if (options.snapshot !== undefined) {
    try {
      snapshot = takeSnapshot(db, {
        ...options.snapshot,
        version: first.version - 1,
        now_ms: options.now_ms,
      });
    } catch (error) {
      throw snapshotProblem(error);
    }
  }
  const applied = plan.map((migration) => {
    try {
      return applyOne(db, migration, options.now_ms);
    } catch (error) {
      throw migrationProblem(migration, snapshot, error);
    }
  });
  return { applied, snapshot };
}
