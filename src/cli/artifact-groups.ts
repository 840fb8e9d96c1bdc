/** A stream of bytes, gathered into what one append request takes. Pure, but for the time that it waits. */
import { within } from "./artifact-wait.ts";

export interface GroupOptions {
  /** No group is longer. */
  group_bytes: number;
  /** A group also ends when nothing came for so long. */
  idle_ms: number;
}

/** The bytes in order, in groups that are never empty. Errors: those of the source; the signal's reason. */
export async function* groupBytes(
  source: AsyncIterable<Uint8Array>,
  { group_bytes, idle_ms }: GroupOptions,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const pieces = source[Symbol.asyncIterator]();
  let held: Uint8Array[] = [];
  let held_bytes = 0;
  const take = (): Uint8Array => {
    const group = Buffer.concat(held, held_bytes);
    held = [];
    held_bytes = 0;
    return group;
  };
  for (let next = pieces.next(); ;) {
    const step = await within(next, held_bytes === 0 ? null : idle_ms, signal);
    if (step === undefined || step.done === true) {
      if (held_bytes > 0) yield take();
      if (step?.done === true) return;
      continue;
    }
    next = pieces.next();
    // Whoever waits for it sees its error; when nobody does any more, it is of no interest.
    next.catch(() => undefined);
    for (let rest = step.value; rest.byteLength > 0;) {
      const fitting = rest.subarray(0, group_bytes - held_bytes);
      held.push(fitting);
      held_bytes += fitting.byteLength;
      rest = rest.subarray(fitting.byteLength);
      if (held_bytes === group_bytes) yield take();
    }
  }
}
