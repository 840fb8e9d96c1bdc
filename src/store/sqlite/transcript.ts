/**
 * Reading transcripts out of frames and rows. Frames hold a prefix without gaps, rows the rest; a reader asks for
 * its next seq and takes whatever holds it now, because between two of its steps rows become frames and frames merge.
 */
import type { Database } from "bun:sqlite";
import { assert, Problem } from "../../errors.ts";
import { type BytesCache, createBytesCache } from "../../lib/bytes-cache.ts";
import { headAfterLines, headHex } from "../../lib/head.ts";
import { readKind } from "../../lib/wire-line.ts";
import { limit } from "../../limits.ts";
import type { EntryKind } from "../../schema/entry.ts";
import type { Lines, LinesQuery, TranscriptChunk } from "../contract.ts";
import { type LineBlock, rowLines } from "./entry-row.ts";
import { compress, decompress, frameAt, frameLines, frameOfKinds, framesFrom, kindBits } from "./frame.ts";
import { droppedHead, findHead, type HeadRow } from "./head.ts";

export interface TranscriptReader {
  read(session_id: string, query: LinesQuery): Promise<Lines>;
  chunk(
    session_id: string,
    from_seq: number,
    through_seq: number,
    encoding: "identity" | "zstd",
  ): Promise<TranscriptChunk | null>;
  headAt(session_id: string, seq: number): Promise<string>;
}

/** What a read has gathered and what it may still take. */
interface Gathering {
  pieces: Uint8Array[];
  count: number;
  bytes: number;
  first_seq: number | null;
  last_seq: number | null;
}

function missing(): Problem {
  return new Problem("not_found", "There is no such session.");
}

/** Takes lines of a block from index `from` towards `to` (inclusive) as the query allows; gives the index it stopped at. */
function takeLines(
  block: LineBlock,
  from: number,
  to: number,
  query: LinesQuery,
  kinds: ReadonlySet<EntryKind> | undefined,
  into: Gathering,
): number {
  const step = query.direction === "forward" ? 1 : -1;
  const { bytes, starts } = block;
  const taken: Uint8Array[] = [];
  let run_from: number | null = null;
  let index = from;
  const endRun = (end: number): void => {
    if (run_from === null) return;
    const [low, high] = step === 1 ? [run_from, end] : [end + 1, run_from + 1];
    taken.push(bytes.subarray(starts[low], starts[high]));
    run_from = null;
  };
  for (; step === 1 ? index <= to : index >= to; index += step) {
    if (into.count >= query.limit || (into.count > 0 && into.bytes >= query.max_bytes)) break;
    if (kinds !== undefined && !kinds.has(readKind(bytes, starts[index] ?? 0) as EntryKind)) {
      endRun(index);
      continue;
    }
    run_from ??= index;
    into.count += 1;
    into.bytes += (starts[index + 1] ?? 0) - (starts[index] ?? 0);
    const seq = block.first_seq + index;
    into.first_seq = into.first_seq === null ? seq : Math.min(into.first_seq, seq);
    into.last_seq = into.last_seq === null ? seq : Math.max(into.last_seq, seq);
  }
  endRun(index);
  if (step === 1) into.pieces.push(...taken);
  else into.pieces.unshift(...taken.toReversed());
  return index;
}

function holds(block: LineBlock, seq: number): boolean {
  return seq >= block.first_seq && seq < block.first_seq + block.starts.length - 1;
}

export function createTranscriptReader(db: Database, cache: BytesCache<LineBlock>): TranscriptReader {
  /** The newest rows of a session that were read, by its key: rows never change, and many tails want the same ones. */
  const newest_rows = createBytesCache<LineBlock>(limit("row_cache_bytes"));

  function rowsFrom(head: HeadRow, seq: number, high: number): LineBlock | null {
    const key = String(head.pk);
    const kept = newest_rows.get(key);
    if (kept !== undefined && holds(kept, seq)) return kept;
    const block = rowLines(db, head.pk, seq, high, limit("read_rows_count"));
    if (block !== null) newest_rows.set(key, block, block.bytes.byteLength);
    return block;
  }

  /** The block that holds a seq, as far as rows go `read_rows_count` of them; null when frames changed meanwhile. */
  async function blockAt(
    head: HeadRow,
    seq: number,
    low: number,
    high: number,
    direction: "forward" | "backward",
  ): Promise<LineBlock | null> {
    if (seq > head.sealed_through_seq) {
      const floor = Math.max(low, head.sealed_through_seq + 1);
      const block =
        direction === "forward"
          ? rowsFrom(head, seq, high)
          : rowLines(db, head.pk, floor, seq, limit("read_rows_count"), "backward");
      if (block === null || !holds(block, seq))
        throw new Problem("integrity_failed", `Entry ${seq} of the session is missing.`);
      return block;
    }
    const frame = frameAt(db, head.pk, seq);
    if (frame === null || frame.last_seq < seq)
      throw new Problem("integrity_failed", `Entry ${seq} of the session is missing.`);
    return frameLines(db, head.pk, frame, cache);
  }

  /** The next seq worth looking at when only some kinds are wanted: frames without any of them are passed over. */
  function skipFrames(head: HeadRow, seq: number, kinds: number, direction: "forward" | "backward"): number {
    if (seq > head.sealed_through_seq) return seq;
    const holding = frameAt(db, head.pk, seq);
    if (holding === null || (holding.kinds & kinds) !== 0) return seq;
    const found = frameOfKinds(
      db,
      head.pk,
      direction === "forward" ? seq : holding.first_seq,
      kinds,
      direction,
    );
    if (direction === "forward") return found?.first_seq ?? head.sealed_through_seq + 1;
    return found?.last_seq ?? head.dropped_through_seq;
  }

  async function read(session_id: string, query: LinesQuery): Promise<Lines> {
    const into: Gathering = { pieces: [], count: 0, bytes: 0, first_seq: null, last_seq: null };
    const forward = query.direction === "forward";
    const kinds = query.kinds === undefined ? undefined : kindBits(query.kinds);
    let at = forward ? query.from_seq : query.through_seq;
    let next: number | null = null;
    let missed = 0;
    for (let blocks = 0; ; blocks += 1) {
      const head = findHead(db, session_id);
      if (head === null) throw missing();
      const low = Math.max(query.from_seq, head.dropped_through_seq + 1);
      const high = Math.min(query.through_seq, head.last_seq);
      at = forward ? Math.max(at, low) : Math.min(at, high);
      if (kinds !== undefined && at >= low && at <= high) at = skipFrames(head, at, kinds, query.direction);
      if (at < low || at > high) break;
      const full = into.count >= query.limit || (into.count > 0 && into.bytes >= query.max_bytes);
      if (full || (kinds !== undefined && blocks >= limit("filtered_scan_frames_count"))) {
        next = at;
        break;
      }
      const block = await blockAt(head, at, low, high, query.direction);
      if (block === null) {
        // The frame was merged since it was looked up; the next look finds its successor.
        missed += 1;
        if (missed > limit("merge_retries_count"))
          throw new Problem("integrity_failed", `Entry ${at} of the session cannot be found.`);
        continue;
      }
      const first_index = Math.max(0, low - block.first_seq);
      const last_index = Math.min(block.starts.length - 2, high - block.first_seq);
      const wanted = kinds === undefined ? undefined : query.kinds;
      const stopped = forward
        ? takeLines(block, at - block.first_seq, last_index, query, wanted, into)
        : takeLines(block, at - block.first_seq, first_index, query, wanted, into);
      at = block.first_seq + stopped;
    }
    return {
      pieces: into.pieces,
      count: into.count,
      first_seq: into.first_seq,
      last_seq: into.last_seq,
      next,
    };
  }

  async function chunk(
    session_id: string,
    from_seq: number,
    through_seq: number,
    encoding: "identity" | "zstd",
  ): Promise<TranscriptChunk | null> {
    const head = findHead(db, session_id);
    if (head === null) throw missing();
    const through = Math.min(through_seq, head.last_seq);
    if (from_seq > through) return null;
    if (from_seq <= head.sealed_through_seq) {
      const whole = await wholeFrames(head, from_seq, through, encoding);
      if (whole !== null) return whole;
    }
    // The rows behind the frames, or a frame that was merged or reaches beyond the mark: lines, cut.
    const lines = await read(session_id, {
      from_seq,
      through_seq: through,
      direction: "forward",
      limit: limit("page_items_count"),
      max_bytes: limit("stream_batch_bytes"),
    });
    assert(lines.last_seq !== null, "a transcript has no gaps");
    const plain =
      lines.pieces.length === 1 && lines.pieces[0] !== undefined
        ? lines.pieces[0]
        : Buffer.concat(lines.pieces);
    return { data: encoding === "zstd" ? await compress(plain) : plain, last_seq: lines.last_seq };
  }

  /** Frames that begin at the wanted seq and end before the mark, untouched or decompressed; null when there is none. */
  async function wholeFrames(
    head: HeadRow,
    from_seq: number,
    through: number,
    encoding: "identity" | "zstd",
  ): Promise<TranscriptChunk | null> {
    // Decompressed ones go singly, which spares joining them.
    const most = encoding === "zstd" ? limit("sent_frames_count") : 1;
    const parts: Uint8Array[] = [];
    let next = from_seq;
    let stored_bytes = 0;
    for (const frame of framesFrom(db, head.pk, from_seq, most)) {
      if (frame.first_seq !== next || frame.last_seq > through) break;
      if (parts.length > 0 && stored_bytes + frame.data.byteLength > limit("page_default_bytes")) break;
      parts.push(encoding === "zstd" ? frame.data : await decompress(frame.data, frame.raw_bytes));
      stored_bytes += frame.data.byteLength;
      next = frame.last_seq + 1;
    }
    const [only] = parts;
    if (only === undefined) return null;
    return { data: parts.length === 1 ? only : Buffer.concat(parts), last_seq: next - 1 };
  }

  async function headAt(session_id: string, seq: number): Promise<string> {
    for (;;) {
      const head = findHead(db, session_id);
      if (head === null) throw missing();
      assert(seq >= head.dropped_through_seq && seq <= head.last_seq, "the seq is within the transcript");
      if (seq === head.last_seq) return headHex(head.head);
      if (seq === head.dropped_through_seq) return headHex(droppedHead(head));
      const frame = frameAt(db, head.pk, Math.min(seq, head.sealed_through_seq));
      if (frame !== null && frame.last_seq === seq) return headHex(frame.head);
      if (seq > head.sealed_through_seq)
        return headHex(headThroughRows(head, frame?.head ?? droppedHead(head), seq));
      if (frame === null) throw new Problem("integrity_failed", `Entry ${seq} of the session is missing.`);
      const before = frameAt(db, head.pk, frame.first_seq - 1)?.head ?? droppedHead(head);
      const block = await frameLines(db, head.pk, frame, cache);
      if (block !== null)
        return headHex(headAfterLines(before, block.bytes, block.starts, 0, seq - frame.first_seq + 1));
    }
  }

  function headThroughRows(head: HeadRow, sealed: Uint8Array, seq: number): Uint8Array {
    let current = sealed;
    for (let from = head.sealed_through_seq + 1; from <= seq;) {
      const block = rowLines(db, head.pk, from, seq, limit("read_rows_count"));
      if (block === null || block.first_seq !== from)
        throw new Problem("integrity_failed", `Entry ${from} of the session is missing.`);
      current = headAfterLines(current, block.bytes, block.starts);
      from += block.starts.length - 1;
    }
    return current;
  }

  return { read, chunk, headAt };
}
