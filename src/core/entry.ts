/**
 * Rules of reading transcripts: in pages, singly, and as a whole. Lines pass through as bytes; no body is parsed here.
 */
import { invalid, Problem } from "../errors.ts";
import { decodeCursor, encodeCursor } from "../lib/cursor.ts";
import { lineStarts, previewLine } from "../lib/wire-line.ts";
import { limit } from "../limits.ts";
import type { EntryKind } from "../schema/entry.ts";
import type { Lines, LinesQuery, SessionHead } from "../store/contract.ts";
import type { Context } from "./context.ts";
import { getSession } from "./session.ts";

/** Single lines, without their newlines. */
function splitLines(lines: Lines): Uint8Array[] {
  return lines.pieces.flatMap((piece) => {
    const starts = lineStarts(piece);
    return Array.from({ length: starts.length - 1 }, (_, index) =>
      piece.subarray(starts[index], (starts[index + 1] ?? 0) - 1),
    );
  });
}

/** Single lines of a range, without their newlines. */
export async function readRange(
  context: Context,
  session_id: string,
  from_seq: number,
  through_seq: number,
): Promise<Uint8Array[]> {
  const found: Uint8Array[] = [];
  for (let from = from_seq; from <= through_seq;) {
    const lines = await context.store.entries.read(session_id, {
      from_seq: from,
      through_seq,
      direction: "forward",
      limit: limit("page_items_count"),
      max_bytes: limit("page_bytes"),
    });
    found.push(...splitLines(lines));
    if (lines.next === null) break;
    from = lines.next;
  }
  return found;
}

export interface EntriesQuery {
  after?: number;
  before?: number;
  around?: number;
  cursor?: string;
  limit: number;
  max_bytes: number;
  kinds?: EntryKind[];
}

export interface EntriesPage {
  /** Wire lines with their newlines, ascending; large ones as previews. */
  pieces: Uint8Array[];
  first_seq: number | null;
  last_seq: number | null;
  next_cursor: string | null;
  prev_cursor: string | null;
}

/** Replaces lines that are too large for a page by their previews. */
export function inlined(piece: Uint8Array): Uint8Array[] {
  const bound = limit("inline_item_bytes");
  if (piece.byteLength <= bound) return [piece];
  const starts = lineStarts(piece);
  const out: Uint8Array[] = [];
  let from = 0;
  for (let index = 0; index + 1 < starts.length; index += 1) {
    const start = starts[index] ?? 0;
    const end = starts[index + 1] ?? 0;
    if (end - start <= bound) continue;
    if (from < start) out.push(piece.subarray(from, start));
    out.push(previewLine(piece.subarray(start, end - 1), limit("preview_characters")), NEWLINE);
    from = end;
  }
  if (from < piece.byteLength) out.push(piece.subarray(from));
  return out;
}

const NEWLINE = Uint8Array.of(10);

/** What a reader below the first kept entry is told. */
export function dropped(through_seq: number): Problem {
  const first_seq = through_seq + 1;
  return new Problem("gone", `Entries before ${first_seq} were dropped by retention.`, {
    hint: `Read from ${first_seq}.`,
    members: { first_seq },
  });
}

function requireKept(from_seq: number, head: SessionHead): void {
  if (from_seq <= head.dropped_through_seq) throw dropped(head.dropped_through_seq);
}

async function headOf(context: Context, session_id: string): Promise<SessionHead> {
  const { last_seq, head, dropped_through_seq } = await getSession(context, session_id);
  return { last_seq, head, dropped_through_seq };
}

type Direction = { after: number } | { before: number } | { around: number };

/** Anyone can make a cursor: what is in it is checked like any other input. */
function isDirection(position: unknown): position is Direction {
  if (typeof position !== "object" || position === null) return false;
  const [member, ...others] = Object.entries(position);
  if (member === undefined || others.length > 0) return false;
  const [name, seq] = member as [string, unknown];
  return (
    (name === "after" || name === "before") &&
    typeof seq === "number" &&
    Number.isSafeInteger(seq) &&
    seq >= 0
  );
}

function directionOf(question: object, query: EntriesQuery, head: SessionHead): Direction {
  const { after, before, around, cursor } = query;
  if ([after, before, around, cursor].filter((value) => value !== undefined).length > 1)
    throw invalid("after", "Only one of after, before, around and cursor may be given.");
  if (cursor !== undefined) {
    const position = decodeCursor(question, cursor);
    if (!isDirection(position)) throw invalid("cursor", "This cursor does not belong to these filters.");
    return position;
  }
  if (after !== undefined) return { after };
  if (before !== undefined) return { before };
  if (around !== undefined) return { around };
  return { after: head.dropped_through_seq };
}

function totalBytes(lines: Lines | null): number {
  return lines?.pieces.reduce((sum, piece) => sum + piece.byteLength, 0) ?? 0;
}

/** One page of entries. Errors: `not_found`, `gone` (deleted, or dropped: with the first kept seq), `invalid_request`. */
export async function pageEntries(
  context: Context,
  session_id: string,
  query: EntriesQuery,
): Promise<EntriesPage> {
  const head = await headOf(context, session_id);
  const question = {
    entries: session_id,
    kinds: query.kinds === undefined ? undefined : [...query.kinds].sort(),
  };
  const direction = directionOf(question, query, head);
  const common = {
    limit: query.limit,
    max_bytes: query.max_bytes,
    ...(query.kinds && { kinds: new Set(query.kinds) }),
  };
  const read = (
    part: Pick<LinesQuery, "from_seq" | "through_seq" | "direction"> & { limit?: number; max_bytes?: number },
  ): Promise<Lines> => context.store.entries.read(session_id, { ...common, ...part });
  const first_kept = head.dropped_through_seq + 1;

  // Where the page begins and ends, whatever was filtered out of it: from there the neighbours go on.
  let earlier: Lines | null = null;
  let later: Lines | null = null;
  let at: number;
  if ("after" in direction) {
    at = direction.after + 1;
    requireKept(at, head);
    later = await read({ from_seq: at, through_seq: head.last_seq, direction: "forward" });
  } else if ("before" in direction) {
    at = direction.before;
    requireKept(at, head);
    earlier = await read({
      from_seq: first_kept,
      through_seq: Math.min(at - 1, head.last_seq),
      direction: "backward",
    });
  } else {
    at = direction.around;
    requireKept(at, head);
    if (query.limit > 1) {
      earlier = await read({
        from_seq: first_kept,
        through_seq: Math.min(at - 1, head.last_seq),
        direction: "backward",
        limit: Math.floor(query.limit / 2),
        max_bytes: Math.ceil(query.max_bytes / 2),
      });
    }
    later = await read({
      from_seq: at,
      through_seq: head.last_seq,
      direction: "forward",
      limit: query.limit - (earlier?.count ?? 0),
      max_bytes: Math.max(1, query.max_bytes - totalBytes(earlier)),
    });
  }
  const after_next = later === null ? (at <= head.last_seq ? at : null) : later.next;
  const before = Math.min(at - 1, head.last_seq);
  const before_next = earlier === null ? (before >= first_kept ? before : null) : earlier.next;
  return {
    pieces: [...(earlier?.pieces ?? []), ...(later?.pieces ?? [])].flatMap(inlined),
    first_seq: earlier?.first_seq ?? later?.first_seq ?? null,
    last_seq: later?.last_seq ?? earlier?.last_seq ?? null,
    next_cursor: after_next === null ? null : encodeCursor(question, { after: after_next - 1 }),
    prev_cursor: before_next === null ? null : encodeCursor(question, { before: before_next + 1 }),
  };
}

/** The whole wire line of one entry, without its newline. Errors: `not_found`, `gone`. */
export async function getEntry(context: Context, session_id: string, seq: number): Promise<Uint8Array> {
  const head = await headOf(context, session_id);
  requireKept(seq, head);
  const [line] = seq > head.last_seq ? [] : await readRange(context, session_id, seq, seq);
  if (line === undefined) throw new Problem("not_found", `The session ends at ${head.last_seq}.`);
  return line;
}

export interface RangeQuery {
  after?: number;
  before?: number;
  limit?: number;
  kinds?: EntryKind[];
}

/**
 * The lines of a range up to where the session ends now, bodies whole, a piece at a time in constant memory.
 * Errors before the first piece: `not_found`, `gone`.
 */
export async function streamEntries(
  context: Context,
  session_id: string,
  query: RangeQuery,
): Promise<AsyncGenerator<Uint8Array>> {
  const head = await headOf(context, session_id);
  const from = (query.after ?? head.dropped_through_seq) + 1;
  requireKept(from, head);
  return readPieces(
    context,
    session_id,
    from,
    Math.min(head.last_seq, (query.before ?? head.last_seq + 1) - 1),
    query,
  );
}

async function* readPieces(
  context: Context,
  session_id: string,
  from: number,
  through_seq: number,
  query: RangeQuery,
): AsyncGenerator<Uint8Array> {
  let left = query.limit ?? Number.MAX_SAFE_INTEGER;
  let next: number | null = from;
  while (next !== null && next <= through_seq && left > 0) {
    const lines: Lines = await context.store.entries.read(session_id, {
      from_seq: next,
      through_seq,
      direction: "forward",
      limit: Math.min(left, limit("page_items_count")),
      max_bytes: limit("stream_batch_bytes"),
      ...(query.kinds && { kinds: new Set(query.kinds) }),
    });
    yield* lines.pieces;
    left -= lines.count;
    next = lines.next;
  }
}

/**
 * The whole transcript as it stands now: wire lines, or with `zstd` frames as they are stored. Errors before the
 * first piece: `not_found`, `gone`.
 */
export async function streamTranscript(
  context: Context,
  session_id: string,
  encoding: "identity" | "zstd",
): Promise<AsyncGenerator<Uint8Array>> {
  const head = await headOf(context, session_id);
  return readChunks(context, session_id, head, encoding);
}

async function* readChunks(
  context: Context,
  session_id: string,
  head: SessionHead,
  encoding: "identity" | "zstd",
): AsyncGenerator<Uint8Array> {
  for (let from = head.dropped_through_seq + 1; from <= head.last_seq;) {
    const chunk = await context.store.entries.chunk(session_id, from, head.last_seq, encoding);
    if (chunk === null) return;
    yield chunk.data;
    from = chunk.last_seq + 1;
  }
}
