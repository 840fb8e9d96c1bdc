/**
 * Rules of transcripts: what an append means when it is repeated, and how a transcript is read in pages, singly, and
 * as a whole. Lines pass through as bytes; no body is parsed here.
 */
import { invalid, Problem } from "../errors.ts";
import { decodeCursor, encodeCursor } from "../lib/cursor.ts";
import { lineStarts, previewLine, readHeader } from "../lib/wire-line.ts";
import { limit } from "../limits.ts";
import type { AppendResult, EntryKind, SentEntry } from "../schema/entry.ts";
import type { AppendOutcome, KnownKey, Lines, LinesQuery, NewEntry, SessionHead } from "../store/contract.ts";
import type { Context } from "./context.ts";
import { getSession } from "./session.ts";

/** `after` of an append or a tail: a seq, or a seq of one generation of the store. */
export interface Position {
  generation?: string;
  seq: number;
}

/** Races between writers of the same keys are settled in one round; more means something is wrong. */
const APPEND_ROUNDS = 16;

/** The members that the client sent are compared, never the defaults: a retry an hour later is still the same. */
function isSame(sent: SentEntry, line: Uint8Array): boolean {
  const { header, body_start } = readHeader(line);
  if (header.kind !== sent.kind) return false;
  if (sent.actor !== undefined && header.actor !== sent.actor) return false;
  if (sent.at_ms !== undefined && header.at_ms !== sent.at_ms) return false;
  if (sent.key !== undefined && header.key !== sent.key) return false;
  return Buffer.from(sent.body).equals(line.subarray(body_start, line.byteLength - 1));
}

/** Single lines, without their newlines. */
function splitLines(lines: Lines): Uint8Array[] {
  return lines.pieces.flatMap((piece) => {
    const starts = lineStarts(piece);
    return Array.from({ length: starts.length - 1 }, (_, index) =>
      piece.subarray(starts[index], (starts[index + 1] ?? 0) - 1),
    );
  });
}

async function readRange(
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

/** The append had been done before, exactly so; or it is a conflict. */
async function replayed(
  context: Context,
  session_id: string,
  sent: readonly SentEntry[],
  after: number,
  current: SessionHead,
): Promise<AppendResult> {
  const last_seq = after + sent.length;
  const conflict = (detail: string): Problem =>
    new Problem("conflict", detail, {
      hint: "Read from `last_seq`, then append there.",
      members: { last_seq: current.last_seq, head: current.head },
    });
  if (after > current.last_seq) throw conflict(`The session ends at ${current.last_seq}, before ${after}.`);
  if (last_seq > current.last_seq)
    throw conflict(`The session ends at ${current.last_seq}, not at ${after}.`);
  if (after < current.dropped_through_seq)
    throw conflict(`Entries through ${current.dropped_through_seq} were dropped and cannot be compared.`);
  const lines = await readRange(context, session_id, after + 1, last_seq);
  const differing = sent.findIndex((entry, index) => !isSame(entry, lines[index] ?? new Uint8Array()));
  if (differing !== -1)
    throw conflict(
      `The session ends at ${current.last_seq}, and entry ${after + 1 + differing} is another one.`,
    );
  const last = lines.at(-1) ?? new Uint8Array();
  return {
    first_seq: after + 1,
    last_seq,
    head: await context.store.entries.headAt(session_id, last_seq),
    received_at_ms: readHeader(last).header.received_at_ms,
    replayed: true,
    ...(sent.some((entry) => entry.key !== undefined) && {
      items: sent.map((_, index) => ({ seq: after + 1 + index, replayed: true })),
    }),
  };
}

/** Looks at entries that may hold the keys of a request. Errors: `conflict` when one holds the key with another content. */
async function lookAtKeys(
  context: Context,
  session_id: string,
  sent: readonly SentEntry[],
  outcome: AppendOutcome & { outcome: "keys" },
  known: Map<number, KnownKey>,
): Promise<void> {
  for (const [index, seqs] of outcome.candidates) {
    const entry = sent[index];
    if (entry === undefined) continue;
    let replay_seq: number | null = null;
    for (const seq of seqs) {
      // A dropped entry cannot be compared; its hash alone must not let a second copy in.
      if (seq <= outcome.head.dropped_through_seq) {
        throw new Problem(
          "conflict",
          `The key of entry ${index + 1} was used by an entry that was dropped.`,
          { members: { seq, last_seq: outcome.head.last_seq, head: outcome.head.head } },
        );
      }
      const [line] = await readRange(context, session_id, seq, seq);
      if (line === undefined || readHeader(line).header.key !== entry.key) continue;
      if (!isSame(entry, line)) {
        throw new Problem("conflict", `The key of entry ${index + 1} names another entry, ${seq}.`, {
          members: { seq, last_seq: outcome.head.last_seq, head: outcome.head.head },
        });
      }
      replay_seq = seq;
    }
    known.set(index, { looked_at: [...(known.get(index)?.looked_at ?? []), ...seqs], replay_seq });
  }
}

/** For each entry the first one of the request with the same key. Errors: `conflict` when their content differs. */
function firstOfKey(sent: readonly SentEntry[]): number[] {
  const first = new Map<string, number>();
  return sent.map((entry, index) => {
    if (entry.key === undefined) return index;
    const earlier = first.get(entry.key);
    if (earlier === undefined) {
      first.set(entry.key, index);
      return index;
    }
    const other = sent[earlier];
    if (
      other === undefined ||
      other.kind !== entry.kind ||
      other.actor !== entry.actor ||
      other.at_ms !== entry.at_ms ||
      other.body !== entry.body
    ) {
      throw new Problem("conflict", `Entries ${earlier + 1} and ${index + 1} have the same key and differ.`);
    }
    return earlier;
  });
}

/** Every key was there before: nothing is appended. */
async function allKnown(
  context: Context,
  session_id: string,
  seqs: readonly number[],
): Promise<AppendResult> {
  const last_seq = Math.max(...seqs);
  const [line] = await readRange(context, session_id, last_seq, last_seq);
  return {
    first_seq: Math.min(...seqs),
    last_seq,
    head: await context.store.entries.headAt(session_id, last_seq),
    received_at_ms: readHeader(line ?? new Uint8Array()).header.received_at_ms,
    replayed: true,
    items: seqs.map((seq) => ({ seq, replayed: true })),
  };
}

/**
 * Appends all entries or none, durable when it resolves. With `after`, and for entries with a `key`, repeating the
 * request is harmless: what is there already is answered again. Errors: `not_found`, `gone`, `conflict` (with
 * last_seq and head), `busy`, `storage_full`, `unavailable` (outcome unknown: repeat it).
 */
export async function appendEntries(
  context: Context,
  session_id: string,
  sent: readonly SentEntry[],
  after?: Position,
): Promise<AppendResult> {
  if (after?.generation !== undefined && after.generation !== context.store.generation) {
    throw new Problem("conflict", "`after` names another generation of this store.", {
      hint: "The store was restored: read the session again.",
      members: { generation: context.store.generation },
    });
  }
  const firsts = firstOfKey(sent);
  const unique = sent.filter((_, index) => firsts[index] === index);
  const received_at_ms = context.clock.now_ms();
  const entries: NewEntry[] = unique.map((entry) => ({
    ...entry,
    actor: entry.actor ?? "agent",
    at_ms: entry.at_ms ?? received_at_ms,
  }));
  const known = new Map<number, KnownKey>();
  for (let round = 0; round < APPEND_ROUNDS; round += 1) {
    const outcome = await context.store.entries.append(session_id, entries, {
      received_at_ms,
      known,
      ...(after && { after: after.seq }),
    });
    if (outcome.outcome === "appended") {
      context.bell.ring(session_id);
      return withRepeats(outcome.result, sent, firsts);
    }
    if (outcome.outcome === "stale") {
      if (after === undefined) break;
      return replayed(context, session_id, sent, after.seq, outcome.head);
    }
    await lookAtKeys(context, session_id, unique, outcome, known);
    const seqs = unique.map((_, index) => known.get(index)?.replay_seq ?? null);
    if (seqs.every((seq) => seq !== null))
      return withRepeats(await allKnown(context, session_id, seqs), sent, firsts);
  }
  throw new Problem("busy", "Too many writers use the same keys at once.", { retry_after_s: 1 });
}

/** The answer has an item for each entry sent, also for a key that the request repeats. */
function withRepeats(
  result: AppendResult,
  sent: readonly SentEntry[],
  firsts: readonly number[],
): AppendResult {
  if (result.items === undefined || firsts.every((first, index) => first === index)) return result;
  const unique_place = new Map(
    sent
      .map((_, index) => index)
      .filter((index) => firsts[index] === index)
      .map((index, place) => [index, place]),
  );
  const items = firsts.map((first, index) => {
    const item = result.items?.[unique_place.get(first) ?? 0] ?? { seq: result.last_seq, replayed: true };
    return first === index ? item : { seq: item.seq, replayed: true };
  });
  return { ...result, items };
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

function requireKept(from_seq: number, head: SessionHead): void {
  if (from_seq > head.dropped_through_seq) return;
  const first_seq = head.dropped_through_seq + 1;
  throw new Problem("gone", `Entries before ${first_seq} were dropped by retention.`, {
    hint: `Read from ${first_seq}.`,
    members: { first_seq },
  });
}

async function headOf(context: Context, session_id: string): Promise<SessionHead> {
  const { last_seq, head, dropped_through_seq } = await getSession(context, session_id);
  return { last_seq, head, dropped_through_seq };
}

type Direction = { after: number } | { before: number } | { around: number };

function directionOf(question: object, query: EntriesQuery, head: SessionHead): Direction {
  const { after, before, around, cursor } = query;
  if ([after, before, around, cursor].filter((value) => value !== undefined).length > 1)
    throw invalid("after", "Only one of after, before, around and cursor may be given.");
  if (cursor !== undefined) {
    const position = decodeCursor(question, cursor) as Direction | null;
    if (position === null) throw invalid("cursor", "This cursor does not belong to these filters.");
    return position;
  }
  if (after !== undefined) return { after };
  if (before !== undefined) return { before };
  if (around !== undefined) return { around };
  return { after: head.dropped_through_seq };
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
    });
  }
  const after_next = later === null ? (at <= head.last_seq ? at : null) : later.next;
  const before_next = earlier === null ? (at > first_kept ? at - 1 : null) : earlier.next;
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
      max_bytes: limit("tail_batch_bytes"),
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
