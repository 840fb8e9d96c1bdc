/**
 * Following a transcript. The database is the truth and the bell only a wake-up: a tail reads to the head, listens,
 * reads once more, and waits. It holds one batch at most, so a slow reader costs nothing.
 */
import { invalid } from "../errors.ts";
import { type BytesCache, createBytesCache } from "../lib/bytes-cache.ts";
import { createWaiter } from "../lib/wake.ts";
import { limit } from "../limits.ts";
import type { SessionHead } from "../store/contract.ts";
import type { Context } from "./context.ts";
import type { Position } from "./append.ts";
import { dropped, inlined } from "./entry.ts";
import { getSession } from "./session.ts";

/** Wire lines with newlines; large ones as previews. */
export interface TailBatch {
  step: "entries";
  lines: Uint8Array;
  first_seq: number;
  last_seq: number;
}

/** `quiet`: nothing came for the time that was given. */
export type TailStep = TailBatch | { step: "quiet" };

/** Batches that were read last: tails of one session that stand at the same place are given the same one. */
export type TailBatches = BytesCache<TailBatch>;

export function createTailBatches(): TailBatches {
  return createBytesCache(limit("tail_cache_bytes"));
}

export interface Tail {
  readonly generation: string;
  /** Set when the caller's position was of another generation: it must read again up to `last_seq`; the tail goes on from there. */
  readonly reset: SessionHead | null;
  /** The next entries in order, each exactly once. Errors: `gone` when the session was deleted meanwhile. */
  next(wait_ms: number): Promise<TailStep>;
  close(): void;
}

/** Opens a tail behind a position (the start when absent). Errors: `not_found`, `gone`, `invalid_request` (behind the end). */
export async function openTail(
  context: Context,
  session_id: string,
  after: Position | undefined,
  batches: TailBatches = createTailBatches(),
): Promise<Tail> {
  const { construct_id, last_seq, head, dropped_through_seq } = await getSession(context, session_id);
  const foreign = after?.generation !== undefined && after.generation !== context.store.generation;
  if (after !== undefined && !foreign && after.seq > last_seq)
    throw invalid("after", `The session ends at ${last_seq}.`);
  if (after !== undefined && !foreign && after.seq < dropped_through_seq) throw dropped(dropped_through_seq);
  let position = foreign ? last_seq : Math.max(after?.seq ?? 0, dropped_through_seq);
  // The construct's bell tells that it went to the trash.
  const waiter = createWaiter(context.bell, [session_id, construct_id]);

  const readBatch = async (
    from_seq: number,
    through_seq: number,
  ): Promise<{ value: TailBatch; bytes: number } | null> => {
    const found = await context.store.entries.read(session_id, {
      from_seq,
      through_seq,
      direction: "forward",
      limit: limit("page_items_count"),
      max_bytes: limit("tail_batch_bytes"),
    });
    const { first_seq, last_seq: end_seq } = found;
    if (first_seq === null || end_seq === null) return null;
    // A copy: a piece is a view, which would keep the whole frame that it was cut from.
    const lines = new Uint8Array(Buffer.concat(found.pieces.flatMap(inlined)));
    // Counted twice: who sends the batch keeps its events with it.
    return { value: { step: "entries", lines, first_seq, last_seq: end_seq }, bytes: 2 * lines.byteLength };
  };

  const read = async (): Promise<TailBatch | null> => {
    const current = await context.store.entries.head(session_id);
    if (current === null || current.last_seq <= position) return null;
    const from_seq = position + 1;
    const batch = await batches.load(`${session_id}:${from_seq}`, () =>
      readBatch(from_seq, current.last_seq),
    );
    if (batch !== null) position = batch.last_seq;
    return batch;
  };

  return {
    generation: context.store.generation,
    reset: foreign ? { last_seq, head, dropped_through_seq } : null,
    async next(wait_ms) {
      waiter.expect();
      const found = (await read()) ?? (await waiter.wait(wait_ms).then(read));
      if (found !== null) return found;
      await getSession(context, session_id);
      return { step: "quiet" };
    },
    close: waiter.close,
  };
}
