/**
 * What of a transcript is not in a whole frame yet: the last frame when it is short of one, and the rows behind it.
 * Joined and cut again, so that small frames do not pile up and equal transcripts are cut equally.
 */
import type { Database } from "bun:sqlite";
import { Problem } from "../../errors.ts";
import type { BytesCache } from "../../lib/bytes-cache.ts";
import { headAfterLines } from "../../lib/head.ts";
import { lineStarts } from "../../lib/wire-line.ts";
import { limit } from "../../limits.ts";
import { type LineBlock, rowLines } from "./entry-row.ts";
import {
  buildFrame,
  frameAt,
  type FrameRow,
  frameLines,
  insertFrame,
  type NewFrame,
  removeFrame,
} from "./frame.ts";
import { droppedHead, type HeadRow } from "./head.ts";

export interface Unframed {
  /** Lines from the beginning of `merged`, or behind the sealed part. */
  block: LineBlock;
  /** The running head before the first line. */
  head_before: Uint8Array;
  /** The frame whose lines are in the block and which the new frames replace. */
  merged: FrameRow | null;
  /** How many of the lines are rows. */
  row_count: number;
}

/** At least `max_rows` rows if there are as many, rounded up to whole batches. */
function tailBlocks(db: Database, head: HeadRow, max_rows: number): LineBlock[] {
  const blocks: LineBlock[] = [];
  const through = Math.min(head.last_seq, head.sealed_through_seq + max_rows);
  for (let from = head.sealed_through_seq + 1; from <= through;) {
    const block = rowLines(db, head.pk, from, through, limit("unframed_rows_count"));
    if (block === null || block.first_seq !== from)
      throw new Problem("integrity_failed", `Entry ${from} of a session is missing.`);
    blocks.push(block);
    from += block.starts.length - 1;
  }
  return blocks;
}

/**
 * The unframed lines as `head` saw them; `more` (new wire lines) are put behind them. The rows are read at once,
 * before the first wait, so that they belong to `head`.
 */
export async function unframedLines(
  db: Database,
  head: HeadRow,
  cache: BytesCache<LineBlock>,
  max_rows: number,
  more: readonly Uint8Array[] = [],
): Promise<Unframed> {
  const blocks = tailBlocks(db, head, max_rows);
  const row_count = blocks.reduce((sum, block) => sum + block.starts.length - 1, 0);
  const last =
    head.sealed_through_seq > head.dropped_through_seq ? frameAt(db, head.pk, head.sealed_through_seq) : null;
  const short = last !== null && last.raw_bytes < limit("frame_raw_bytes") ? last : null;
  const head_before_short =
    short === null ? null : (frameAt(db, head.pk, short.first_seq - 1)?.head ?? droppedHead(head));
  const merged_lines = short === null ? null : await frameLines(db, head.pk, short, cache);
  const merged = merged_lines === null ? null : short;
  const parts = [
    ...(merged_lines === null ? [] : [merged_lines.bytes]),
    ...blocks.map((block) => block.bytes),
    ...more,
  ];
  const bytes = parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
  return {
    block: { first_seq: merged?.first_seq ?? head.sealed_through_seq + 1, bytes, starts: lineStarts(bytes) },
    head_before: (merged === null ? last?.head : head_before_short) ?? droppedHead(head),
    merged,
    row_count,
  };
}

/** The lines behind a seq, whose head is given, lead to the head that the store holds. Errors: `integrity_failed`. */
export function requireHead(head: HeadRow, block: LineBlock, known: Uint8Array, known_seq: number): void {
  const [from, to] = [known_seq + 1 - block.first_seq, head.last_seq + 1 - block.first_seq];
  if (!Buffer.from(headAfterLines(known, block.bytes, block.starts, from, to)).equals(head.head))
    throw new Problem("integrity_failed", "The entries of a session do not give its head.");
}

/** The frames of a block, cut at `cuts`. Compresses on the thread pool. */
export async function buildFrames(
  block: LineBlock,
  cuts: readonly { end: number }[],
  head_before: Uint8Array,
): Promise<NewFrame[]> {
  const frames: NewFrame[] = [];
  let from = 0;
  let head = head_before;
  for (const { end } of cuts) {
    const frame = await buildFrame(block, from, end, head);
    frames.push(frame);
    head = frame.head;
    from = end;
  }
  return frames;
}

/** Writes frames in the transaction that is open, in the place of the one they replace. */
export function replaceFrames(
  db: Database,
  session: number,
  merged: FrameRow | null,
  frames: readonly NewFrame[],
): void {
  if (merged !== null) removeFrame(db, session, merged.first_seq);
  for (const frame of frames) insertFrame(db, session, frame);
}
