/**
 * Bodies that are made only as fast as they are read: at most one piece is held for a slow reader, whatever
 * the length of the whole. Pushing instead took 1.6 GB for one stalled reader (facts.md 21).
 *
 * Bun closes a connection after its idle time even while a slow reader still takes bytes (measured: 4 s idle,
 * cut at 4 s in the middle of 25 MB), so the idle time is off while a stream runs and a stall is watched for
 * here.
 */
import { type ErrorCode, Problem } from "../errors.ts";
import { errorText, type Log } from "../lib/log.ts";
import { limit } from "../limits.ts";
import type { Call } from "./call.ts";
import { NDJSON } from "./operation.ts";
import { problemOf } from "./problem.ts";

export interface Source {
  /** The next piece, or null at the end. Called again only when the piece before was taken. */
  next(): Promise<Uint8Array | null>;
  /**
   * Last words to a reader whose stream fails; null breaks the connection, so that a part is not taken for
   * the whole.
   */
  farewell(problem: Problem): Uint8Array | null;
  /** Called once, however the stream ends. */
  close(): void;
}

export interface StreamOptions {
  log: Log;
  /** A reader that takes nothing for this long is given up. */
  stall_ms: number;
}

export interface Stream {
  body: ReadableStream<Uint8Array>;
  /** Ends the stream now, with the farewell of the source. */
  interrupt(problem: Problem): void;
}

/** Failures that are part of a stream's life: they are told to the reader and are no news for the log. */
const EXPECTED: ReadonlySet<ErrorCode> = new Set(["busy", "gone", "not_found"]);

/** A stream for the body of this call's response; it ends the call. */
export function openStream(call: Call, source: Source, { log, stall_ms }: StreamOptions): Stream {
  const { connection, request } = call;
  let controller: ReadableStreamDefaultController<Uint8Array> | null = null;
  let stall: Timer | undefined;
  let ended = false;
  call.streaming = true;
  connection?.timeout(request, 0);

  /** True for the first who ends it. */
  const end = (idle_s: number): boolean => {
    if (ended) return false;
    ended = true;
    clearTimeout(stall);
    source.close();
    connection?.timeout(request, idle_s);
    call.end();
    return true;
  };

  const fail = (error: unknown): void => {
    if (!end(limit("farewell_ms") / 1_000)) return;
    const problem = problemOf(error);
    if (!EXPECTED.has(problem.code))
      log.error("stream_failed", { request_id: call.request_id, route: call.route, cause: errorText(error) });
    const farewell = source.farewell(problem);
    // Bun would print the error to stderr, past the log; without one it breaks the connection in silence.
    if (farewell === null) return controller?.error(connection === undefined ? error : undefined);
    controller?.enqueue(farewell);
    controller?.close();
  };

  const stalled = (): void =>
    fail(
      new Problem("busy", `The reader took nothing for ${stall_ms / 1_000} s.`, {
        hint: "Connect again and resume.",
        retry_after_s: 1,
      }),
    );

  const body = new ReadableStream<Uint8Array>(
    {
      start(given) {
        controller = given;
      },
      async pull(given) {
        clearTimeout(stall);
        try {
          const piece = await source.next();
          if (ended) return;
          if (piece === null) {
            end(limit("request_idle_ms") / 1_000);
            return given.close();
          }
          given.enqueue(piece);
          stall = setTimeout(stalled, stall_ms);
        } catch (error) {
          fail(error);
        }
      },
      cancel() {
        end(limit("farewell_ms") / 1_000);
      },
    },
    { highWaterMark: 0 },
  );
  return { body, interrupt: fail };
}

/**
 * A piece that was read already and the rest of its generator, as a source; a failure breaks the connection.
 */
function sourceOf(first: Uint8Array, rest: AsyncGenerator<Uint8Array>, log: Log): Source {
  let ready: Uint8Array | null = first;
  return {
    async next() {
      if (ready !== null) {
        const piece = ready;
        ready = null;
        return piece;
      }
      const step = await rest.next();
      return step.done === true ? null : step.value;
    },
    farewell: () => null,
    close() {
      rest
        .return(undefined)
        .catch((error: unknown) => log.error("stream_close_failed", { cause: errorText(error) }));
    },
  };
}

/**
 * A response of NDJSON that streams pieces. The first is read before the response begins, so that an early
 * failure has its own status; without any, the body is empty and has no coding (no bytes at all are not a
 * zstd stream).
 */
export async function linesAnswer(
  call: Call,
  pieces: AsyncGenerator<Uint8Array>,
  headers: Record<string, string>,
  options: StreamOptions,
): Promise<Response> {
  const first = await pieces.next();
  const { "Content-Encoding": coding, ...others } = { "Content-Type": NDJSON, ...headers } as Record<
    string,
    string
  >;
  if (first.done === true) return new Response("", { headers: others });
  const { body } = openStream(call, sourceOf(first.value, pieces, options.log), options);
  return new Response(body, {
    headers: coding === undefined ? others : { ...others, "Content-Encoding": coding },
  });
}
