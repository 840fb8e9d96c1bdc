/**
 * Rules of appending: what a request means when it is repeated. Lines are compared as bytes; no body is parsed here.
 */
import { Problem } from "../errors.ts";
import { nextTurn } from "../lib/turn.ts";
import { readHeader } from "../lib/wire-line.ts";
import { limit } from "../limits.ts";
import type { AppendResult, SentEntry } from "../schema/entry.ts";
import type { AppendOutcome, KnownKey, NewEntry, SessionHead } from "../store/contract.ts";
import type { Context } from "./context.ts";
import { readRange } from "./entry.ts";

/** `after` of an append or a tail: a seq, or a seq of one generation of the store. */
export interface Position {
  generation?: string;
  seq: number;
}

/** The members that the client sent are compared, never the defaults: a retry an hour later is still the same. */
function isSame(sent: SentEntry, line: Uint8Array): boolean {
  const { header, body_start } = readHeader(line);
  if (header.kind !== sent.kind) return false;
  if (sent.actor !== undefined && header.actor !== sent.actor) return false;
  if (sent.at_ms !== undefined && header.at_ms !== sent.at_ms) return false;
  if (sent.key !== undefined && header.key !== sent.key) return false;
  return Buffer.from(sent.body).equals(line.subarray(body_start, line.byteLength - 1));
}

/**
 * The append had been done before, exactly so; or it is a conflict. Entries whose key was there already before
 * `after` were not appended then either; the others must follow each other from there.
 */
async function replayed(
  context: Context,
  session_id: string,
  sent: readonly SentEntry[],
  known: ReadonlyMap<number, KnownKey>,
  after: number,
  current: SessionHead,
): Promise<AppendResult> {
  const conflict = (detail: string): Problem =>
    new Problem("conflict", detail, {
      hint: "Read from `last_seq`, then append there.",
      members: { last_seq: current.last_seq, head: current.head },
    });
  let next = after + 1;
  const seqs = sent.map((_, index) => {
    const replay_seq = known.get(index)?.replay_seq ?? null;
    if (replay_seq !== null && replay_seq <= after) return replay_seq;
    next += 1;
    return next - 1;
  });
  const last_seq = next - 1;
  if (after > current.last_seq) throw conflict(`The session ends at ${current.last_seq}, before ${after}.`);
  if (last_seq > current.last_seq)
    throw conflict(`The session ends at ${current.last_seq}, not at ${after}.`);
  if (after < current.dropped_through_seq)
    throw conflict(`Entries through ${current.dropped_through_seq} were dropped and cannot be compared.`);
  const lines = await readRange(context, session_id, after + 1, last_seq);
  const lineAt = (seq: number): Uint8Array => lines[seq - after - 1] ?? new Uint8Array();
  for (const [index, entry] of sent.entries()) {
    const seq = seqs[index] ?? 0;
    if (seq > after && !isSame(entry, lineAt(seq)))
      throw conflict(`The session ends at ${current.last_seq}, and entry ${seq} is another one.`);
  }
  return {
    first_seq: after + 1,
    last_seq,
    head: await context.store.entries.headAt(session_id, last_seq),
    received_at_ms: readHeader(lineAt(last_seq)).header.received_at_ms,
    replayed: true,
    ...(sent.some((entry) => entry.key !== undefined) && {
      items: seqs.map((seq) => ({ seq, replayed: true })),
    }),
  };
}

/** The lines of some seqs; neighbours are read together, and other requests get their turn in between. */
async function readLines(
  context: Context,
  session_id: string,
  seqs: readonly number[],
): Promise<Map<number, Uint8Array>> {
  const found = new Map<number, Uint8Array>();
  const sorted = seqs.toSorted((a, b) => a - b);
  for (let from = 0; from < sorted.length;) {
    const first = sorted[from] ?? 0;
    let to = from;
    while (to + 1 < sorted.length && (sorted[to + 1] ?? 0) < first + limit("page_items_count")) to += 1;
    const lines = await readRange(context, session_id, first, sorted[to] ?? first);
    for (let index = from; index <= to; index += 1) {
      const line = lines[(sorted[index] ?? 0) - first];
      if (line !== undefined) found.set(sorted[index] ?? 0, line);
    }
    from = to + 1;
    await nextTurn();
  }
  return found;
}

/** Looks at entries that may hold the keys of a request. Errors: `conflict` when one holds the key with another content. */
async function lookAtKeys(
  context: Context,
  session_id: string,
  sent: readonly SentEntry[],
  { candidates, head }: AppendOutcome & { outcome: "keys" },
  known: Map<number, KnownKey>,
): Promise<void> {
  const conflict = (detail: string, seq: number): Problem =>
    new Problem("conflict", detail, { members: { seq, last_seq: head.last_seq, head: head.head } });
  const wanted = [...candidates.values()].flat();
  const lines = await readLines(
    context,
    session_id,
    wanted.filter((seq) => seq > head.dropped_through_seq),
  );
  for (const [index, seqs] of candidates) {
    const entry = sent[index];
    const before = known.get(index);
    if (entry === undefined) continue;
    let replay_seq = before?.replay_seq ?? null;
    for (const seq of seqs) {
      // A dropped entry cannot be compared; its hash alone must not let a second copy in.
      if (seq <= head.dropped_through_seq)
        throw conflict(`The key of entry ${index + 1} was used by an entry that was dropped.`, seq);
      const line = lines.get(seq);
      if (line === undefined || readHeader(line).header.key !== entry.key) continue;
      if (!isSame(entry, line))
        throw conflict(`The key of entry ${index + 1} names another entry, ${seq}.`, seq);
      replay_seq = seq;
    }
    known.set(index, { looked_at: [...(before?.looked_at ?? []), ...seqs], replay_seq });
  }
}

/** For each entry the first one of the request with the same key. Errors: `conflict` when their content differs. */
function firstOfKey(sent: readonly SentEntry[]): number[] {
  if (sent.filter(({ key }) => key !== undefined).length > limit("keyed_entries_per_append_count"))
    throw new Problem(
      "too_large",
      `One request may have keyed_entries_per_append_count (${limit("keyed_entries_per_append_count")}) entries with a key.`,
    );
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
  for (let round = 0; round < limit("append_rounds_count"); round += 1) {
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
      return withRepeats(
        await replayed(context, session_id, unique, known, after.seq, outcome.head),
        sent,
        firsts,
      );
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
