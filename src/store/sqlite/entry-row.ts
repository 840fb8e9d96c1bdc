/** Entries as rows: what was appended lately. A row whose seq is sealed is dead; whoever reads looks at frames first. */
import type { Database } from "bun:sqlite";
import { Problem } from "../../errors.ts";
import { lineStarts } from "../../lib/wire-line.ts";
import type { NewEntry } from "../contract.ts";
import { all, first, run } from "./statement.ts";

/**
 * A row as its wire line without the last brace, the same text as lib/wire-line.ts makes (a key has no control
 * characters). The end of each line is the separator of group_concat, so that a body is copied once and not thrice.
 */
const LINE = `'{"received_at_ms":' || received_at_ms || ',"seq":' || seq || ',"kind":"' || kind || '","actor":"' || actor || '","at_ms":' || at_ms
  || CASE WHEN key IS NULL THEN '' ELSE ',"key":"' || replace(replace(key, '\\', '\\\\'), '"', '\\"') || '"' END || ',"body":' || body`;
const END = "'}\n'";
const JOINED = `CAST(group_concat(line, ${END}) || ${END} AS BLOB) AS bytes`;

/** What a row costs beside its body, for the bound on hot rows. */
export const ROW_OVERHEAD_BYTES = 96;

export const ENTRY_SQL = {
  insert: `INSERT INTO entry (session, seq, kind, actor, at_ms, received_at_ms, key, body)
           VALUES ($session, $seq, $kind, $actor, $at_ms, $received_at_ms, $key, $body)`,
  /** The lines of a stretch of rows as one blob; UNIQUE (session, seq); one row. */
  lines: `SELECT count(*) AS count, min(seq) AS first_seq, max(seq) AS last_seq, ${JOINED} FROM (
            SELECT seq, ${LINE} AS line FROM entry WHERE session = $session AND seq >= $from AND seq <= $through ORDER BY seq LIMIT $limit)`,
  /** The same from the end backwards; UNIQUE (session, seq); one row. */
  linesBackward: `SELECT count(*) AS count, min(seq) AS first_seq, max(seq) AS last_seq, ${JOINED} FROM (
                    SELECT seq, line FROM (SELECT seq, ${LINE} AS line FROM entry
                      WHERE session = $session AND seq >= $from AND seq <= $through ORDER BY seq DESC LIMIT $limit) ORDER BY seq)`,
  /** Unsealed bytes by session, after a start; a scan of the hot rows, without their overflow pages. */
  tails: `SELECT e.session, sum(octet_length(e.body) + ${ROW_OVERHEAD_BYTES}) AS bytes FROM entry e JOIN session_head h ON h.session = e.session
          WHERE e.seq > h.sealed_through_seq GROUP BY e.session`,
  /** Bytes of all rows, sealed ones too; a scan of the hot rows. */
  total: `SELECT coalesce(sum(octet_length(body) + ${ROW_OVERHEAD_BYTES}), 0) AS bytes, count(*) AS count FROM entry`,
  /** The oldest rows and whether each is sealed; primary key; at most $limit rows. */
  oldest: `SELECT e.id, e.session, octet_length(e.body) + ${ROW_OVERHEAD_BYTES} AS bytes, e.seq <= h.sealed_through_seq AS dead
           FROM entry e JOIN session_head h ON h.session = e.session WHERE e.id > $floor ORDER BY e.id LIMIT $limit`,
  /** Deletes the oldest range, and of it only what is sealed: the guard of transcripts.md rule 2. */
  trim: `DELETE FROM entry WHERE id <= $bound
         AND seq <= (SELECT h.sealed_through_seq FROM session_head h WHERE h.session = entry.session)`,
};

export function insertEntry(
  db: Database,
  session: number,
  seq: number,
  received_at_ms: number,
  entry: NewEntry,
): void {
  run(db, ENTRY_SQL.insert, {
    session,
    seq,
    kind: entry.kind,
    actor: entry.actor,
    at_ms: entry.at_ms,
    received_at_ms,
    key: entry.key ?? null,
    body: entry.body,
  });
}

/** Wire lines with their newlines, and where each starts (see `lineStarts`). */
export interface LineBlock {
  first_seq: number;
  bytes: Uint8Array;
  starts: Uint32Array;
}

/**
 * At most `limit` lines of rows in a range, from its beginning or from its end; null when there are none. Errors:
 * `integrity_failed` when one between them is missing.
 */
export function rowLines(
  db: Database,
  session: number,
  from: number,
  through: number,
  limit: number,
  direction: "forward" | "backward" = "forward",
): LineBlock | null {
  const sql = direction === "forward" ? ENTRY_SQL.lines : ENTRY_SQL.linesBackward;
  const found = first<{ count: number; first_seq: number; last_seq: number; bytes: Uint8Array | null }>(
    db,
    sql,
    { session, from, through, limit },
  );
  if (found === null || found.count === 0 || found.bytes === null) return null;
  if (found.last_seq - found.first_seq + 1 !== found.count)
    throw new Problem(
      "integrity_failed",
      `An entry between ${found.first_seq} and ${found.last_seq} of a session is missing.`,
    );
  return { first_seq: found.first_seq, bytes: found.bytes, starts: lineStarts(found.bytes) };
}

export interface OldRow {
  id: number;
  session: number;
  bytes: number;
  dead: number;
}

/** The oldest rows above an id. */
export function oldestRows(db: Database, floor: number, limit: number): OldRow[] {
  return all<OldRow>(db, ENTRY_SQL.oldest, { floor, limit });
}

export function trimRows(db: Database, bound: number): number {
  return run(db, ENTRY_SQL.trim, { bound });
}

export function rowTails(db: Database): Map<number, number> {
  return new Map(
    all<{ session: number; bytes: number }>(db, ENTRY_SQL.tails).map(({ session, bytes }) => [
      session,
      bytes,
    ]),
  );
}

export function rowTotal(db: Database): { bytes: number; count: number } {
  return first<{ bytes: number; count: number }>(db, ENTRY_SQL.total) ?? { bytes: 0, count: 0 };
}
