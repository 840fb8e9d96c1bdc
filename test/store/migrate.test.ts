/**
 * Migrations: the list, one transaction each, what is refused, the snapshot before, and death at any moment.
 */
import { Database } from "bun:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Problem } from "../../src/errors.ts";
import { system_ids } from "../../src/lib/ids.ts";
import { openWriter } from "../../src/store/sqlite/connection.ts";
import {
  applyMigrations,
  MIGRATION_SQL,
  migrationDigest,
  migrationStatus,
  planMigrations,
  verifyMigrations,
} from "../../src/store/sqlite/migrate.ts";
import { type Migration, MIGRATIONS } from "../../src/store/sqlite/migrations.ts";
import { listSnapshots, takeSnapshot } from "../../src/store/sqlite/snapshot.ts";
import { control, run } from "../campaign/migrate-kill.ts";
import { skipWithout } from "../support/tools.ts";

const FOLDER = resolve(import.meta.dir, "../../migrations");
const NOW_MS = Date.UTC(2026, 0, 2, 3, 4, 5, 678);

let data_dir: string;
let db: Database;
beforeEach(() => {
  data_dir = mkdtempSync(join(tmpdir(), "synthetic-migrate-"));
  db = openWriter(join(data_dir, "synthetic.db"), { create: true });
});
afterEach(() => {
  db.close(true);
  rmSync(data_dir, { recursive: true, force: true });
});

/** Migration 1 as it is, and others after it. */
function listWith(...sql: string[]): Migration[] {
  const others = sql.map((text, index) => ({ version: index + 2, name: `test${index + 2}`, sql: text }));
  return [MIGRATIONS[0]!, ...others];
}

function apply(list: readonly Migration[], now_ms = NOW_MS) {
  return applyMigrations(db, list, { now_ms });
}

function tables(): string[] {
  const rows = db
    .query<{ name: string }, []>("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    .all();
  return rows.map(({ name }) => name);
}

function problemOf(act: () => unknown): Problem {
  try {
    act();
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

describe("the list", () => {
  test("is the folder, in order, with the names of the files", () => {
    const files = readdirSync(FOLDER).filter((name) => name.endsWith(".sql"));
    const wanted = MIGRATIONS.map(({ version, name }) => `${String(version).padStart(4, "0")}_${name}.sql`);
    expect(files.sort()).toEqual(wanted);
    for (const [index, { sql }] of MIGRATIONS.entries()) {
      expect(sql).toBe(readFileSync(join(FOLDER, wanted[index]!), "utf8"));
    }
  });

  test("controls no transaction and sets no pragma: both are the runner's", () => {
    for (const { name, sql } of MIGRATIONS) {
      const statements = sql.replaceAll(/--.*$/gm, "");
      expect([
        name,
        /^\s*(BEGIN|COMMIT|END|ROLLBACK|SAVEPOINT|RELEASE|PRAGMA|VACUUM|ATTACH)\b/im.test(statements),
      ]).toEqual([name, false]);
    }
  });

  test("makes STRICT tables only, each column with its comment", () => {
    apply(MIGRATIONS);
    const rows = db
      .query<{ name: string; strict: number }, []>(
        "SELECT name, strict FROM pragma_table_list WHERE schema = 'main'",
      )
      .all();
    const loose = rows
      .filter(({ name, strict }) => strict !== 1 && !name.startsWith("sqlite_"))
      .map(({ name }) => name);
    expect(loose).toEqual([]);
  });

  test("is part of a bundle: a compiled binary has no folder to read", async () => {
    const entry = resolve(import.meta.dir, "../../src/store/sqlite/migrations.ts");
    const built = await Bun.build({ entrypoints: [entry], target: "bun" });
    const text = await built.outputs[0]!.text();
    for (const { sql } of MIGRATIONS) expect(text).toContain(/CREATE TABLE \w+/.exec(sql)![0]);
  });

  test("with a gap is a defect that shows at once", () => {
    expect(() => migrationStatus(db, [MIGRATIONS[0]!, MIGRATIONS[2]!])).toThrow("without gaps");
  });
});

describe("applying", () => {
  test("records each migration with its digest and time, and a second time does nothing", () => {
    const { applied, snapshot } = apply(MIGRATIONS);
    const wanted = MIGRATIONS.map((migration) => ({
      version: migration.version,
      name: migration.name,
      sha256: migrationDigest(migration),
      applied_at_ms: NOW_MS,
    }));
    expect([applied, snapshot]).toEqual([wanted, null]);
    expect(db.query(MIGRATION_SQL.list).all()).toEqual(wanted);
    expect(apply(MIGRATIONS)).toEqual({ applied: [], snapshot: null });
  });

  test("goes on where it stood", () => {
    apply(MIGRATIONS.slice(0, 2));
    expect(planMigrations(db, MIGRATIONS)).toEqual(MIGRATIONS.slice(2));
    expect(apply(MIGRATIONS).applied.map(({ version }) => version)).toEqual(
      MIGRATIONS.slice(2).map(({ version }) => version),
    );
  });

  test("undoes all of a migration that fails, keeps those before, and says where the store stands", () => {
    const list = listWith(
      "CREATE TABLE second (id INTEGER PRIMARY KEY) STRICT",
      "CREATE TABLE third (id INTEGER PRIMARY KEY) STRICT; INSERT INTO third VALUES (1); INSERT INTO nowhere VALUES (1)",
    );
    const problem = problemOf(() => apply(list));
    expect(problem.code).toBe("refused_store");
    expect(problem.message).toContain(
      "Migration 3 (test3) failed and was undone: the store is at version 2.",
    );
    expect(problem.message).not.toContain("nowhere");
    expect(tables()).toEqual(["migration", "second", "store"]);
    expect([migrationStatus(db, list).version, db.inTransaction]).toEqual([2, false]);
  });

  test("says that the disk is full when it is, and goes on once it is not", () => {
    const list = listWith("CREATE TABLE big (x BLOB) STRICT; INSERT INTO big VALUES (zeroblob(1000000))");
    apply(list.slice(0, 1));
    db.run("PRAGMA max_page_count = 20");
    const problem = problemOf(() => apply(list));
    expect([problem.code, problem.message]).toEqual([
      "storage_full",
      expect.stringContaining("the store is at version 1"),
    ]);
    expect(tables()).toEqual(["migration", "store"]);
    db.run("PRAGMA max_page_count = 100000");
    expect(apply(list).applied).toHaveLength(1);
  });

  test("may rebuild a table without losing what points at it", () => {
    const list = listWith(
      `CREATE TABLE parent (pk INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;
       CREATE TABLE child (parent INTEGER NOT NULL REFERENCES parent (pk) ON DELETE CASCADE) STRICT;
       INSERT INTO parent VALUES (1, 'a'); INSERT INTO child VALUES (1), (1);`,
      `CREATE TABLE new_parent (pk INTEGER PRIMARY KEY, name TEXT NOT NULL, age INTEGER) STRICT;
       INSERT INTO new_parent SELECT pk, name, NULL FROM parent; DROP TABLE parent; ALTER TABLE new_parent RENAME TO parent;`,
    );
    apply(list);
    expect(db.query("SELECT count(*) FROM child").values()).toEqual([[2]]);
    expect(() => db.run("INSERT INTO child VALUES (9)")).toThrow("FOREIGN KEY");
  });

  test("undoes a migration that leaves rows which point at nothing, and references are watched again", () => {
    const list = listWith(
      `CREATE TABLE parent (pk INTEGER PRIMARY KEY) STRICT; INSERT INTO parent VALUES (1);
       CREATE TABLE child (parent INTEGER NOT NULL REFERENCES parent (pk)) STRICT; INSERT INTO child VALUES (1);`,
      "DELETE FROM parent",
    );
    expect(problemOf(() => apply(list)).message).toContain("Migration 3 (test3) failed and was undone");
    expect(db.query("SELECT count(*) FROM parent").values()).toEqual([[1]]);
    expect(db.query("PRAGMA foreign_keys").values()).toEqual([[1]]);
  });

  test("notices a migration that ends its own transaction", () => {
    expect(problemOf(() => apply(listWith("CREATE TABLE second (x) STRICT; COMMIT"))).code).toBe(
      "refused_store",
    );
    expect(() =>
      apply(listWith("CREATE TABLE t (x INTEGER) STRICT; COMMIT; CREATE TABLE u (x INTEGER) STRICT")),
    ).toThrow(Problem);
    expect(db.inTransaction).toBe(false);
  });
});

describe("a status", () => {
  test("of an empty database is version 0, with everything to come", () => {
    const pending = MIGRATIONS.map(({ version, name }) => ({ version, name }));
    expect(migrationStatus(db, MIGRATIONS)).toEqual({
      version: 0,
      latest_version: MIGRATIONS.length,
      applied: [],
      pending,
      fault: null,
    });
  });

  test("tells a newer store, a changed migration and a gap, and the plan refuses them", () => {
    const list = listWith(
      "CREATE TABLE second (id INTEGER PRIMARY KEY) STRICT",
      "CREATE TABLE third (id INTEGER PRIMARY KEY) STRICT",
    );
    apply(list);
    const changed = listWith(
      "CREATE TABLE second (id INTEGER PRIMARY KEY, x TEXT) STRICT",
      "CREATE TABLE third (id INTEGER PRIMARY KEY) STRICT",
    );
    const faults: [readonly Migration[], RegExp][] = [
      [list.slice(0, 2), /at version 3, and this release knows versions up to 2/],
      [changed, /Migration 2 was applied as "test2" with another content/],
    ];
    for (const [wanted, words] of faults) {
      expect(migrationStatus(db, wanted).fault).toMatch(words);
      expect([problemOf(() => planMigrations(db, wanted)).code, problemOf(() => apply(wanted)).code]).toEqual(
        ["refused_store", "refused_store"],
      );
    }
    db.run("DELETE FROM migration WHERE version = 2");
    expect(migrationStatus(db, list).fault).toMatch(/Migration 2 is missing, though 3 was applied/);
  });

  test("of a database with tables and no record is refused; Litestream's tables are not counted", () => {
    db.run("CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)");
    db.run("CREATE TABLE _litestream_lock (id INTEGER)");
    expect(migrationStatus(db, MIGRATIONS).version).toBe(0);
    db.run("CREATE TABLE something (x)");
    expect(problemOf(() => migrationStatus(db, MIGRATIONS)).code).toBe("refused_store");
  });
});

describe("verifying", () => {
  test("passes at every version, also with Litestream's tables", () => {
    for (const { version } of MIGRATIONS) {
      apply(MIGRATIONS.slice(0, version));
      expect(verifyMigrations(db, MIGRATIONS).version).toBe(version);
    }
    db.run("CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)");
    db.run("ANALYZE");
    verifyMigrations(db, MIGRATIONS);
  });

  test.each([
    ["CREATE INDEX mine ON event (at_ms)", "index mine"],
    ["DROP INDEX event_by_workspace", "index event_by_workspace"],
    ["ALTER TABLE event ADD COLUMN mine TEXT", "table event"],
    ["CREATE TRIGGER mine AFTER DELETE ON event BEGIN SELECT 1; END", "trigger mine"],
  ])("names what was changed by hand: %p", (sql, object) => {
    apply(MIGRATIONS);
    db.run(sql);
    const problem = problemOf(() => verifyMigrations(db, MIGRATIONS));
    expect([problem.code, problem.message]).toEqual(["integrity_failed", expect.stringContaining(object)]);
  });

  test("refuses what the plan refuses", () => {
    apply(MIGRATIONS);
    expect(problemOf(() => verifyMigrations(db, MIGRATIONS.slice(0, 3))).code).toBe("refused_store");
  });
});

describe("the snapshot", () => {
  const GENERATION = "01940000-0000-7000-8000-000000000000";
  beforeEach(() => {
    apply(MIGRATIONS);
    db.run(`INSERT INTO store (id, generation, created_at_ms) VALUES (1, '${GENERATION}', 0)`);
    db.run("UPDATE workspace SET description = 'only in the log'");
  });
  const take = () => takeSnapshot(db, { data_dir, version: 6, now_ms: NOW_MS, ids: system_ids });
  const folder = (): string => join(data_dir, "snapshots");

  test("is the whole store, with a generation of its own", () => {
    const { path } = take();
    expect(path).toBe(join(folder(), "synthetic-v6-20260102T030405678Z.db"));
    const copy = new Database(path, { readonly: true });
    expect(copy.query("PRAGMA integrity_check").values()).toEqual([["ok"]]);
    expect(copy.query("SELECT description FROM workspace").values()).toEqual([["only in the log"]]);
    expect(copy.query("SELECT generation FROM store").values()).not.toEqual([[GENERATION]]);
    expect(verifyMigrations(copy, MIGRATIONS).version).toBe(7);
    copy.close(true);
    expect(db.query("SELECT generation FROM store").values()).toEqual([[GENERATION]]);
  });

  test("never takes the place of another, also at the same instant", () => {
    const paths = [take().path, take().path, take().path];
    expect(new Set(paths).size).toBe(3);
    expect(readdirSync(folder())).toHaveLength(3);
  });

  test("clears away what an earlier attempt left half done, and nothing else", () => {
    mkdirSync(folder());
    for (const name of [
      "synthetic-v1-20250101T000000000Z.db.tmp",
      "synthetic-v1-20250101T000000000Z.db.tmp-journal",
      "mine.txt",
    ]) {
      writeFileSync(join(folder(), name), "");
    }
    take();
    expect(readdirSync(folder()).sort()).toEqual(["mine.txt", "synthetic-v6-20260102T030405678Z.db"]);
  });

  test("leaves nothing of itself when it fails", () => {
    db.run("DELETE FROM store");
    db.run("DROP TABLE store");
    expect(take).toThrow("no such table");
    expect(readdirSync(folder())).toEqual([]);
  });

  test("list is the newest first, whatever the version, and knows only complete ones", () => {
    mkdirSync(folder());
    const names = [
      "synthetic-v9-20250101T000000000Z.db",
      "synthetic-v10-20260101T000000000Z.db",
      "synthetic-v2-20260601T000000000Z.db",
    ];
    for (const name of [...names, "synthetic-v2-20270101T000000000Z.db.tmp", "other.db"])
      writeFileSync(join(folder(), name), "");
    expect(listSnapshots(data_dir).map(({ path }) => path.slice(folder().length + 1))).toEqual(
      names.toReversed(),
    );
    expect(listSnapshots(join(data_dir, "none"))).toEqual([]);
  });

  test("is not taken inside a transaction", () => {
    db.run("BEGIN");
    expect(take).toThrow("between transactions");
    db.run("ROLLBACK");
  });
});

test("every statement prepares on a migrated database", () => {
  apply(MIGRATIONS);
  for (const sql of [
    MIGRATION_SQL.tables,
    MIGRATION_SQL.list,
    MIGRATION_SQL.insert,
    MIGRATION_SQL.schema,
    MIGRATION_SQL.dangling,
  ]) {
    db.prepare(sql).finalize();
  }
});

const tracing = skipWithout(["strace"], "death during a migration");
tracing.describe("killed at any write, sync, rename or unlink", () => {
  const log = (): void => undefined;

  test("a store is nothing or whole, at one version or another, and the next start goes on", async () => {
    const { cases, failures, notes } = await run({ seed: 11, size: "short", log });
    expect(failures).toEqual([]);
    expect(cases).toBe(36);
    expect(Object.keys(notes)).toEqual(["create", "migrate", "migrate after a crash"]);
  }, 120_000);

  test("migrations without transactions are caught by the same harness", async () => {
    const { failures } = await control({ seed: 11, size: "short", log });
    expect(failures.join("\n")).toContain("The schema is not what its migrations make of it");
  }, 60_000);
});
