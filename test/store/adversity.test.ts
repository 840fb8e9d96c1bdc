/** What an adversary found: damage that must not be certified, loops that must end, and retries that must not conflict. */
import { Database } from "bun:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { appendEntries } from "../../src/core/append.ts";
import { pageEntries } from "../../src/core/entry.ts";
import { Problem } from "../../src/errors.ts";
import { encodeCursor } from "../../src/lib/cursor.ts";
import { limit } from "../../src/limits.ts";
import type { SentEntry } from "../../src/schema/entry.ts";
import { newSession, openTestStore, type TestStore } from "../support/store.ts";

let store: TestStore;
beforeEach(async () => {
  store = await openTestStore();
});
afterEach(() => store.remove());

const note = (body: string, key?: string): SentEntry => ({
  kind: "note",
  body,
  ...(key !== undefined && { key }),
});
const large = (bytes: number): SentEntry => note(JSON.stringify("x".repeat(bytes)));

async function refusal(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "accepted";
  } catch (error) {
    return error instanceof Problem ? error.code : String(error);
  }
}

/** Changes the stored file behind the program's back. */
function tamper(sql: string): void {
  const db = new Database(store.path);
  db.run(sql);
  db.close();
}

describe("a damaged session", () => {
  test("is not certified by a bulk append", async () => {
    const { context } = store;
    const session = await newSession(context);
    for (let index = 0; index < 5; index += 1)
      await appendEntries(context, session.id, [note(`"entry ${index}"`)]);
    tamper("UPDATE entry SET body = '\"changed\"' WHERE seq = 3");
    expect(await refusal(appendEntries(context, session.id, [large(300_000)]))).toBe("integrity_failed");
  });

  for (const [name, seq] of [
    ["the newest", 5],
    ["one in the middle", 3],
  ] as const) {
    test(`that lacks ${name} row is refused and not read past`, async () => {
      const { context } = store;
      const session = await newSession(context);
      for (let index = 0; index < 5; index += 1) await appendEntries(context, session.id, [note(`${index}`)]);
      tamper(`DELETE FROM entry WHERE seq = ${seq}`);
      const page = (query: object) =>
        refusal(pageEntries(context, session.id, { limit: 10, max_bytes: 1 << 20, ...query }));
      expect(await page({ after: seq - 1 })).toBe("integrity_failed");
      expect(await page({ before: seq + 1 })).toBe("integrity_failed");
    });
  }

  test("does not keep others from being sealed and trimmed", async () => {
    const { context } = store;
    const damaged = await newSession(context);
    for (let index = 0; index < 3; index += 1) await appendEntries(context, damaged.id, [note(`${index}`)]);
    tamper("UPDATE entry SET body = '9' WHERE seq = 2");
    const other = await newSession(context);
    for (let index = 0; index < 50; index += 1) await appendEntries(context, other.id, [large(5_000)]);
    await context.store.entries.sealAll();
    expect(context.store.stats().hot_rows_bytes).toBeLessThan(1_000);
    expect((await pageEntries(context, other.id, { limit: 50, max_bytes: 1 << 20 })).last_seq).toBe(50);
  });
});

describe("the bound on hot rows", () => {
  test("does not drift with entries that were there already", async () => {
    const { context } = store;
    const session = await newSession(context);
    const known = Array.from({ length: 20 }, (_, index) => ({ ...large(10_000), key: `k${index}` }));
    await appendEntries(context, session.id, known);
    await context.store.entries.sealAll();
    for (let round = 0; round < 20; round += 1)
      await appendEntries(context, session.id, [...known, note("1", `new ${round}`)]);
    expect(context.store.stats().hot_rows_bytes).toBeLessThan(20 * 200);
  });

  test("holds under writers of many sessions, and nobody hangs", async () => {
    const { context } = store;
    const quiet = await newSession(context);
    await appendEntries(context, quiet.id, [note("1")]);
    const mixed = await newSession(context);
    await appendEntries(context, mixed.id, [note("1")]);
    await appendEntries(context, mixed.id, [large(200_000)]);
    const sessions = await Promise.all(Array.from({ length: 30 }, () => newSession(context)));
    const count = Math.ceil((limit("hot_rows_bytes") * 1.2) / 60_000);
    for (let from = 0; from < count; from += 60) {
      await Promise.all(
        Array.from({ length: 60 }, (_, index) =>
          appendEntries(context, sessions[(from + index) % 30]!.id, [large(60_000)]),
        ),
      );
    }
    await context.store.entries.sealAll();
    expect(context.store.stats().hot_rows_bytes).toBe(0);
  }, 30_000);
});

describe("a retry", () => {
  test("with the same `after` is a replay also when some keys were there before", async () => {
    const { context } = store;
    const session = await newSession(context);
    await appendEntries(context, session.id, [note("1", "a"), note("2"), note("3")]);
    const request = [note("1", "a"), note("4")];
    const first = await appendEntries(context, session.id, request, { seq: 3 });
    expect(first).toMatchObject({ first_seq: 4, last_seq: 4, replayed: false });
    const again = await appendEntries(context, session.id, request, { seq: 3 });
    expect(again).toMatchObject({ last_seq: 4, head: first.head, replayed: true });
    expect(again.items?.map(({ seq }) => seq)).toEqual([1, 4]);
  });

  test("of a key is found behind another entry with the same hash", async () => {
    const { context } = store;
    const session = await newSession(context);
    await appendEntries(context, session.id, [note("1", "a"), note("2", "b"), note("3")]);
    tamper("INSERT INTO entry_key (session, hash, seq) SELECT session, hash, 3 FROM entry_key WHERE seq = 1");
    expect(await appendEntries(context, session.id, [note("1", "a")])).toMatchObject({
      first_seq: 1,
      replayed: true,
    });
  });
});

describe("others", () => {
  test("small appends take their turn between bulk appends of the same session", async () => {
    const { context } = store;
    const session = await newSession(context);
    let bulks = 0;
    let running = true;
    const bulk = async (): Promise<void> => {
      while (running) {
        await appendEntries(context, session.id, [large(300_000)]);
        bulks += 1;
      }
    };
    const writers = [bulk(), bulk(), bulk()];
    let smalls = 0;
    for (; smalls < 10; smalls += 1) await appendEntries(context, session.id, [note(`${smalls}`)]);
    running = false;
    await Promise.all(writers);
    expect(bulks).toBeLessThan(smalls * 10);
  });

  test("a cursor with anything else in it is refused", async () => {
    const { context } = store;
    const session = await newSession(context);
    for (const position of [
      5,
      null,
      {},
      { after: "zz" },
      { after: -1 },
      { after: 1, before: 2 },
      { seq: 1 },
    ]) {
      const cursor = encodeCursor({ entries: session.id, kinds: undefined }, position);
      expect(await refusal(pageEntries(context, session.id, { limit: 1, max_bytes: 1, cursor }))).toBe(
        "invalid_request",
      );
    }
  });
});
