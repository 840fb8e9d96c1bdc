/**
 * The settings of connections, the transaction wrapper, and what engine errors mean; with the outside facts
 * they rest on.
 */
import { Database, SQLiteError } from "bun:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import {
  APPLICATION_ID,
  classifySqliteError,
  closeConnection,
  immediate,
  isWalResetSafe,
  openReader,
  openWriter,
  sqliteVersion,
} from "../../src/store/sqlite/connection.ts";
import { skipWithout, tool } from "../support/tools.ts";

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "synthetic-connection-"));
  path = join(folder, "test.db");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function pragma(db: Database, name: string): unknown {
  return db.query(`PRAGMA ${name}`).values()[0]?.[0];
}

function openTable(): Database {
  const db = openWriter(path, { create: true });
  db.run("CREATE TABLE t (x INTEGER UNIQUE, y TEXT NOT NULL DEFAULT '') STRICT");
  return db;
}

function count(db: Database): unknown {
  return db.query("SELECT count(*) FROM t").values()[0]?.[0];
}

function errorOf(act: () => unknown): unknown {
  try {
    act();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

/** Names of this process's open files in the folder. */
function openFiles(): string[] {
  return readdirSync("/proc/self/fd")
    .map((descriptor) => {
      try {
        return readlinkSync(`/proc/self/fd/${descriptor}`);
      } catch {
        return "";
      }
    })
    .filter((name) => name.startsWith(folder));
}

describe("a writing connection", () => {
  test("has every setting that durability, integrity and privacy rest on", () => {
    const db = openWriter(path, { create: true });
    const settings = {
      journal_mode: "wal",
      synchronous: 2,
      auto_vacuum: 2,
      secure_delete: 2,
      foreign_keys: 1,
      trusted_schema: 0,
      busy_timeout: 15_000,
      temp_store: 2,
      mmap_size: 0,
      cache_size: -98_304,
      wal_autocheckpoint: 1_000,
      journal_size_limit: 67_108_864,
      fullfsync: 1,
      application_id: APPLICATION_ID,
      page_size: 4_096,
    };
    const found = Object.fromEntries(
      Object.keys(settings).map((name) => [name, db.query(`PRAGMA ${name}`).values()[0]?.[0]]),
    );
    expect(found).toEqual(settings);
    closeConnection(db);
  });

  test("is 0600 with all that SQLite puts beside it, whatever the umask", () => {
    const before = process.umask(0o000);
    try {
      const db = openTable();
      const modes = readdirSync(folder).map((name) => [
        name,
        (statSync(join(folder, name)).mode & 0o777).toString(8),
      ]);
      expect(Object.fromEntries(modes)).toEqual({
        "test.db": "600",
        "test.db-wal": "600",
        "test.db-shm": "600",
      });
      closeConnection(db);
    } finally {
      process.umask(before);
    }
  });

  test("keeps auto_vacuum, the application id and WAL when it is opened again", () => {
    closeConnection(openTable());
    const db = openWriter(path);
    expect([pragma(db, "auto_vacuum"), pragma(db, "application_id"), pragma(db, "journal_mode")]).toEqual([
      2,
      APPLICATION_ID,
      "wal",
    ]);
    closeConnection(db);
  });

  test("syncs less only when a control asks for it", () => {
    for (const [synchronous, number] of [
      ["NORMAL", 1],
      ["OFF", 0],
    ] as const) {
      const db = openWriter(path, { create: true, synchronous });
      expect(pragma(db, "synchronous")).toBe(number);
      closeConnection(db);
    }
  });

  test("makes no file unless it is asked to", () => {
    expect(classifySqliteError(errorOf(() => openWriter(path)))).toBe("io");
    expect(readdirSync(folder)).toEqual([]);
  });

  test("refuses a missing named parameter, which Bun would bind as NULL", () => {
    const db = openTable();
    expect(() => db.prepare("INSERT INTO t (x, y) VALUES ($x, $y)").run({ $x: 1 })).toThrow(
      "Missing parameter",
    );
    closeConnection(db);
  });

  test("leaves no descriptor behind when its settings fail", () => {
    writeFileSync(path, "no database at all, but long enough to be one".repeat(100));
    expect(() => openWriter(path)).toThrow("file is not a database");
    expect(openFiles()).toEqual([]);
  });

  test("closes its files although a statement was never finished", () => {
    const db = openTable();
    db.prepare("SELECT 1").get();
    closeConnection(db);
    expect(openFiles()).toEqual([]);
  });
});

describe("a reading connection", () => {
  test("changes nothing and sees each commit that returned before", () => {
    const db = openTable();
    const reader = openReader(path);
    for (let x = 1; x <= 3; x += 1) {
      db.run("INSERT INTO t (x) VALUES (?)", [x]);
      expect(count(reader)).toBe(x);
    }
    expect(() => reader.run("INSERT INTO t (x) VALUES (9)")).toThrow("readonly database");
    expect([
      pragma(reader, "query_only"),
      pragma(reader, "trusted_schema"),
      pragma(reader, "busy_timeout"),
    ]).toEqual([1, 0, 15_000]);
    closeConnection(reader);
    closeConnection(db);
  });
});

describe("immediate", () => {
  let db: Database;
  beforeEach(() => {
    db = openTable();
  });
  afterEach(() => closeConnection(db));
  const insert = (x: number): void => void db.run("INSERT INTO t (x) VALUES (?)", [x]);

  test("stores all of the work and gives its result", () => {
    const result = immediate(db, () => {
      insert(1);
      insert(2);
      return "done";
    });
    expect([result, count(db), db.inTransaction]).toEqual(["done", 2, false]);
  });

  test("stores nothing when the work throws, and the error comes out as it is", () => {
    const refusal = new Error("no");
    const thrown = errorOf(() =>
      immediate(db, () => {
        insert(1);
        throw refusal;
      }),
    );
    expect([thrown === refusal, count(db), db.inTransaction]).toEqual([true, 0, false]);
  });

  test("holds the write lock from its start", () => {
    const other = new Database(path, { readwrite: true });
    other.run("PRAGMA busy_timeout = 0");
    immediate(db, () => {
      expect(classifySqliteError(errorOf(() => other.run("BEGIN IMMEDIATE")))).toBe("busy");
    });
    closeConnection(other);
  });

  test("refuses an async function before a statement of it ran", () => {
    // @ts-expect-error -- the work of a transaction gives no promise
    const act = (): unknown => immediate(db, async () => insert(1));
    expect(act).toThrow("synchronous");
    expect([count(db), db.inTransaction]).toEqual([0, false]);
  });

  test("undoes work that gives a promise all the same", () => {
    const act = (): unknown =>
      // @ts-expect-error -- the work of a transaction gives no promise
      immediate(db, () => {
        insert(1);
        return Promise.resolve();
      });
    expect(act).toThrow("synchronous");
    expect([count(db), db.inTransaction]).toEqual([0, false]);
  });

  test("does not nest", () => {
    expect(() => immediate(db, () => immediate(db, () => insert(1)))).toThrow("do not nest");
    expect([count(db), db.inTransaction]).toEqual([0, false]);
  });

  test("notices that a full disk has ended the transaction although the work went on", () => {
    db.run(`PRAGMA max_page_count = ${Number(pragma(db, "page_count")) + 2}`);
    const act = (): void =>
      immediate(db, () => {
        insert(1);
        errorOf(() => db.run("INSERT INTO t (x, y) VALUES (2, ?)", ["y".repeat(100_000)]));
      });
    expect(act).toThrow("ended before its work did");
    expect(count(db)).toBe(0);
  });
});

describe("an engine error", () => {
  const kindOf = (act: () => unknown): string => classifySqliteError(errorOf(act));

  test("is full when the pages run out", () => {
    const db = openTable();
    db.run(`PRAGMA max_page_count = ${Number(pragma(db, "page_count"))}`);
    expect(kindOf(() => db.run("INSERT INTO t (y) VALUES (?)", ["y".repeat(100_000)]))).toBe("full");
    closeConnection(db);
  });

  test("is busy when another connection writes", () => {
    const db = openTable();
    const other = openWriter(path);
    other.run("PRAGMA busy_timeout = 0");
    db.run("BEGIN IMMEDIATE");
    expect(kindOf(() => other.run("INSERT INTO t (x) VALUES (1)"))).toBe("busy");
    db.run("ROLLBACK");
    closeConnection(other);
    closeConnection(db);
  });

  test("is busy also with an extended code: a snapshot that is too old to write from", () => {
    const db = openTable();
    const other = openWriter(path);
    other.run("BEGIN");
    count(other);
    db.run("INSERT INTO t (x) VALUES (1)");
    const error = errorOf(() => other.run("INSERT INTO t (x) VALUES (2)"));
    expect([(error as SQLiteError).code, classifySqliteError(error)]).toEqual([
      "SQLITE_BUSY_SNAPSHOT",
      "busy",
    ]);
    other.run("ROLLBACK");
    closeConnection(other);
    closeConnection(db);
  });

  test("is corrupt for what is no database and for one that is cut", () => {
    writeFileSync(path, "x".repeat(5_000));
    expect(kindOf(() => openReader(path).query("SELECT * FROM t").all())).toBe("corrupt");
    rmSync(path);
    const db = openTable();
    db.run("INSERT INTO t (y) VALUES (?)", ["y".repeat(100_000)]);
    closeConnection(db);
    truncateSync(path, 8_192);
    const cut = new Database(path, { readonly: true });
    expect(kindOf(() => count(cut))).toBe("corrupt");
    closeConnection(cut);
  });

  test("is a constraint whichever constraint it is", () => {
    const db = openTable();
    db.run("INSERT INTO t (x) VALUES (1)");
    expect(kindOf(() => db.run("INSERT INTO t (x) VALUES (1)"))).toBe("constraint");
    expect(kindOf(() => db.run("INSERT INTO t (y) VALUES (NULL)"))).toBe("constraint");
    closeConnection(db);
  });

  test("is io when the file cannot be opened or the connection may not write", () => {
    closeConnection(openTable());
    expect(kindOf(() => openReader(join(folder, "none.db")))).toBe("io");
    const reader = openReader(path);
    expect(kindOf(() => reader.run("DELETE FROM t"))).toBe("io");
    closeConnection(reader);
  });

  test("is other for a mistake in SQL and for what SQLite did not say", () => {
    const db = openTable();
    expect(kindOf(() => db.run("SELEKT 1"))).toBe("other");
    expect(classifySqliteError(new Error("SQLITE_FULL"))).toBe("other");
    expect(classifySqliteError("SQLITE_FULL")).toBe("other");
    closeConnection(db);
  });
});

const CONNECTION = resolve(import.meta.dir, "../../src/store/sqlite/connection.ts");
/** Writes rows until one fails; says what failed, and whether the reads go on. */
const FILLING = `
  import { classifySqliteError, openWriter } from ${JSON.stringify(CONNECTION)};
  const db = openWriter(process.argv[1], { create: true });
  db.run("PRAGMA wal_autocheckpoint = " + process.argv[2]);
  db.run("CREATE TABLE t (x)");
  let stored = 0;
  try {
    for (; stored < 900; stored += 1) db.run("INSERT INTO t VALUES (?)", ["x".repeat(30_000)]);
  } catch (error) {
    const [[rows]] = db.query("SELECT count(*) FROM t").values();
    console.log(JSON.stringify({ code: error.code, errno: error.errno, kind: classifySqliteError(error), kept: rows === stored }));
  }
`;

function fill(wrapper: string[], database: string, checkpoint_pages = 1_000): unknown {
  const { stdout, stderr } = Bun.spawnSync([
    ...wrapper,
    process.execPath,
    "-e",
    FILLING,
    database,
    String(checkpoint_pages),
  ]);
  if (stdout.length === 0) throw new Error(stderr.toString());
  return JSON.parse(stdout.toString());
}

test("a file that may not grow (ulimit -f) fails as SQLITE_IOERR_WRITE: io, and not told apart from a broken disk", () => {
  const wrapper = ["/bin/bash", "-c", 'ulimit -f 2000 && exec "$@"', "limited"];
  expect(fill(wrapper, path)).toEqual({ code: "SQLITE_IOERR_WRITE", errno: 778, kind: "io", kept: true });
});

const mounting = skipWithout(["root", "mount"], "a full tmpfs");
mounting.test("a full filesystem fails as SQLITE_FULL, and what was stored is still read", () => {
  const mounted = join(folder, "small");
  mkdirSync(mounted);
  expect(Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mounted]).success).toBe(true);
  try {
    expect(fill([], join(mounted, "test.db"))).toEqual({
      code: "SQLITE_FULL",
      errno: 13,
      kind: "full",
      kept: true,
    });
  } finally {
    Bun.spawnSync(["umount", mounted]);
  }
});

const tracing = skipWithout(["strace"], "errors of a broken disk");
tracing.describe("a broken disk", () => {
  const broken = (inject: string): unknown => {
    const call = inject.split(":")[0];
    return fill(
      [tool("strace") ?? "", "-f", "-qq", "-o", "/dev/null", "-e", `trace=${call}`, "-e", `inject=${inject}`],
      path,
    );
  };

  test("fails a sync as SQLITE_IOERR_FSYNC: io", () => {
    expect(broken("fsync:error=EIO:when=20")).toMatchObject({
      code: "SQLITE_IOERR_FSYNC",
      errno: 1034,
      kind: "io",
    });
  });
  test("fails a write as SQLITE_IOERR_WRITE: io", () => {
    expect(broken("pwrite64:error=EIO:when=60")).toMatchObject({
      code: "SQLITE_IOERR_WRITE",
      errno: 778,
      kind: "io",
      kept: true,
    });
  });
  test("without room for the index of the log fails as SQLITE_IOERR_SHMSIZE, which is full", () => {
    const command = [tool("strace") ?? "", "-f", "-qq", "-o", "/dev/null", "-P", `${path}-shm`];
    const inject = ["-e", "trace=pwrite64", "-e", "inject=pwrite64:error=ENOSPC:when=9"];
    // The ninth page of the index comes with the 4,063rd page of the log: no checkpoint before.
    expect(fill([...command, ...inject], path, 5_000)).toMatchObject({
      code: "SQLITE_IOERR_SHMSIZE",
      kind: "full",
      kept: true,
    });
  });
  test("fails a write over the user's quota as SQLITE_IOERR_WRITE too", () => {
    expect(broken("pwrite64:error=EDQUOT:when=60")).toMatchObject({
      code: "SQLITE_IOERR_WRITE",
      errno: 778,
      kind: "io",
      kept: true,
    });
  });
  test("fails a write without room as SQLITE_FULL", () => {
    expect(broken("pwrite64:error=ENOSPC:when=60")).toMatchObject({
      code: "SQLITE_FULL",
      errno: 13,
      kind: "full",
      kept: true,
    });
  });
});

describe("the library", () => {
  test("is free of the WAL-reset bug here", () => {
    const db = new Database(":memory:");
    expect(isWalResetSafe(sqliteVersion(db))).toBe(
      process.platform === "linux" || isWalResetSafe(sqliteVersion(db)),
    );
    expect(sqliteVersion(db)).toMatch(/^3\.\d+\.\d+$/);
    closeConnection(db);
  });

  const table: [string, boolean][] = [
    ["3.43.2", false],
    ["3.44.5", false],
    ["3.44.6", true],
    ["3.45.0", false],
    ["3.50.6", false],
    ["3.50.7", true],
    ["3.51.2", false],
    ["3.51.3", true],
    ["3.52.0", true],
    ["3.54.1", true],
    ["4.0.0", true],
    ["", false],
  ];
  test.each(table)("in version %p is safe to replicate: %p", (version, safe) =>
    expect(isWalResetSafe(version)).toBe(safe),
  );
});

describe("outside behaviour that this rests on", () => {
  test("db.transaction keeps what an async function did before it threw (facts 3)", async () => {
    const db = openTable();
    const act = db.transaction(async () => {
      db.run("INSERT INTO t (x) VALUES (1)");
      await Promise.resolve();
      throw new Error("no");
    });
    await act().catch(() => undefined);
    expect(count(db)).toBe(1);
    closeConnection(db);
  });

  test("SQLITE_FULL inside a savepoint ends the whole transaction (facts 10)", () => {
    const db = openTable();
    db.run(`PRAGMA max_page_count = ${Number(pragma(db, "page_count")) + 1}`);
    db.run("BEGIN IMMEDIATE");
    db.run("SAVEPOINT member");
    expect(() => db.run("INSERT INTO t (y) VALUES (?)", ["y".repeat(100_000)])).toThrow("full");
    expect(db.inTransaction).toBe(false);
    closeConnection(db);
  });

  test("a statement with an unknown column fails when it is prepared, and its columns are known then (facts 13)", () => {
    const db = openTable();
    expect(() => db.prepare("SELECT z FROM t")).toThrow("no such column");
    expect(db.prepare("SELECT x, y AS z FROM t").columnNames).toEqual(["x", "z"]);
    closeConnection(db);
  });

  test("auto_vacuum cannot be switched on once there is a table (facts 10)", () => {
    const db = new Database(path, { create: true });
    db.run("CREATE TABLE t (x)");
    db.run("PRAGMA auto_vacuum = INCREMENTAL");
    expect(pragma(db, "auto_vacuum")).toBe(0);
    closeConnection(db);
  });

  test("with secure_delete = FAST deleted text is not in the file, and without it is", () => {
    const left = (secure: boolean): boolean => {
      const file = join(folder, `secure-${secure}.db`);
      const db = openWriter(file, { create: true });
      if (!secure) db.run("PRAGMA secure_delete = OFF");
      db.run("CREATE TABLE t (x TEXT)");
      db.run("INSERT INTO t VALUES ('a-secret-that-was-deleted')");
      db.run("INSERT INTO t VALUES ('kept')");
      db.run("DELETE FROM t WHERE x LIKE 'a-secret%'");
      closeConnection(db);
      return Bun.spawnSync(["grep", "-qa", "a-secret-that-was-deleted", file]).exitCode === 0;
    };
    expect([left(true), left(false)]).toEqual([false, true]);
  });

  test("close() without true keeps the files while a statement is unfinished", () => {
    const db = openTable();
    const statement = db.prepare("SELECT 1");
    db.close();
    expect(openFiles().length).toBeGreaterThan(0);
    statement.finalize();
  });
});
