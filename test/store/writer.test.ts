/** The one writer: what shares a transaction, what fails alone, what fails together, and what is final. */
import { Database } from "bun:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Problem } from "../../src/errors.ts";
import { nextTurn } from "../../src/lib/turn.ts";
import { limit } from "../../src/limits.ts";
import { createWriter } from "../../src/store/sqlite/writer.ts";

let folder: string;
let db: Database;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "synthetic-writer-"));
  db = new Database(join(folder, "x.db"), { strict: true });
  db.run("PRAGMA journal_mode = WAL");
  db.run("CREATE TABLE thing (id INTEGER PRIMARY KEY, text TEXT NOT NULL)");
});
afterEach(() => {
  db.close();
  rmSync(folder, { recursive: true });
});

const insert = (text: string) => (open: Database) =>
  open.run("INSERT INTO thing (text) VALUES (?)", [text]).changes;
const stored = (): string[] =>
  db
    .query<{ text: string }, []>("SELECT text FROM thing ORDER BY id")
    .all()
    .map(({ text }) => text);
const code = (reason: unknown): string => (reason instanceof Problem ? reason.code : String(reason));

describe("the writer", () => {
  test("commits what arrives together in one transaction", async () => {
    const writer = createWriter(db);
    await Promise.all(Array.from({ length: 20 }, (_, index) => writer.run(insert(`t${index}`))));
    expect(writer.stats).toMatchObject({ commit_count: 1, member_count: 20 });
    expect(stored()).toEqual(Array.from({ length: 20 }, (_, index) => `t${index}`));
  });

  test("waits while each turn brings more, so that all of it shares one transaction", async () => {
    const writer = createWriter(db);
    const writing: Promise<number>[] = [];
    for (let turn = 0; turn < limit("writer_turns_count"); turn += 1) {
      writing.push(writer.run(insert(`t${turn}`)));
      await nextTurn();
    }
    await Promise.all(writing);
    expect(writer.stats).toMatchObject({ commit_count: 1, member_count: limit("writer_turns_count") });
  });

  test("waits writer_turns_count turns and no longer", async () => {
    const writer = createWriter(db);
    const writing: Promise<number>[] = [];
    for (let turn = 0; turn < limit("writer_turns_count") + 5; turn += 1) {
      writing.push(writer.run(insert(`t${turn}`)));
      await nextTurn();
    }
    expect(writer.stats.commit_count).toBe(1);
    await Promise.all(writing);
    expect(writer.stats.commit_count).toBe(2);
  });

  test("undoes a refused member alone", async () => {
    const writer = createWriter(db);
    const refusal = (open: Database): number => {
      insert("half")(open);
      throw new Problem("conflict", "no");
    };
    const results = await Promise.allSettled([
      writer.run(insert("a")),
      writer.run(refusal),
      writer.run(insert("b")),
    ]);
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect(stored()).toEqual(["a", "b"]);
  });

  test("refuses work that returns a promise, and undoes it", async () => {
    const writer = createWriter(db);
    const asynchronous = async (open: Database): Promise<number> => insert("x")(open);
    expect(await writer.run(asynchronous).catch(String)).toContain("synchronous");
    expect(stored()).toEqual([]);
  });

  test("answers storage_full to every member of a group that fills the database, and goes on afterwards", async () => {
    const writer = createWriter(db);
    await writer.run(insert("before"));
    const { page_count } = db.query<{ page_count: number }, []>("PRAGMA page_count").get()!;
    db.run(`PRAGMA max_page_count = ${page_count + 2}`);
    const results = await Promise.allSettled([
      writer.run(insert("small")),
      writer.run(insert("x".repeat(100_000))),
      writer.run(insert("later")),
    ]);
    expect(results.map((result) => (result.status === "rejected" ? code(result.reason) : "stored"))).toEqual([
      "storage_full",
      "storage_full",
      "storage_full",
    ]);
    expect(stored()).toEqual(["before"]);
    db.run("PRAGMA max_page_count = 1000000");
    await writer.run(insert("after"));
    expect(stored()).toEqual(["before", "after"]);
  });

  test("stops acknowledging after a commit that failed for good, and says why", async () => {
    let broken = false;
    const writer = createWriter(db, (open) => {
      if (broken)
        throw Object.assign(new Error("disk I/O error"), {
          name: "SQLiteError",
          code: "SQLITE_IOERR_FSYNC",
          errno: 1034,
        });
      open.run("COMMIT");
    });
    await writer.run(insert("kept"));
    broken = true;
    const results = await Promise.allSettled([writer.run(insert("a")), writer.run(insert("b"))]);
    expect(results.map((result) => (result.status === "rejected" ? code(result.reason) : "stored"))).toEqual([
      "unavailable",
      "unavailable",
    ]);
    expect(await writer.failed).toContain("disk I/O error");
    expect(() => writer.run(insert("c"))).toThrow(Problem);
  });

  test("lets lazy work ride with the next group, or go alone after a moment", async () => {
    const writer = createWriter(db);
    const lazy = writer.run(insert("lazy"), { lazy: true });
    await Promise.all([writer.run(insert("eager")), lazy]);
    expect(writer.stats.commit_count).toBe(1);
    await writer.run(insert("alone"), { lazy: true });
    expect(stored()).toEqual(["eager", "lazy", "alone"]);
  });

  test("refuses what exceeds its queue, and writes what it took when it closes", async () => {
    const writer = createWriter(db);
    const taken = Array.from({ length: 4_096 }, (_, index) => writer.run(insert(`t${index}`)));
    expect(() => writer.run(insert("one too many"))).toThrow("Too many writes");
    await writer.close();
    await Promise.all(taken);
    expect(stored().length).toBe(4_096);
    expect(() => writer.run(insert("late"))).toThrow("stopping");
  });
});
