/**
 * A pace for long streams: as fast as they come while nobody else works, and with a bound on all of them together while
 * somebody does, so that what is short and many does not wait behind what is long.
 */
import type { Clock } from "./clock.ts";

export interface PaceOptions {
  clock: Pick<Clock, "elapsed_ms">;
  /** A count that grows whenever somebody else gets something done. */
  progress(): number;
  /** All streams together, while others work. */
  bytes_per_s: number;
  /** Others count as working until this long after their last progress. */
  busy_ms: number;
  sleep?(ms: number): Promise<void>;
}

/** Resolves when so many bytes more may be taken. */
export type Pace = (bytes: number) => Promise<void>;

/** Waits shorter than a timer can tell are left to the next ones. */
const SHORTEST_MS = 1;

export function createPace({
  clock,
  progress,
  bytes_per_s,
  busy_ms,
  sleep = (ms) => Bun.sleep(ms),
}: PaceOptions): Pace {
  let seen = progress();
  let busy_until_ms = 0;
  /** When the next bytes are due. */
  let due_ms = 0;

  return async (bytes) => {
    const now_ms = clock.elapsed_ms();
    const count = progress();
    if (count !== seen) busy_until_ms = now_ms + busy_ms;
    seen = count;
    if (now_ms >= busy_until_ms) return;
    const wait_ms = Math.max(0, due_ms - now_ms);
    due_ms = now_ms + wait_ms + (bytes / bytes_per_s) * 1_000;
    if (wait_ms >= SHORTEST_MS) await sleep(wait_ms);
  };
}

/** The same chunks, each when its turn has come. */
export async function* paced(pace: Pace, chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    await pace(chunk.byteLength);
    yield chunk;
  }
}
