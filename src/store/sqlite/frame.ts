/** Frames: older entries, sealed. A frame is one zstd frame of wire lines exactly as they go over the wire. */
import type { Database } from "bun:sqlite";
import { promisify } from "node:util";
import { zstdDecompress, zstdDecompressSync } from "node:zlib";
import { Problem } from "../../errors.ts";
import type { BytesCache } from "../../lib/bytes-cache.ts";
import { headAfterLines } from "../../lib/head.ts";
import { lineStarts, readKind } from "../../lib/wire-line.ts";
import { limit } from "../../limits.ts";
import { ENTRY_KINDS } from "../../schema/entry.ts";
import type { LineBlock } from "./entry-row.ts";
import { all, first, run } from "./statement.ts";

export const FRAME_SQL = {
  insert: `INSERT INTO frame (session, first_seq, last_seq, raw_bytes, kinds, head, data)
           VALUES ($session, $first_seq, $last_seq, $raw_bytes, $kinds, $head, $data)`,
  remove: "DELETE FROM frame WHERE session = $session AND first_seq = $first_seq",
  /** The frame that holds a seq, or the one before it; primary key; at most one row. */
  at: `SELECT first_seq, last_seq, raw_bytes, kinds, head FROM frame WHERE session = $session AND first_seq <= $seq ORDER BY first_seq DESC LIMIT 1`,
  /** The next frame from a seq on that has one of the kinds; primary key; at most one row. */
  nextOfKinds: `SELECT first_seq, last_seq, raw_bytes, kinds, head FROM frame
                WHERE session = $session AND first_seq > $seq AND (kinds & $kinds) <> 0 ORDER BY first_seq LIMIT 1`,
  /** The frame before a seq that has one of the kinds; primary key; at most one row. */
  previousOfKinds: `SELECT first_seq, last_seq, raw_bytes, kinds, head FROM frame
                    WHERE session = $session AND first_seq < $seq AND (kinds & $kinds) <> 0 ORDER BY first_seq DESC LIMIT 1`,
  data: "SELECT data FROM frame WHERE session = $session AND first_seq = $first_seq AND last_seq = $last_seq",
  /** Frames from a seq on, with their data; primary key; at most $limit rows. */
  from: `SELECT first_seq, last_seq, raw_bytes, data FROM frame WHERE session = $session AND first_seq >= $seq ORDER BY first_seq LIMIT $limit`,
};

export interface FrameRow {
  first_seq: number;
  last_seq: number;
  raw_bytes: number;
  kinds: number;
  head: Uint8Array;
}

/** A frame before it is stored. */
export interface NewFrame extends FrameRow {
  data: Uint8Array;
}

const decompressAsync = promisify(zstdDecompress);
const LEVEL = 3;

/** The smallest chunkSize that node:zlib takes. */
const MIN_CHUNK_BYTES = 64;

/** One zstd frame, made on the thread pool. In one call: the stream of node:zlib took 1,100 us of CPU for 128 KiB, this 650. */
export function compress(bytes: Uint8Array): Promise<Uint8Array> {
  return Bun.zstdCompress(bytes, { level: LEVEL });
}

const bit = new Map<string, number>(ENTRY_KINDS.map((kind, index) => [kind, 2 ** index]));

/** The set of kinds as stored with a frame. */
export function kindBits(kinds: Iterable<string>): number {
  let bits = 0;
  for (const kind of kinds) bits |= bit.get(kind) ?? 0;
  return bits;
}

/**
 * Where a stretch of lines is cut into frames: behind the line with which a frame reaches its size, and around a
 * line that is larger than a frame by itself. A pure function of the lines, so that equal transcripts are cut
 * equally. Gives the end of each frame as an index; the last one may be short of a frame (`complete` false).
 */
export function cutFrames(starts: Uint32Array): { end: number; complete: boolean }[] {
  const bound = limit("frame_raw_bytes");
  const cuts: { end: number; complete: boolean }[] = [];
  let begin = 0;
  for (let index = 0; index + 1 < starts.length; index += 1) {
    const line_bytes = (starts[index + 1] ?? 0) - (starts[index] ?? 0);
    if (line_bytes > bound && index > begin) {
      cuts.push({ end: index, complete: true });
      begin = index;
    }
    if ((starts[index + 1] ?? 0) - (starts[begin] ?? 0) >= bound) {
      cuts.push({ end: index + 1, complete: true });
      begin = index + 1;
    }
  }
  if (begin < starts.length - 1) cuts.push({ end: starts.length - 1, complete: false });
  return cuts;
}

/** The lines from index `from` to `to` of a block as a frame. Compresses on the thread pool. */
export async function buildFrame(
  block: LineBlock,
  from: number,
  to: number,
  head_before: Uint8Array,
): Promise<NewFrame> {
  const { bytes, starts, first_seq } = block;
  const raw = bytes.subarray(starts[from], starts[to]);
  const kinds = new Set<string>();
  for (let index = from; index < to; index += 1) kinds.add(readKind(bytes, starts[index] ?? 0));
  return {
    first_seq: first_seq + from,
    last_seq: first_seq + to - 1,
    raw_bytes: raw.byteLength,
    kinds: kindBits(kinds),
    head: headAfterLines(head_before, bytes, starts, from, to),
    data: await compress(raw),
  };
}

export function insertFrame(db: Database, session: number, frame: NewFrame): void {
  run(db, FRAME_SQL.insert, {
    session,
    first_seq: frame.first_seq,
    last_seq: frame.last_seq,
    raw_bytes: frame.raw_bytes,
    kinds: frame.kinds,
    head: frame.head,
    data: frame.data,
  });
}

export function removeFrame(db: Database, session: number, first_seq: number): number {
  return run(db, FRAME_SQL.remove, { session, first_seq });
}

/** The frame that holds a sealed seq; for one that is not sealed, the frame before it. */
export function frameAt(db: Database, session: number, seq: number): FrameRow | null {
  return first<FrameRow>(db, FRAME_SQL.at, { session, seq });
}

/** The nearest frame behind (or before) a seq that has one of the kinds. */
export function frameOfKinds(
  db: Database,
  session: number,
  seq: number,
  kinds: number,
  direction: "forward" | "backward",
): FrameRow | null {
  const sql = direction === "forward" ? FRAME_SQL.nextOfKinds : FRAME_SQL.previousOfKinds;
  return first<FrameRow>(db, sql, { session, seq, kinds });
}

export function framesFrom(
  db: Database,
  session: number,
  seq: number,
  count: number,
): (Pick<FrameRow, "first_seq" | "last_seq" | "raw_bytes"> & { data: Uint8Array })[] {
  return all(db, FRAME_SQL.from, { session, seq, limit: count });
}

/** Decompresses with the stored length as the bound. Errors: `integrity_failed`. */
export async function decompress(data: Uint8Array, raw_bytes: number): Promise<Uint8Array> {
  try {
    // One chunk of the right size spares node:zlib its growing and joining of 16 KiB chunks: 75 us instead of 103 for 128 KiB.
    const options = { maxOutputLength: raw_bytes, chunkSize: Math.max(raw_bytes, MIN_CHUNK_BYTES) };
    const is_small = raw_bytes <= limit("inline_decompress_bytes");
    const raw = is_small ? zstdDecompressSync(data, options) : await decompressAsync(data, options);
    if (raw.byteLength === raw_bytes) return raw;
  } catch (error) {
    throw new Problem("integrity_failed", "A stored part of the transcript cannot be read.", {
      cause: error,
    });
  }
  throw new Problem("integrity_failed", "A stored part of the transcript has the wrong length.");
}

/**
 * The lines of a frame, through the cache. Null when the frame is no longer there: frames are merged under readers,
 * who then look again for the frame that holds their seq.
 */
export async function frameLines(
  db: Database,
  session: number,
  frame: FrameRow,
  cache: BytesCache<LineBlock>,
): Promise<LineBlock | null> {
  return cache.load(`${session}:${frame.first_seq}:${frame.last_seq}`, () => loadFrame(db, session, frame));
}

async function loadFrame(
  db: Database,
  session: number,
  frame: FrameRow,
): Promise<{ value: LineBlock; bytes: number } | null> {
  const stored = first<{ data: Uint8Array }>(db, FRAME_SQL.data, {
    session,
    first_seq: frame.first_seq,
    last_seq: frame.last_seq,
  });
  if (stored === null) return null;
  const bytes = await decompress(stored.data, frame.raw_bytes);
  const value: LineBlock = { first_seq: frame.first_seq, bytes, starts: lineStarts(bytes) };
  if (value.starts.length - 1 !== frame.last_seq - frame.first_seq + 1)
    throw new Problem("integrity_failed", "A stored part of the transcript has the wrong number of entries.");
  // A larger one would push everything else out of the cache.
  const is_kept = frame.raw_bytes <= limit("cached_frame_bytes");
  return { value, bytes: is_kept ? bytes.byteLength + value.starts.byteLength : Number.POSITIVE_INFINITY };
}
