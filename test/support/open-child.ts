/**
 * A process of its own that opens a data directory and does one thing there. Arguments: the thing, the
 * directory, and the rows of ballast. It says one line of JSON when it is done, or the code and detail of the
 * Problem that stopped it.
 *
 *   open         opens with the long migrations, migrating; closes
 *   bare         the same, but each migration runs without a transaction: the control of the kill campaign
 *   serve        opens, writes a row, says so, and stays until it is killed
 *   hold         takes the directory's lock alone, says so, and stays
 *   probe-lock   asks whether the directory is locked
 */
import { Problem } from "../../src/errors.ts";
import { system_clock } from "../../src/lib/clock.ts";
import { system_ids } from "../../src/lib/ids.ts";
import { thisServer, writeServerRecord } from "../../src/lib/server-record.ts";
import { openWriter } from "../../src/store/sqlite/connection.ts";
import { acquireDirectoryLock, isLocked } from "../../src/store/sqlite/directory-lock.ts";
import { databasePath } from "../../src/store/sqlite/files.ts";
import { MIGRATION_SQL, migrationDigest, planMigrations } from "../../src/store/sqlite/migrate.ts";
import { openDatabase } from "../../src/store/sqlite/open.ts";
import { longMigrations } from "./long-migrations.ts";

const [thing = "", data_dir = "", ballast_rows = "10"] = process.argv.slice(2);
const migrations = longMigrations(Number(ballast_rows));

function say(answer: Record<string, unknown>): void {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

function open() {
  const options = { data_dir, migrate: true, migrations };
  return openDatabase({ ...options, clock: system_clock, ids: system_ids });
}

/** What a careless runner does: the statements one by one, the record at the end. */
function migrateBare(): void {
  const db = openWriter(databasePath(data_dir));
  for (const migration of planMigrations(db, migrations)) {
    const { version, name } = migration;
    if (version === 1) db.run(MIGRATION_SQL.create);
    db.run("PRAGMA foreign_keys = OFF");
    db.run(migration.sql);
    const sha256 = migrationDigest(migration);
    db.query(MIGRATION_SQL.insert).run({ version, name, sha256, applied_at_ms: 0 });
  }
  db.close(true);
}

async function act(): Promise<void> {
  if (thing === "probe-lock") return say({ locked: isLocked(data_dir) });
  if (thing === "bare") {
    migrateBare();
    return say({ done: true });
  }
  if (thing === "hold") {
    acquireDirectoryLock(data_dir);
    say({ held: true });
    return Bun.sleep(60_000);
  }
  const { writer, lock, created, applied } = await open();
  if (thing === "serve") {
    writer.run("PRAGMA wal_autocheckpoint = 0");
    writer.run("UPDATE workspace SET description = 'in the log'");
    writeServerRecord(data_dir, thisServer("http://127.0.0.1:1", system_clock.now_ms()));
    say({ serving: true });
    return Bun.sleep(60_000);
  }
  writer.close(true);
  lock.release();
  say({ done: true, created, applied: applied.length });
}

try {
  await act();
} catch (error) {
  if (!(error instanceof Problem)) throw error;
  say({ code: error.code, detail: error.message, members: error.extra.members });
}
