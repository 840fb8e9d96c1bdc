/** Lines of input, gathered into what one append request takes. Pure, but for the time that it waits. */
import { limit } from "../limits.ts";
import { type EntryFormat, entryLine } from "./entry-input.ts";
import { readLines } from "./lines.ts";

/** What comes first: the promise, or `undefined` when the time is over or the signal comes. */
async function within<T>(
  promise: Promise<T>,
  ms: number | null,
  stop: Promise<undefined>,
): Promise<T | undefined> {
  if (ms === null) return Promise.race([promise, stop]);
  const quiet = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => quiet.resolve(undefined), ms);
  try {
    return await Promise.race([promise, stop, quiet.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Lines to send, in groups that make one request; a group also ends when the input falls quiet. Errors: the
 * signal's reason; what the input or a line says.
 */
export async function* groupEntries(
  source: AsyncIterable<Uint8Array>,
  format: EntryFormat,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array[]> {
  const stop = new Promise<undefined>((resolve) => {
    signal.addEventListener("abort", () => resolve(undefined));
  });
  const pieces = readLines(source, limit("entry_body_bytes") + limit("entry_envelope_bytes"));
  let group: Uint8Array[] = [];
  let group_bytes = 0;
  let number = 0;
  const takeGroup = (): Uint8Array[] => {
    const taken = group;
    group = [];
    group_bytes = 0;
    return taken;
  };
  for (let next = pieces.next(); ;) {
    signal.throwIfAborted();
    const piece = await within(next, group.length === 0 ? null : limit("cli_append_idle_ms"), stop);
    signal.throwIfAborted();
    if (piece === undefined || piece.done === true) {
      if (group.length > 0) yield takeGroup();
      if (piece?.done === true) return;
      continue;
    }
    next = pieces.next();
    // Whoever waits for it sees its error; when nobody does any more, it is of no interest.
    next.catch(() => undefined);
    for (const line of piece.value) {
      number += 1;
      const entry = entryLine(line, number, format);
      if (entry === null) continue;
      group.push(entry);
      group_bytes += entry.byteLength + 1;
      const is_full =
        group_bytes >= limit("cli_append_request_bytes") || group.length >= limit("entries_per_append_count");
      if (is_full) yield takeGroup();
    }
  }
}
