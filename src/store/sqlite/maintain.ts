/** What is done to a data directory from the outside: migrating it and looking at it. */
import { Database } from "bun:sqlite";
import { existsSync, statSync } from "node:fs";
import { Problem } from "../../errors.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Ids } from "../../lib/ids.ts";
import { closeConnection, isWalResetSafe, sqliteVersion } from "./connection.ts";
import { isLocked } from "./directory-lock.ts";
import { databasePath } from "./files.ts";
import { filesystemOf } from "./filesystem.ts";
import {
  type ApplyResult,
  migrationDigest,
  migrationStatus,
  type MigrationStatus,
  planMigrations,
  verifyMigrations,
} from "./migrate.ts";
import { MIGRATIONS } from "./migrations.ts";
import { withProbe } from "./inspect.ts";
import { openDatabase } from "./open.ts";

export type MigrateAction = "apply" | "status" | "plan" | "verify";

export type MigrationReport =
  | ({ action: "apply"; created: boolean; from_version: number; to_version: number } & ApplyResult)
  | ({ action: "status" } & MigrationStatus)
  | {
      action: "plan";
      version: number;
      latest_version: number;
      pending: { version: number; name: string; sha256: string; sql: string }[];
    }
  | { action: "verify"; ok: true; version: number };

interface Place {
  data_dir: string;
  clock: Clock;
  ids: Ids;
}

async function apply(place: Place): Promise<MigrationReport> {
  const { writer, lock, created, applied, snapshot } = await openDatabase({ ...place, migrate: true });
  closeConnection(writer);
  lock.release();
  const to_version = MIGRATIONS.length;
  return {
    action: "apply",
    created,
    from_version: to_version - applied.length,
    to_version,
    applied,
    snapshot,
  };
}

/** Errors: `locked` (apply), `refused_store`, `not_found` (nothing there to look at), `integrity_failed`. */
export async function migrateDatabase(place: Place, action: MigrateAction): Promise<MigrationReport> {
  if (action === "apply") return apply(place);
  if (!existsSync(databasePath(place.data_dir))) {
    throw new Problem("not_found", `${place.data_dir} has no store yet.`, {
      hint: "`synthetic migrate` or `synthetic serve` makes one.",
    });
  }
  return withProbe(place.data_dir, (db): MigrationReport => {
    if (action === "status") return { action, ...migrationStatus(db, MIGRATIONS) };
    if (action === "verify") return { action, ok: true, version: verifyMigrations(db, MIGRATIONS).version };
    const pending = planMigrations(db, MIGRATIONS).map((migration) => ({
      ...migration,
      sha256: migrationDigest(migration),
    }));
    return {
      action,
      version: MIGRATIONS.length - pending.length,
      latest_version: MIGRATIONS.length,
      pending,
    };
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

function readFacts(
  data_dir: string,
  locked: boolean,
): Pick<StoreInspection, "schema_version" | "pending_count" | "quick_check"> {
  try {
    return withProbe(data_dir, (db) => {
      const quick_check = locked ? null : String(db.query("PRAGMA quick_check(1)").values()[0]?.[0]);
      const { version, pending, fault } = migrationStatus(db, MIGRATIONS);
      return { schema_version: version, pending_count: fault === null ? pending.length : null, quick_check };
    });
  } catch (error) {
    return {
      schema_version: null,
      pending_count: null,
      quick_check: error instanceof Problem ? error.message : "the file cannot be read",
    };
  }
}

/** The version of the library, which needs no file. */
function libraryVersion(): string {
  const db = new Database(":memory:");
  try {
    return sqliteVersion(db);
  } finally {
    closeConnection(db);
  }
}

/** What can be seen of a store from outside; changes nothing. */
export function inspectDatabase(data_dir: string): StoreInspection {
  const path = databasePath(data_dir);
  const exists = existsSync(path);
  const { network, doubtful } = filesystemOf(data_dir);
  const filesystem = network ?? (doubtful ? "FUSE" : "local");
  const locked = existsSync(data_dir) && isLocked(data_dir);
  const facts = exists
    ? readFacts(data_dir, locked)
    : { schema_version: null, pending_count: 0, quick_check: null };
  const sqlite_version = libraryVersion();
  const bytes = (file: string): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  return {
    sqlite_version,
    wal_reset_safe: isWalResetSafe(sqlite_version),
    filesystem,
    filesystem_safe: network === null,
    exists,
    locked,
    ...facts,
    database_bytes: bytes(path),
    wal_bytes: bytes(`${path}-wal`),
  };
}
