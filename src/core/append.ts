/**
 * Rules of appending: what a request means when it is repeated. Lines are compared as bytes; no body is parsed here.
 */
import { Problem } from "../errors.ts";
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
      return withRepeats(await replayed(context, session_id, unique, after.seq, outcome.head), sent, firsts);
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
