/**
 * What becomes of a data directory when it is opened: created, served, migrated, or refused with nothing
 * changed.
 */
import { Database } from "bun:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Problem } from "../../src/errors.ts";
import { system_clock } from "../../src/lib/clock.ts";
import { isId, system_ids } from "../../src/lib/ids.ts";
import { APPLICATION_ID } from "../../src/store/sqlite/connection.ts";
import { acquireDirectoryLock, isLocked } from "../../src/store/sqlite/directory-lock.ts";
import { judgeFilesystem } from "../../src/store/sqlite/filesystem.ts";
import { inspectStore } from "../../src/store/sqlite/inspect.ts";
import { type Migration, MIGRATIONS } from "../../src/store/sqlite/migrations.ts";
import { type OpenedDatabase, type OpenOptions, openDatabase } from "../../src/store/sqlite/open.ts";
import { listSnapshots } from "../../src/store/sqlite/snapshot.ts";
import { runChild, startChild } from "../support/children.ts";
import { longMigrations } from "../support/long-migrations.ts";
import { skipWithout, tool } from "../support/tools.ts";

let folder: string;
let data_dir: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "synthetic-open-"));
  data_dir = join(folder, "data");
  path = join(data_dir, "synthetic.db");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function open(options: Partial<OpenOptions> = {}): Promise<OpenedDatabase> {
  return openDatabase({ data_dir, migrate: false, clock: system_clock, ids: system_ids, ...options });
}

function close({ writer, lock }: OpenedDatabase): void {
  writer.close(true);
  lock.release();
}

async function problemOf(opening: Promise<OpenedDatabase>): Promise<Problem> {
  try {
    close(await opening);
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
  throw new Error("it opened");
}

/** Every file with its content, but for the lock and the index of the log, which every opener makes anew. */
function contents(directory = data_dir): Record<string, string> {
  const names = readdirSync(directory, { recursive: true }).map(String).sort();
  const files = names.filter(
    (name) => !/^lock\.db|-shm$/.test(name) && statSync(join(directory, name)).isFile(),
  );
  return Object.fromEntries(
    files.map((name) => [
      name,
      new Bun.CryptoHasher("sha256").update(readFileSync(join(directory, name))).digest("hex"),
    ]),
  );
}

/**
 * The opening is refused, the words hold the hint, the lock is free again, and no byte of a file is
 * different.
 */
async function expectRefused(hint: string | RegExp, options: Partial<OpenOptions> = {}): Promise<Problem> {
  const before = contents();
  const problem = await problemOf(open(options));
  expect(contents()).toEqual(before);
  expect([problem.code, isLocked(data_dir)]).toEqual(["refused_store", false]);
  expect(problem.message).toMatch(hint);
  return problem;
}

/** A store that was closed in good order. */
async function makeStore(migrations: readonly Migration[] = MIGRATIONS): Promise<void> {
  close(await open({ migrations }));
}

/** Changes a closed store by hand. */
function tamper(act: (db: Database) => void): void {
  const db = new Database(path, { readwrite: true });
  act(db);
  db.close(true);
}

/** A store as a crash leaves it: its last change is only in the log. */
async function makeCrashedStore(): Promise<void> {
  const child = await startChild("serve", data_dir);
  await child.kill();
  expect(statSync(`${path}-wal`).size).toBeGreaterThan(0);
}

const NEWER: Migration = {
  version: MIGRATIONS.length + 1,
  name: "future",
  sql: "CREATE TABLE future (id INTEGER PRIMARY KEY) STRICT",
};

describe("a new store", () => {
  test("is whole, ours and private, and the next opening finds it", async () => {
    const first = await open();
    expect([first.created, first.path, first.warnings, first.snapshot]).toEqual([true, path, [], null]);
    expect(isId(first.generation)).toBe(true);
    expect(first.applied.map(({ version }) => version)).toEqual(MIGRATIONS.map(({ version }) => version));
    expect(first.writer.query("PRAGMA integrity_check").values()).toEqual([["ok"]]);
    close(first);
    expect(statSync(data_dir).mode & 0o777).toBe(0o700);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const second = await open();
    expect([second.created, second.applied, second.generation]).toEqual([false, [], first.generation]);
    close(second);
  });

  test("has what cannot be set later: auto_vacuum, secure_delete, synchronous and the application id", async () => {
    const opened = await open();
    const names = [
      "auto_vacuum",
      "secure_delete",
      "synchronous",
      "application_id",
      "journal_mode",
      "foreign_keys",
    ];
    const found = names.map((name) => opened.writer.query(`PRAGMA ${name}`).values()[0]?.[0]);
    expect(found).toEqual([2, 2, 2, APPLICATION_ID, "wal", 1]);
    close(opened);
  });

  test("leaves nothing of its building, neither files nor descriptors", async () => {
    const opened = await open();
    expect(readdirSync(join(data_dir, "tmp"))).toEqual([]);
    const descriptors = readdirSync("/proc/self/fd").map((name) => {
      try {
        return readlinkSync(`/proc/self/fd/${name}`);
      } catch {
        return "";
      }
    });
    const ours = descriptors
      .filter((name) => name.startsWith(data_dir))
      .map((name) => name.slice(data_dir.length + 1));
    // One descriptor a file: a second one, once closed, would drop the locks of the first (facts 1).
    expect(ours.sort()).toEqual(["lock.db", "synthetic.db", "synthetic.db-shm", "synthetic.db-wal"]);
    close(opened);
  });

  test("is begun anew where an earlier beginning was cut off", async () => {
    mkdirSync(join(data_dir, "tmp"), { recursive: true });
    for (const suffix of ["", "-wal", "-shm", "-journal"]) {
      writeFileSync(join(data_dir, "tmp", `new-synthetic.db${suffix}`), "half");
    }
    await makeStore();
    expect(readdirSync(join(data_dir, "tmp"))).toEqual([]);
  });

  test("is made in folders that have to be made first, also by a relative name", async () => {
    const opened = await open({ data_dir: join(folder, "a/b/../c") });
    expect(opened.path).toBe(join(folder, "a/c/synthetic.db"));
    close(opened);
  });

  test("is one store however the directory is named", async () => {
    const opened = await open();
    symlinkSync(data_dir, join(folder, "other-name"));
    expect((await problemOf(open({ data_dir: join(folder, "other-name") }))).code).toBe("locked");
    close(opened);
  });

  test("that cannot be finished leaves none, and the lock is free", async () => {
    const broken = [...MIGRATIONS, { ...NEWER, sql: "CREATE TABLE half (id INTEGER); SELEKT 1" }];
    const problem = await problemOf(open({ migrations: broken }));
    expect(problem.message).toContain("future");
    expect([existsSync(path), readdirSync(join(data_dir, "tmp")), isLocked(data_dir)]).toEqual([
      false,
      [],
      false,
    ]);
    await makeStore();
  });

  test("is not begun where the directory is a file, with the file system's reason", async () => {
    writeFileSync(data_dir, "");
    expect((await problemOf(open())).message).toContain("EEXIST");
    expect((await problemOf(open({ data_dir: join(data_dir, "below") }))).message).toMatch(/ENOTDIR|EEXIST/);
  });

  test("is not begun over what a former store left", async () => {
    mkdirSync(data_dir);
    for (const name of ["synthetic.db-wal", "synthetic.db-shm", "synthetic.db-journal", "search.db"]) {
      writeFileSync(join(data_dir, name), "");
      await expectRefused(name);
      rmSync(join(data_dir, name));
    }
    for (const name of ["artifacts", "snapshots", ".synthetic.db-litestream"]) {
      mkdirSync(join(data_dir, name));
      writeFileSync(join(data_dir, name, "something"), "");
      await expectRefused(name);
      rmSync(join(data_dir, name), { recursive: true });
    }
  });

  test("is begun beside empty folders, a token and a configuration", async () => {
    for (const name of ["artifacts", "snapshots"]) mkdirSync(join(data_dir, name), { recursive: true });
    for (const name of ["token", "config.toml"]) writeFileSync(join(data_dir, name), "");
    await makeStore();
  });

  test("is not begun in place of a link that leads nowhere: a disk that is not mounted", async () => {
    mkdirSync(data_dir);
    symlinkSync("/nowhere/synthetic.db", path);
    expect((await problemOf(open())).message).toContain("link");
    expect(readlinkSync(path)).toBe("/nowhere/synthetic.db");
  });
});

describe("a file that is not our store is refused and stays as it is", () => {
  test("when it is empty", async () => {
    mkdirSync(data_dir);
    writeFileSync(path, "");
    await expectRefused("cut off after 0 bytes");
  });

  test("when it is a text", async () => {
    mkdirSync(data_dir);
    writeFileSync(path, "Dear diary, ".repeat(1_000));
    await expectRefused("is no database");
  });

  test("when it is a folder", async () => {
    mkdirSync(path, { recursive: true });
    await expectRefused("not a file");
  });

  test("when it is another program's database, in either journal mode, with or without a log", async () => {
    for (const [journal_mode, keep_log] of [
      ["delete", false],
      ["wal", false],
      ["wal", true],
    ] as const) {
      const source = join(folder, `foreign-${journal_mode}-${keep_log}.db`);
      const db = new Database(source, { create: true });
      db.query(`PRAGMA journal_mode = ${journal_mode}`).all();
      db.run("CREATE TABLE store (id INTEGER PRIMARY KEY, generation TEXT)");
      db.run("INSERT INTO store VALUES (1, 'x')");
      rmSync(data_dir, { recursive: true, force: true });
      mkdirSync(data_dir);
      if (!keep_log) db.close(true);
      for (const suffix of keep_log ? ["", "-wal"] : [""])
        Bun.spawnSync(["cp", `${source}${suffix}`, `${path}${suffix}`]);
      if (keep_log) db.close(true);
      await expectRefused("belongs to another program");
      expect(existsSync(`${path}-wal`)).toBe(keep_log);
    }
  });

  test("when it says that it is ours but has no record of migrations", async () => {
    await makeStore();
    tamper((db) => db.run("DROP TABLE migration"));
    await expectRefused("no record of its migrations");
  });

  test("when it does not say which store it is", async () => {
    await makeStore();
    tamper((db) => db.run("DELETE FROM store"));
    await expectRefused("which store it is");
  });
});

describe("a damaged store is refused and stays as it is", () => {
  test.each([
    ["half", 0.5],
    ["all but a page", 0.99],
    ["its first page", 4_096],
    ["less than a header", 50],
    ["one byte", 1],
  ])("when it is cut to %s", async (_name, keep) => {
    await makeStore();
    const { size } = statSync(path);
    truncateSync(path, keep < 1 ? Math.floor(size * keep) : keep);
    await expectRefused(/is damaged|is cut off after/);
  });

  test("when its first bytes are zeros", async () => {
    await makeStore();
    Bun.spawnSync(["dd", "if=/dev/zero", `of=${path}`, "bs=100", "count=1", "conv=notrunc"]);
    await expectRefused(/is damaged/);
  });

  test("when its schema is rubbish", async () => {
    await makeStore();
    Bun.spawnSync(["dd", "if=/dev/urandom", `of=${path}`, "bs=1", "count=3000", "seek=100", "conv=notrunc"]);
    await expectRefused(/is damaged/);
  });

  test("and the way out is the newest snapshot, where there is one", async () => {
    await makeStore(MIGRATIONS.slice(0, 2));
    close(await open({ migrate: true }));
    truncateSync(path, 10_000);
    const problem = await expectRefused("snapshot");
    expect(problem.message).toContain(listSnapshots(data_dir)[0]?.restore_command ?? "none");
  });
});

describe("a store of another release is refused and stays as it is", () => {
  test("when it is newer", async () => {
    const newer = new RegExp(
      `at version ${NEWER.version}, and this release knows versions up to ${MIGRATIONS.length}.* newer`,
    );
    await makeStore([...MIGRATIONS, NEWER]);
    await expectRefused(newer);
    await expectRefused(newer, { migrate: true });
  });

  test("when it is newer only in its log, which a crash left", async () => {
    await makeCrashedStore();
    await expectRefused("this release knows versions up to", { migrate: true });
    expect(statSync(`${path}-wal`).size).toBeGreaterThan(0);
  });

  test("when its log has lost its index", async () => {
    await makeCrashedStore();
    rmSync(`${path}-shm`);
    await expectRefused("this release knows versions up to");
    expect(statSync(`${path}-wal`).size).toBeGreaterThan(0);
  });

  test("when a migration was changed after its release", async () => {
    await makeStore();
    const [first, second, ...others] = MIGRATIONS;
    const changed = { ...second!, sql: `${second!.sql}\n-- one more thought` };
    await expectRefused(/Migration 2 .*another content/, {
      migrate: true,
      migrations: [first!, changed, ...others],
    });
  });

  test("when a migration is missing from its record", async () => {
    await makeStore();
    tamper((db) => db.run("DELETE FROM migration WHERE version = 3"));
    await expectRefused("Migration 3 is missing", { migrate: true });
  });

  test("when it is older and nobody asked to migrate; the words say how", async () => {
    await makeStore(MIGRATIONS.slice(0, 2));
    const problem = await expectRefused(`is at version 2, and this release needs ${MIGRATIONS.length}`);
    expect(problem.message).toContain("synthetic migrate");
    expect(problem.message).toContain("--migrate");
  });
});

describe("an older store", () => {
  const old = MIGRATIONS.slice(0, 2);
  const description = (db: Database): unknown =>
    db.query("SELECT description FROM workspace").values()[0]?.[0];

  async function makeOldStore(): Promise<string> {
    const opened = await open({ migrations: old });
    opened.writer.run("UPDATE workspace SET description = 'from before'");
    close(opened);
    return opened.generation;
  }

  test("is brought up to date when asked, with its rows and its identity, and a snapshot of before", async () => {
    const generation = await makeOldStore();
    const opened = await open({ migrate: true });
    expect([opened.created, opened.generation, description(opened.writer)]).toEqual([
      false,
      generation,
      "from before",
    ]);
    expect(opened.applied.map(({ name }) => name)).toEqual(MIGRATIONS.slice(2).map(({ name }) => name));
    expect(opened.snapshot?.path).toMatch(/snapshots\/synthetic-v2-\d{8}T\d{9}Z\.db$/);
    expect(statSync(join(data_dir, "snapshots")).mode & 0o777).toBe(0o700);
    expect(statSync(opened.snapshot!.path).mode & 0o777).toBe(0o600);
    close(opened);
    expect(readdirSync(join(data_dir, "snapshots"))).toHaveLength(1);
  });

  test("comes back by the command that the result names, as another history", async () => {
    const generation = await makeOldStore();
    const opened = await open({ migrate: true });
    const { restore_command } = opened.snapshot!;
    opened.writer.run("UPDATE workspace SET description = 'from after'");
    close(opened);
    // A log of the later store must not be taken for the snapshot's.
    const child = await startChild("serve", data_dir);
    await child.kill();
    const { success, stderr } = Bun.spawnSync(["/bin/sh", "-c", restore_command]);
    expect([success, stderr.toString()]).toEqual([true, ""]);
    expect(inspectStore(data_dir)).toMatchObject({ version: 2, fault: null });
    const back = await open({ migrations: old });
    expect(description(back.writer)).toBe("from before");
    expect([isId(back.generation), back.generation === generation]).toEqual([true, false]);
    const kept = ["auto_vacuum", "application_id", "journal_mode"].map(
      (name) => back.writer.query(`PRAGMA ${name}`).values()[0]?.[0],
    );
    expect(kept).toEqual([2, APPLICATION_ID, "wal"]);
    close(back);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test("comes back also from a directory with a quote and a space in its name", async () => {
    data_dir = join(folder, "it's a 'data' dir");
    path = join(data_dir, "synthetic.db");
    await makeOldStore();
    const opened = await open({ migrate: true });
    close(opened);
    expect(Bun.spawnSync(["/bin/sh", "-c", opened.snapshot!.restore_command]).success).toBe(true);
    expect(inspectStore(data_dir).version).toBe(2);
  });
});

describe("a store that a crash left", () => {
  test("is opened with what was only in its log", async () => {
    await makeCrashedStore();
    const opened = await open({ migrations: longMigrations(10) });
    expect(opened.writer.query("SELECT description FROM workspace").values()).toEqual([["in the log"]]);
    close(opened);
  });

  test.each([0, 32])(
    "is opened when the log ends after %p bytes, before its first commit",
    async (log_bytes) => {
      await makeStore();
      const db = new Database(path, { readwrite: true });
      db.run("UPDATE workspace SET description = 'x'");
      Bun.spawnSync(["cp", `${path}-wal`, join(folder, "log")]);
      Bun.spawnSync(["cp", `${path}-shm`, join(folder, "index")]);
      db.close(true);
      Bun.spawnSync(["cp", join(folder, "log"), `${path}-wal`]);
      Bun.spawnSync(["cp", join(folder, "index"), `${path}-shm`]);
      truncateSync(`${path}-wal`, log_bytes);
      const start = performance.now();
      await makeStore();
      expect(performance.now() - start).toBeLessThan(3_000);
    },
  );
});

describe("a directory in use", () => {
  test("is refused to a second process, which changes nothing; and free when the first is killed", async () => {
    const child = await startChild("serve", data_dir);
    const problem = await problemOf(open());
    expect([problem.code, problem.extra.members?.["pid"]]).toEqual(["locked", child.pid]);
    await child.kill();
    close(await open({ migrations: longMigrations(10) }));
  });

  test("can be looked at, log and all, without a trace", async () => {
    const child = await startChild("serve", data_dir);
    const before = Bun.spawnSync(["sha256sum", path, `${path}-wal`]).stdout.toString();
    expect(inspectStore(data_dir, longMigrations(10))).toMatchObject({
      version: MIGRATIONS.length + 2,
      fault: null,
      pending: [],
    });
    expect(Bun.spawnSync(["sha256sum", path, `${path}-wal`]).stdout.toString()).toBe(before);
    await child.kill();
  });
});

describe("looking at a store", () => {
  test("changes nothing and makes no file", async () => {
    await makeStore();
    const before = readdirSync(data_dir);
    const bytes = contents();
    expect(inspectStore(data_dir)).toMatchObject({
      version: MIGRATIONS.length,
      latest_version: MIGRATIONS.length,
      pending: [],
    });
    expect([readdirSync(data_dir), contents()]).toEqual([before, bytes]);
  });

  test("is refused where there is none", () => {
    expect(() => inspectStore(data_dir)).toThrow("There is no store");
  });
});

describe("the operator is warned", () => {
  test("of a directory and a database that others can read", async () => {
    await makeStore();
    chmodSync(data_dir, 0o755);
    chmodSync(path, 0o644);
    const opened = await open();
    expect(opened.warnings).toHaveLength(2);
    expect(opened.warnings.join("\n")).toContain(`chmod 600 ${path}`);
    close(opened);
  });
});

describe("a filesystem", () => {
  test("is a network by its number, also when it comes signed", () => {
    expect(judgeFilesystem(0x6969)).toEqual({ network: "NFS", doubtful: false });
    expect(judgeFilesystem(0xff534d42 | 0)).toEqual({ network: "CIFS", doubtful: false });
    expect(judgeFilesystem(0x01021997).network).toBe("9p");
    expect(judgeFilesystem(0x00c36400).network).toBe("Ceph");
  });

  test("is local, or may be a network and does not say so", () => {
    for (const magic of [0xef53, 0x58465342, 0x9123683e, 0x01021994, 0x794c7630]) {
      expect(judgeFilesystem(magic)).toEqual({ network: null, doubtful: false });
    }
    expect(judgeFilesystem(0x65735546)).toEqual({ network: null, doubtful: true });
  });

  const tracing = skipWithout(["strace"], "a network filesystem");
  /** The kernel's answer to statfs for the folder is given another type. */
  const pretend = (magic: string): string[] => {
    const inject = `inject=statfs:poke_exit=@arg2=${magic}`;
    return [
      tool("strace") ?? "",
      "-f",
      "-qq",
      "-o",
      "/dev/null",
      "-P",
      folder,
      "-e",
      "trace=statfs",
      "-e",
      inject,
    ];
  };

  tracing.test("of the network is refused before anything is made, with the way out", () => {
    const answer = runChild("open", data_dir, { wrapper: pretend("6969000000000000") });
    expect(answer["code"]).toBe("refused_store");
    expect(answer["detail"]).toMatch(/network filesystem \(NFS\).*--data/);
    expect(existsSync(data_dir)).toBe(false);
  });

  tracing.test("that is not of the network is not refused by the same trick", () => {
    expect(runChild("open", data_dir, { wrapper: pretend("53ef000000000000") })["done"]).toBe(true);
  });
});

const mounting = skipWithout(["root", "mount"], "a disk that is full or read-only");
mounting.describe("a disk", () => {
  beforeEach(() => {
    mkdirSync(data_dir);
    expect(Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", data_dir]).success).toBe(true);
  });
  afterEach(() => {
    Bun.spawnSync(["umount", data_dir]);
  });
  const fillUp = (): void =>
    void Bun.spawnSync(["dd", "if=/dev/zero", `of=${join(data_dir, "filler")}`, "bs=4k"]);

  test("that is full has no room for a new store, leaves none, and has one once there is room", async () => {
    fillUp();
    const { size } = statSync(join(data_dir, "filler"));
    for (const room of [0, 64, 200]) {
      truncateSync(join(data_dir, "filler"), size - room * 1024);
      expect((await problemOf(open())).code).toBe("storage_full");
      expect([existsSync(path), readdirSync(join(data_dir, "tmp"))]).toEqual([false, []]);
    }
    rmSync(join(data_dir, "filler"));
    await makeStore();
  });

  test("that is full has no room for a snapshot: nothing is migrated, and no half of one stays", async () => {
    await makeStore(MIGRATIONS.slice(0, 2));
    fillUp();
    // Room for the index of the log, and no more.
    truncateSync(join(data_dir, "filler"), statSync(join(data_dir, "filler")).size - 40 * 1024);
    const problem = await problemOf(open({ migrate: true }));
    expect([problem.code, problem.message]).toEqual([
      "storage_full",
      expect.stringContaining("Nothing was changed"),
    ]);
    expect(inspectStore(data_dir).version).toBe(2);
    expect(listSnapshots(data_dir)).toEqual([]);
    rmSync(join(data_dir, "filler"));
    const opened = await open({ migrate: true });
    expect(readdirSync(join(data_dir, "snapshots"))).toHaveLength(1);
    close(opened);
  });

  test("that is full does not keep a store from being looked at, or its directory from being locked", async () => {
    await makeStore();
    fillUp();
    expect(inspectStore(data_dir).fault).toBeNull();
    expect((await problemOf(open())).code).toBe("storage_full");
    acquireDirectoryLock(data_dir).release();
  });

  test("that is read-only is refused with the reason", async () => {
    await makeStore();
    Bun.spawnSync(["mount", "-o", "remount,ro", data_dir]);
    const problem = await problemOf(open());
    expect([problem.code, problem.message]).toEqual(["refused_store", expect.stringContaining("writ")]);
  });
});
