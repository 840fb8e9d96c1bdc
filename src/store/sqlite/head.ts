/** Where transcripts stand: the row that every append changes. */
import type { Database } from "bun:sqlite";
import { Problem } from "../../errors.ts";
import { headHex, ZERO_HEAD } from "../../lib/head.ts";
import type { SessionHead } from "../contract.ts";
import { first, run } from "./statement.ts";

/** Scalar subqueries and a second statement, because a join of two tables costs 8 us here and each of these 1 us. */
export const HEAD_SQL = {
  /** A session's key, and whether it or its construct is deleted; unique index and primary key; at most one row. */
  session: `SELECT s.pk, s.deleted_at_ms IS NOT NULL AS deleted,
              (SELECT c.deleted_at_ms IS NOT NULL FROM construct c WHERE c.pk = s.construct) AS construct_deleted FROM session s WHERE s.id = $id`,
  /** Where a session stands; primary key; at most one row. */
  find: "SELECT last_seq, head, sealed_through_seq, dropped_through_seq, dropped_head FROM session_head WHERE session = $pk",
  advance: "UPDATE session_head SET last_seq = $last_seq, head = $head WHERE session = $pk",
  /** Only when nobody sealed meanwhile: the number of changed rows says so. */
  seal: "UPDATE session_head SET sealed_through_seq = $sealed WHERE session = $pk AND sealed_through_seq = $expected",
  advanceSealed:
    "UPDATE session_head SET last_seq = $last_seq, head = $head, sealed_through_seq = $last_seq WHERE session = $pk",
};

/** Where a transcript stands. */
export interface HeadRow {
  /** Of the session. */
  pk: number;
  last_seq: number;
  head: Uint8Array;
  sealed_through_seq: number;
  dropped_through_seq: number;
  dropped_head: Uint8Array | null;
}

/** The same, with what decides whether it may be appended to. */
export interface SessionHeadRow extends HeadRow {
  deleted: number;
  construct_deleted: number;
}

export function findHead(db: Database, session_id: string): SessionHeadRow | null {
  const session = first<Pick<SessionHeadRow, "pk" | "deleted" | "construct_deleted">>(db, HEAD_SQL.session, {
    id: session_id,
  });
  const head = session === null ? null : findHeadByPk(db, session.pk);
  return session === null || head === null ? null : { ...session, ...head };
}

export function findHeadByPk(db: Database, pk: number): HeadRow | null {
  const head = first<Omit<HeadRow, "pk">>(db, HEAD_SQL.find, { pk });
  return head === null ? null : { pk, ...head };
}

/** Errors: `not_found`, `gone`. */
export function requireWritable(row: SessionHeadRow | null): HeadRow {
  if (row === null) throw new Problem("not_found", "There is no such session.");
  if (row.deleted === 1) throw new Problem("gone", "This session was deleted.");
  if (row.construct_deleted === 1)
    throw new Problem("gone", "The construct of this session is in the trash.");
  return row;
}

/** The running head before the first kept entry. */
export function droppedHead(row: HeadRow): Uint8Array {
  return row.dropped_head ?? ZERO_HEAD;
}

export function toSessionHead(row: HeadRow): SessionHead {
  return { last_seq: row.last_seq, head: headHex(row.head), dropped_through_seq: row.dropped_through_seq };
}

export function advanceHead(db: Database, pk: number, last_seq: number, head: Uint8Array): void {
  run(db, HEAD_SQL.advance, { pk, last_seq, head });
}
