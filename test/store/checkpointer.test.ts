/** Checkpoints by a thread: the log stays bounded under load, nothing is lost, and what failed is told. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { appendEntries } from "../../src/core/append.ts";
import { getSession } from "../../src/core/session.ts";
import { limit } from "../../src/limits.ts";
import { createCheckpointer } from "../../src/store/sqlite/checkpointer.ts";
import { createWriter } from "../../src/store/sqlite/writer.ts";
import { mountSmallDisk } from "../support/small-disk.ts";
import { newSession, openTestStore } from "../support/store.ts";
import { skipWithout } from "../support/tools.ts";

const PAGE_BYTES = 4_096;

function withDatabase<T>(work: (db: Database, path: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "synthetic-checkpoint-"));
  const path = join(folder, "x.db");
  const db = new Database(path, { strict: true });
  db.run("PRAGMA journal_mode = WAL");
  db.run("CREATE TABLE thing (data BLOB NOT NULL)");
  return work(db, path).finally(() => {
    db.close(true);
    rmSync(folder, { recursive: true });
  });
}

const insertPages = (pages: number) => (db: Database) =>
  db.run(`INSERT INTO thing VALUES (zeroblob(${pages * PAGE_BYTES}))`).changes;

async function checkpointed(db: Database): Promise<number> {
  for (let wait = 0; wait < 200; wait += 1) {
    const [row] = db.query("PRAGMA wal_checkpoint(NOOP)").values();
    if (Number(row?.[1]) === Number(row?.[2])) break;
    await Bun.sleep(10);
  }
  const [row] = db.query("PRAGMA wal_checkpoint(NOOP)").values();
  return Number(row?.[2]);
}

test("under steady appends the log stays near checkpoint_pages_count, and every entry is there", async () => {
  const store = await openTestStore();
  try {
    const { id } = await newSession(store.context);
    const body = JSON.stringify("x".repeat(3_000));
    let largest = 0;
    for (let group = 0; group < 250; group += 1) {
      await Promise.all(
        Array.from({ length: 20 }, () => appendEntries(store.context, id, [{ kind: "message", body }])),
      );
      largest = Math.max(largest, statSync(`${store.path}-wal`).size);
    }
    // Twenty-five thousand pages were written; without a checkpoint all of them would be in the log.
    expect(largest).toBeGreaterThan(limit("checkpoint_pages_count") * PAGE_BYTES);
    expect(largest).toBeLessThan(3 * limit("checkpoint_pages_count") * PAGE_BYTES);
    expect((await getSession(store.context, id)).last_seq).toBe(5_000);
  } finally {
    await store.remove();
  }
}, 60_000);

test("below checkpoint_pages_count nothing is moved, and at it everything is", async () => {
  await withDatabase(async (db, path) => {
    const writer = createWriter(db, undefined, () => checkpointer.noteCommit());
    const checkpointer = createCheckpointer(db, path, writer);
    await writer.run(insertPages(limit("checkpoint_pages_count") - 50));
    await Bun.sleep(100);
    expect(Number(db.query("PRAGMA wal_checkpoint(NOOP)").values()[0]?.[2])).toBe(0);
    await writer.run(insertPages(100));
    expect(await checkpointed(db)).toBeGreaterThan(limit("checkpoint_pages_count"));
    await writer.run(insertPages(1));
    expect(Number(db.query("PRAGMA wal_checkpoint(NOOP)").values()[0]?.[1])).toBeLessThan(10);
    await writer.close();
    await checkpointer.close();
  });
});

skipWithout(["root"], "a short log where room is low").test(
  "with less than low_room_bytes free, low_room_checkpoint_pages_count are moved, and one less is not",
  async () => {
    const disk = mountSmallDisk(limit("low_room_bytes") - PAGE_BYTES);
    if (typeof disk === "string") throw new Error(disk);
    const path = join(disk.path, "x.db");
    const db = new Database(path, { strict: true });
    db.run("PRAGMA journal_mode = WAL");
    db.run("CREATE TABLE thing (data BLOB NOT NULL)");
    db.run("PRAGMA wal_checkpoint(TRUNCATE)");
    const writer = createWriter(db, undefined, () => checkpointer.noteCommit());
    const checkpointer = createCheckpointer(db, path, writer);
    const pending = (): number => Number(db.query("PRAGMA wal_checkpoint(NOOP)").values()[0]?.[1]);
    while (pending() < limit("low_room_checkpoint_pages_count") - 1)
      await writer.run((open) => open.run("INSERT INTO thing VALUES (1)").changes);
    await Bun.sleep(100);
    expect(Number(db.query("PRAGMA wal_checkpoint(NOOP)").values()[0]?.[2])).toBe(0);
    await writer.run(insertPages(1));
    expect(await checkpointed(db)).toBeGreaterThanOrEqual(limit("low_room_checkpoint_pages_count"));
    await writer.close();
    await checkpointer.close();
    db.close(true);
    disk.unmount();
  },
);

test("a writer that is held writes nothing until it is let go, also when it is closed", async () => {
  await withDatabase(async (db) => {
    const writer = createWriter(db);
    const release = writer.hold();
    let written = false;
    const writing = writer.run(insertPages(1)).then(() => {
      written = true;
    });
    const closing = writer.close();
    await Bun.sleep(20);
    expect(written).toBe(false);
    release();
    await writing;
    await closing;
    expect(written).toBe(true);
  });
});

test("a checkpoint that fails for good ends the writer, and does not hold it", async () => {
  await withDatabase(async (db, path) => {
    const writer = createWriter(db, undefined, () => checkpointer.noteCommit());
    const foreign = `${path}.foreign`;
    writeFileSync(foreign, "not a database ".repeat(1_000));
    const checkpointer = createCheckpointer(db, foreign, writer);
    await writer.run(insertPages(limit("checkpoint_pages_count") + 10));
    expect(await writer.failed).toContain("not a database");
    expect(() => writer.requireReady()).toThrow("failed");
    await writer.close();
    await checkpointer.close();
  });
});

test("with a reader that still needs the log it is tried again after a rest, not with every commit", async () => {
  await withDatabase(async (db, path) => {
    const writer = createWriter(db, undefined, () => checkpointer.noteCommit());
    let holds = 0;
    const hold = (): (() => void) => {
      holds += 1;
      return writer.hold();
    };
    const checkpointer = createCheckpointer(db, path, { hold, fail: writer.fail });
    await writer.run(insertPages(1));
    const reader = new Database(path, { readonly: true });
    reader.run("BEGIN");
    reader.query("SELECT count(*) FROM thing").get();
    for (let commit = 0; commit < 50; commit += 1)
      await writer.run(insertPages(commit === 0 ? limit("checkpoint_pages_count") : 1));
    expect(holds).toBe(1);
    reader.close();
    await Bun.sleep(limit("checkpoint_retry_ms") + 50);
    await writer.run(insertPages(1));
    expect(await checkpointed(db)).toBeGreaterThan(limit("checkpoint_pages_count"));
    expect(holds).toBe(2);
    await writer.close();
    await checkpointer.close();
  });
});
