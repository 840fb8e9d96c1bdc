/** One process to a data directory, and the words about who it is. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Problem } from "../../src/errors.ts";
import {
  isThatProcess,
  readServerRecord,
  removeServerRecord,
  type ServerRecord,
  thisServer,
  writeServerRecord,
} from "../../src/lib/server-record.ts";
import { acquireDirectoryLock, isLocked } from "../../src/store/sqlite/directory-lock.ts";
import { runChild, startChild } from "../support/children.ts";

let data_dir: string;
beforeEach(() => {
  data_dir = mkdtempSync(join(tmpdir(), "synthetic-lock-"));
});
afterEach(() => rmSync(data_dir, { recursive: true, force: true }));

function problemOf(act: () => unknown): Problem {
  try {
    act();
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

/** What a process of its own finds. */
function isLockedOutside(): unknown {
  return runChild("probe-lock", data_dir)["locked"];
}

describe("the lock", () => {
  test("is refused a second time in the same process, and free after release", () => {
    const lock = acquireDirectoryLock(data_dir);
    expect(problemOf(() => acquireDirectoryLock(data_dir)).code).toBe("locked");
    lock.release();
    lock.release();
    const next = acquireDirectoryLock(data_dir);
    next.release();
    expect(isLocked(data_dir)).toBe(false);
  });

  test("is refused to a second process", () => {
    const lock = acquireDirectoryLock(data_dir);
    expect(runChild("hold", data_dir)["code"]).toBe("locked");
    lock.release();
  });

  test("is free after SIGKILL of the holder, with nothing to clean up", async () => {
    const child = await startChild("hold", data_dir);
    expect(child.answer).toEqual({ held: true });
    expect(problemOf(() => acquireDirectoryLock(data_dir)).code).toBe("locked");
    await child.kill();
    expect(isLocked(data_dir)).toBe(false);
    acquireDirectoryLock(data_dir).release();
  });

  test("is refused at once, not after the patience of a writer", () => {
    const lock = acquireDirectoryLock(data_dir);
    const start = performance.now();
    problemOf(() => acquireDirectoryLock(data_dir));
    expect(performance.now() - start).toBeLessThan(2_000);
    lock.release();
  });

  test("outlives a caller that forgets it: a collected connection would let go", async () => {
    acquireDirectoryLock(data_dir);
    for (let round = 0; round < 5; round += 1) {
      Bun.gc(true);
      await Bun.sleep(5);
    }
    expect(isLockedOutside()).toBe(true);
  });

  test("file is 0600 and empty", () => {
    const lock = acquireDirectoryLock(data_dir);
    const { mode, size } = statSync(join(data_dir, "lock.db"));
    expect([(mode & 0o777).toString(8), size]).toEqual(["600", 0]);
    lock.release();
    expect(readdirSync(data_dir)).toEqual(["lock.db"]);
  });

  test("is not taken where lock.db is something else, and the way out is named", () => {
    writeFileSync(join(data_dir, "lock.db"), "this is a note of mine, not a lock. ".repeat(300));
    const problem = problemOf(() => acquireDirectoryLock(data_dir));
    expect(problem.code).toBe("refused_store");
    expect(problem.message).toContain("delete it");
  });

  test("is refused with the reason where the directory is not there", () => {
    expect(() => acquireDirectoryLock(join(data_dir, "none"))).toThrow("ENOENT");
  });
});

describe("isLocked", () => {
  test("sees a holder in this process and in another", async () => {
    const lock = acquireDirectoryLock(data_dir);
    expect([isLocked(data_dir), isLockedOutside()]).toEqual([true, true]);
    lock.release();
    const child = await startChild("hold", data_dir);
    expect(isLocked(data_dir)).toBe(true);
    await child.kill();
  });

  test("takes nothing from the holder", () => {
    const lock = acquireDirectoryLock(data_dir);
    for (let round = 0; round < 50; round += 1) isLocked(data_dir);
    problemOf(() => acquireDirectoryLock(data_dir));
    expect(isLockedOutside()).toBe(true);
    lock.release();
  });

  test("makes nothing where there is no lock file", () => {
    expect(isLocked(data_dir)).toBe(false);
    expect(isLocked(join(data_dir, "none"))).toBe(false);
    expect(readdirSync(data_dir)).toEqual([]);
  });

  test("does not make a start fail that comes at the same instant", async () => {
    acquireDirectoryLock(data_dir).release();
    const script = `
      import { isLocked } from ${JSON.stringify(join(import.meta.dir, "../../src/store/sqlite/directory-lock.ts"))};
      process.stdout.write("go\\n");
      for (;;) isLocked(process.argv[1]);`;
    const prober = Bun.spawn([process.execPath, "-e", script, data_dir], { stdout: "pipe" });
    await prober.stdout.getReader().read();
    try {
      for (let round = 0; round < 300; round += 1) acquireDirectoryLock(data_dir).release();
    } finally {
      prober.kill("SIGKILL");
      await prober.exited;
    }
  });
});

describe("who holds it", () => {
  test("is named when it is a server that lives", async () => {
    const child = await startChild("serve", data_dir);
    const problem = problemOf(() => acquireDirectoryLock(data_dir));
    expect(problem.message).toContain(`process ${child.pid}`);
    expect(problem.message).toContain("http://127.0.0.1:1");
    expect(problem.extra.members).toEqual({ pid: child.pid, url: "http://127.0.0.1:1" });
    await child.kill();
  });

  test("is not named from the record of a process that is gone", async () => {
    const child = await startChild("serve", data_dir);
    await child.kill();
    const record = readServerRecord(data_dir);
    expect(record?.pid).toBe(child.pid);
    const holder = await startChild("hold", data_dir);
    const problem = problemOf(() => acquireDirectoryLock(data_dir));
    expect(problem.message).not.toContain(String(child.pid));
    expect(problem.message).toContain("another process");
    await holder.kill();
  });
});

describe("server.json", () => {
  const record = (change: Partial<ServerRecord> = {}): ServerRecord => ({
    ...thisServer("http://localhost:1", 5),
    ...change,
  });

  test("is read as it was written, and is 0600", () => {
    writeServerRecord(data_dir, record());
    expect(readServerRecord(data_dir)).toEqual(record());
    expect((statSync(join(data_dir, "server.json")).mode & 0o777).toString(8)).toBe("600");
    expect(readdirSync(data_dir)).toEqual(["server.json"]);
  });

  test("is written over the half of an earlier try", () => {
    writeFileSync(join(data_dir, "server.json.tmp"), '{"pid":');
    writeServerRecord(data_dir, record());
    expect(readServerRecord(data_dir)).toEqual(record());
  });

  test.each([
    "",
    "{",
    "[]",
    "null",
    '{"pid":-1}',
    '{"pid":1,"url":2,"started_at_ms":3,"process_start":4,"boot_id":null}',
  ])("that reads %p is as good as none", (text) => {
    writeFileSync(join(data_dir, "server.json"), text);
    expect(readServerRecord(data_dir)).toBeNull();
  });

  test("means this process only while number, start and boot are the same", () => {
    expect(isThatProcess(record())).toBe(true);
    expect(isThatProcess(record({ boot_id: "11111111-2222-3333-4444-555555555555" }))).toBe(false);
    expect(isThatProcess(record({ process_start: 1 }))).toBe(false);
    // Number 1 is alive everywhere and did not start when this process did.
    expect(isThatProcess(record({ pid: 1 }))).toBe(false);
    expect(isThatProcess(record({ pid: 4_194_305 }))).toBe(false);
  });

  test("is judged by the number alone where it was written without /proc", () => {
    expect(isThatProcess({ ...record(), process_start: null })).toBe(true);
  });

  test("is removed by its own process and by nobody else", () => {
    writeServerRecord(data_dir, record({ pid: 1 }));
    removeServerRecord(data_dir);
    expect(readServerRecord(data_dir)?.pid).toBe(1);
    writeServerRecord(data_dir, record());
    removeServerRecord(data_dir);
    removeServerRecord(data_dir);
    expect(readdirSync(data_dir)).toEqual([]);
  });
});

test("closing any descriptor of lock.db drops the lock: nobody but SQLite may open it (facts 1)", () => {
  const lock = acquireDirectoryLock(data_dir);
  expect(isLockedOutside()).toBe(true);
  closeSync(openSync(join(data_dir, "lock.db"), "r"));
  expect(isLockedOutside()).toBe(false);
  lock.release();
});
