/**
 * Appending. Small requests become rows in a group commit. Large ones, and any entry larger than a frame, go
 * straight to frames: the session is held, its tail is sealed with them, and all compression happens before the
 * transaction (transcripts.md rules 5 and "a large entry is never a row").
 */
import type { Database } from "bun:sqlite";
import { assert } from "../../errors.ts";
import type { BytesCache } from "../../lib/bytes-cache.ts";
import { headHex, nextHead } from "../../lib/head.ts";
import { nextTurn } from "../../lib/turn.ts";
import { headedText, wireLine } from "../../lib/wire-line.ts";
import { limit } from "../../limits.ts";
import type { AppendResult } from "../../schema/entry.ts";
import type { AppendOptions, AppendOutcome, NewEntry } from "../contract.ts";
import { insertKey, unknownKeys } from "./entry-key.ts";
import { insertEntry, type LineBlock, ROW_OVERHEAD_BYTES } from "./entry-row.ts";
import { cutFrames } from "./frame.ts";
import type { Gate } from "../../lib/gate.ts";
import { advanceHead, findHead, HEAD_SQL, type HeadRow, requireWritable, toSessionHead } from "./head.ts";
import type { Sealer } from "./sealer.ts";
import { run } from "./statement.ts";
import { buildFrames, replaceFrames, requireHead, unframedLines } from "./unframed.ts";
import type { Writer } from "./writer.ts";

export interface AppendParts {
  /** The writing connection, read between transactions. */
  db: Database;
  writer: Writer;
  sealer: Sealer;
  gate: Gate;
  cache: BytesCache<LineBlock>;
}

/** What a request wants to append now: its entries without those that are there already. */
interface Plan {
  head: HeadRow;
  fresh: { entry: NewEntry; index: number }[];
}

/** Whether the append can go on, decided inside a transaction or before one. */
function plan(
  db: Database,
  session_id: string,
  entries: readonly NewEntry[],
  options: AppendOptions,
): Plan | AppendOutcome {
  const head = requireWritable(findHead(db, session_id));
  const candidates = unknownKeys(db, head.pk, entries, options.known);
  if (candidates.size > 0) return { outcome: "keys", candidates, head: toSessionHead(head) };
  if (options.after !== undefined && options.after !== head.last_seq)
    return { outcome: "stale", head: toSessionHead(head) };
  const fresh = entries
    .map((entry, index) => ({ entry, index }))
    .filter(({ index }) => (options.known?.get(index)?.replay_seq ?? null) === null);
  assert(fresh.length > 0, "the caller answers a request whose entries are all known");
  return { head, fresh };
}

function isPlan(value: Plan | AppendOutcome): value is Plan {
  return !("outcome" in value);
}

function resultOf(
  { head, fresh }: Plan,
  entries: readonly NewEntry[],
  options: AppendOptions,
  new_head: Uint8Array,
): AppendResult {
  const result: AppendResult = {
    first_seq: head.last_seq + 1,
    last_seq: head.last_seq + fresh.length,
    head: headHex(new_head),
    received_at_ms: options.received_at_ms,
    replayed: false,
  };
  if (entries.some((entry) => entry.key !== undefined)) {
    const place = new Map(fresh.map(({ index }, offset) => [index, head.last_seq + 1 + offset]));
    result.items = entries.map((_, index) => {
      const seq = place.get(index);
      return seq === undefined
        ? { seq: options.known?.get(index)?.replay_seq ?? 0, replayed: true }
        : { seq, replayed: false };
    });
  }
  return result;
}

function insertKeys(db: Database, { head, fresh }: Plan): void {
  for (const [offset, { entry }] of fresh.entries()) {
    if (entry.key !== undefined) insertKey(db, head.pk, entry.key, head.last_seq + 1 + offset);
  }
}

/** The small road: rows, inside the transaction of a group. */
function appendRows(
  db: Database,
  session_id: string,
  entries: readonly NewEntry[],
  options: AppendOptions,
): { outcome: AppendOutcome; pk: number; bytes: number } {
  const planned = plan(db, session_id, entries, options);
  if (!isPlan(planned)) return { outcome: planned, pk: 0, bytes: 0 };
  const { pk } = planned.head;
  let { last_seq, head } = planned.head;
  let bytes = 0;
  for (const { entry } of planned.fresh) {
    last_seq += 1;
    head = nextHead(head, headedText({ ...entry, seq: last_seq }));
    insertEntry(db, pk, last_seq, options.received_at_ms, entry);
    bytes += Buffer.byteLength(entry.body) + ROW_OVERHEAD_BYTES;
  }
  insertKeys(db, planned);
  advanceHead(db, pk, last_seq, head);
  return { outcome: { outcome: "appended", result: resultOf(planned, entries, options, head) }, pk, bytes };
}

/** The wire lines of the fresh entries, as they will be stored. Other requests get their turn in between. */
async function freshLines({ head, fresh }: Plan, received_at_ms: number): Promise<Uint8Array[]> {
  const lines: Uint8Array[] = [];
  let bytes = 0;
  for (const { entry } of fresh) {
    const headed = headedText({ ...entry, seq: head.last_seq + 1 + lines.length });
    const line = Buffer.from(`${wireLine(received_at_ms, headed)}\n`);
    lines.push(line);
    bytes += line.byteLength;
    if (bytes < limit("hash_turn_bytes")) continue;
    bytes = 0;
    await nextTurn();
  }
  return lines;
}

/** The large road: the session is held by the caller. */
async function appendFrames(
  parts: AppendParts,
  session_id: string,
  entries: readonly NewEntry[],
  options: AppendOptions,
  bytes: number,
): Promise<AppendOutcome> {
  // Behind everything that was queued before the session was held.
  const planned = await parts.writer.run((db) => plan(db, session_id, entries, options));
  if (!isPlan(planned)) return planned;
  const { head } = planned;
  const lines = await freshLines(planned, options.received_at_ms);
  const unframed = await unframedLines(parts.db, head, parts.cache, Number.MAX_SAFE_INTEGER, lines);
  // What is stored is certified by the new head only if it gives the old one.
  requireHead(head, unframed.block, unframed.head_before, unframed.block.first_seq - 1);
  const frames = await buildFrames(unframed.block, cutFrames(unframed.block.starts), unframed.head_before);
  const last = frames.at(-1);
  assert(last !== undefined, "there are entries to append");
  const outcome = await parts.writer.run(
    (db): AppendOutcome => {
      const now = requireWritable(findHead(db, session_id));
      assert(
        now.last_seq === head.last_seq && now.sealed_through_seq === head.sealed_through_seq,
        "the session was held",
      );
      replaceFrames(db, head.pk, unframed.merged, frames);
      insertKeys(db, planned);
      run(db, HEAD_SQL.advanceSealed, { pk: head.pk, last_seq: last.last_seq, head: last.head });
      return { outcome: "appended", result: resultOf(planned, entries, options, last.head) };
    },
    { bytes },
  );
  parts.sealer.noteSealed(head.pk, unframed.row_count, frames.length);
  return outcome;
}

/** The one way in for entries. See the contract of `entries.append`. */
export async function append(
  parts: AppendParts,
  session_id: string,
  entries: readonly NewEntry[],
  options: AppendOptions,
): Promise<AppendOutcome> {
  let bytes = 0;
  let large = false;
  for (const entry of entries) {
    const body_bytes = Buffer.byteLength(entry.body);
    bytes += body_bytes + ROW_OVERHEAD_BYTES;
    large ||= body_bytes >= limit("frame_raw_bytes") - 1_024;
  }
  // Counted from here on, so that what waits for room or its turn is bounded too.
  const release = parts.writer.admit(bytes);
  try {
    const is_small = !large && bytes < limit("bulk_append_bytes");
    return await (is_small ? appendSmall : appendLarge)(parts, session_id, entries, options, bytes);
  } finally {
    release();
  }
}

async function appendSmall(
  parts: AppendParts,
  session_id: string,
  entries: readonly NewEntry[],
  options: AppendOptions,
  bytes: number,
): Promise<AppendOutcome> {
  const room = parts.sealer.room();
  if (room !== null) await room;
  const write = () => parts.writer.run((db) => appendRows(db, session_id, entries, options), { bytes });
  // A large append holds the session: this one takes its place in the line, and gives it up once it is queued.
  const leave = parts.gate.isTaken(session_id) ? await parts.gate.enter(session_id) : null;
  const writing = write();
  leave?.();
  const written = await writing;
  if (written.outcome.outcome === "appended") parts.sealer.noteAppend(written.pk, written.bytes);
  return written.outcome;
}

async function appendLarge(
  parts: AppendParts,
  session_id: string,
  entries: readonly NewEntry[],
  options: AppendOptions,
  bytes: number,
): Promise<AppendOutcome> {
  const leave = await parts.gate.enter(session_id);
  try {
    const head = requireWritable(findHead(parts.db, session_id));
    const free = await parts.sealer.hold(head.pk);
    try {
      return await appendFrames(parts, session_id, entries, options, bytes);
    } finally {
      free();
    }
  } finally {
    leave();
  }
}
