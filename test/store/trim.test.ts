/** The guard of the trim: only sealed rows go, and nothing above the bound, whatever the interleaving was. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import fc from "fast-check";
import { ENTRY_SQL, trimRows } from "../../src/store/sqlite/entry-row.ts";
import { finalizeStatements } from "../../src/store/sqlite/statement.ts";

const SESSIONS = 4;

interface Case {
  /** The session of each row, in the order of ids. */
  rows: number[];
  /** How much of each session is sealed. */
  sealed: number[];
  bound: number;
}

const cases = fc.record({
  rows: fc.array(fc.integer({ min: 1, max: SESSIONS }), { maxLength: 60 }),
  sealed: fc.array(fc.integer({ min: 0, max: 20 }), { minLength: SESSIONS, maxLength: SESSIONS }),
  bound: fc.integer({ min: 0, max: 70 }),
});

/** The rows of a case in a database; gives for each id whether it may go. */
function build(db: Database, { rows, sealed, bound }: Case): Map<number, boolean> {
  db.run("DELETE FROM entry");
  db.run("DELETE FROM session_head");
  for (let session = 1; session <= SESSIONS; session += 1)
    db.run("INSERT INTO session_head VALUES (?, ?)", [session, sealed[session - 1] ?? 0]);
  const last = new Map<number, number>();
  const may_go = new Map<number, boolean>();
  for (const [index, session] of rows.entries()) {
    const seq = (last.get(session) ?? 0) + 1;
    last.set(session, seq);
    db.run("INSERT INTO entry VALUES (?, ?, ?)", [index + 1, session, seq]);
    may_go.set(index + 1, index + 1 <= bound && seq <= (sealed[session - 1] ?? 0));
  }
  return may_go;
}

function survivors(db: Database): number[] {
  return db
    .query<{ id: number }, []>("SELECT id FROM entry ORDER BY id")
    .all()
    .map(({ id }) => id);
}

function holds(trim: (db: Database, bound: number) => void): { failed: boolean } {
  const db = new Database(":memory:", { strict: true });
  db.run("CREATE TABLE session_head (session INTEGER PRIMARY KEY, sealed_through_seq INTEGER)");
  db.run("CREATE TABLE entry (id INTEGER PRIMARY KEY, session INTEGER, seq INTEGER)");
  const property = fc.property(cases, (one) => {
    const may_go = build(db, one);
    trim(db, one.bound);
    const expected = [...may_go].filter(([, goes]) => !goes).map(([id]) => id);
    return Bun.deepEquals(survivors(db), expected);
  });
  const { failed } = fc.check(property, { numRuns: 500, seed: 7 });
  finalizeStatements(db);
  db.close();
  return { failed };
}

test("the trim deletes exactly the sealed rows up to its bound", () => {
  expect(holds((db, bound) => void trimRows(db, bound)).failed).toBe(false);
});

test("a trim without its guard is seen to delete rows that are not sealed", () => {
  expect(ENTRY_SQL.trim).toContain("sealed_through_seq");
  expect(holds((db, bound) => void db.run("DELETE FROM entry WHERE id <= ?", [bound])).failed).toBe(true);
});
