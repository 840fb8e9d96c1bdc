/** What is done to a data directory from the outside: migrating it and looking at it. */
import { Database } from "bun:sqlite";
import { existsSync, statSync } from "node:fs";
import { Problem } from "../../errors.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Ids } from "../../lib/ids.ts";
import { classifySqliteError, closeConnection, isWalResetSafe, openReader, openWriter, sqliteVersion } from "./connection.ts";
import { acquireDirectoryLock, isLocked } from "./directory-lock.ts";
import { applyMigrations, type ApplyResult, migrationDigest, migrationStatus, type MigrationStatus, planMigrations, verifyMigrations } from "./migrate.ts";
import { MIGRATIONS } from "./migrations.ts";
import { databasePath, filesystemOf, openDatabase, requireOurs } from "./open.ts";

export type MigrateAction = "apply" | "status" | "plan" | "verify";

export type MigrationReport =
  | ({ action: "apply"; created: boolean; from_version: number; to_version: number } & ApplyResult)
  | ({ action: "status" } & MigrationStatus)
  | { action: "plan"; version: number; latest_version: number; pending: { version: number; name: string; sha256: string; sql: string }[] }
  | { action: "verify"; ok: true; version: number };

interface Place {
  data_dir: string;
  clock: Clock;
  ids: Ids;
}

function existing(data_dir: string): string {
  const path = databasePath(data_dir);
  if (!existsSync(path)) throw new Problem("not_found", `${data_dir} has no store yet.`, { hint: "`synthetic migrate` or `synthetic serve` makes one." });
  return path;
}

/** Runs `work` on a connection that is closed afterwards; a damaged file comes out as `refused_store`. */
function withDatabase<T>(path: string, db: Database, work: (db: Database) => T): T {
  try {
    requireOurs(db, path);
    return work(db);
  } catch (error) {
    if (classifySqliteError(error) === "corrupt") throw new Problem("refused_store", `${path} is damaged. Nothing was changed.`, { hint: "Put a copy in its place.", cause: error });
    throw error;
  } finally {
    closeConnection(db);
  }
}

async function apply({ data_dir, clock, ids }: Place): Promise<MigrationReport> {
  if (!existsSync(databasePath(data_dir))) {
    const opened = await openDatabase({ data_dir, migrate: true, clock, ids });
    closeConnection(opened.writer);
    opened.lock.release();
    const applied = MIGRATIONS.map((migration) => ({ version: migration.version, name: migration.name, sha256: migrationDigest(migration), applied_at_ms: clock.now_ms() }));
    return { action: "apply", created: true, from_version: 0, to_version: MIGRATIONS.length, applied, snapshot: null };
  }
  const lock = acquireDirectoryLock(data_dir);
  try {
    const path = databasePath(data_dir);
    return withDatabase(path, openWriter(path), (db) => {
      const result = applyMigrations(db, MIGRATIONS, { now_ms: clock.now_ms(), snapshot: { data_dir, ids } });
      const to_version = MIGRATIONS.length;
      return { action: "apply", created: false, from_version: to_version - result.applied.length, to_version, ...result };
    });
  } finally {
    lock.release();
  }
}

/** Errors: `locked`, `refused_store`, `not_found`, `integrity_failed`. */
export async function migrateDatabase(place: Place, action: MigrateAction): Promise<MigrationReport> {
  if (action === "apply") return apply(place);
  const path = existing(place.data_dir);
  return withDatabase(path, openReader(path), (db): MigrationReport => {
    if (action === "status") return { action, ...migrationStatus(db, MIGRATIONS) };
    if (action === "verify") return { action, ok: true, version: verifyMigrations(db, MIGRATIONS).version };
    const pending = planMigrations(db, MIGRATIONS).map((migration) => ({ version: migration.version, name: migration.name, sha256: migrationDigest(migration), sql: migration.sql }));
    return { action, version: MIGRATIONS.length - pending.length, latest_version: MIGRATIONS.length, pending };
  });
}

export interface StoreInspection {
  sqlite_version: string;
  wal_reset_safe: boolean;
  filesystem: string;
  filesystem_safe: boolean;
  exists: boolean;
  /** Whether some process holds the directory. */
  locked: boolean;
  schema_version: number | null;
  /** Null when the store is newer than the binary, or not ours. */
  pending_count: number | null;
  database_bytes: number;
  wal_bytes: number;
  /** SQLite's words; null while the store is in use, because reading it through would take its time. */
  quick_check: string | null;
}

function readFacts(path: string, locked: boolean): Pick<StoreInspection, "schema_version" | "pending_count" | "quick_check"> {
  try {
    return withDatabase(path, openReader(path), (db) => {
      const quick_check = locked ? null : String(db.query("PRAGMA quick_check(1)").values()[0]?.[0]);
      const { version, pending, fault } = migrationStatus(db, MIGRATIONS);
      return { schema_version: version, pending_count: fault === null ? pending.length : null, quick_check };
    });
  } catch (error) {
    return { schema_version: null, pending_count: null, quick_check: error instanceof Problem ? error.message : "the file cannot be read" };
  }
}

/** The version of the library, which needs no file. */
function libraryVersion(): string {
  const db = new Database(":memory:");
  try {
    return sqliteVersion(db);
  } finally {
    db.close();
  }
}

/** What can be seen of a store from outside; changes nothing. */
export function inspectDatabase(data_dir: string): StoreInspection {
  const path = databasePath(data_dir);
  const exists = existsSync(path);
  const { filesystem, safe } = filesystemOf(data_dir);
  const locked = existsSync(data_dir) && isLocked(data_dir);
  const facts = exists ? readFacts(path, locked) : { schema_version: null, pending_count: 0, quick_check: null };
  const sqlite_version = libraryVersion();
  const bytes = (file: string): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  return { sqlite_version, wal_reset_safe: isWalResetSafe(sqlite_version), filesystem, filesystem_safe: safe, exists, locked, ...facts, database_bytes: bytes(path), wal_bytes: bytes(`${path}-wal`) };
}
