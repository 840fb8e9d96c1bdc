/**
 * Following a transcript by server-sent events. Every entry exactly once and in order; a reader that is cut
 * off, for whatever reason, resumes behind the last id that it has seen.
 */
import type { Context } from "../core/context.ts";
import type { Position } from "../core/append.ts";
import { createTailBatches, openTail, type Tail, type TailBatch } from "../core/tail.ts";
import { invalid, Problem } from "../errors.ts";
import type { Log } from "../lib/log.ts";
import { lineStarts } from "../lib/wire-line.ts";
import { limit } from "../limits.ts";
import { Entry, TailPosition } from "../schema/entry.ts";
import { type Call, idOf } from "./call.ts";
import { schemaOf } from "./json-schema.ts";
import { type Operation, operation } from "./operation.ts";
import { position, readPosition } from "./parameter.ts";
import { ProblemDocument, problemDocument } from "./problem.ts";
import type { DoorState } from "./state.ts";
import { openStream } from "./stream.ts";

export interface TailOptions {
  log: Log;
  tails_count: number;
  heartbeat_ms: number;
  stall_ms: number;
}

const encoder = new TextEncoder();
const HEARTBEAT = encoder.encode(":\n\n");
const NOTHING = new Uint8Array(0);
const EVENT_END = encoder.encode("\n");

const DESCRIPTION = [
  "Each entry is `id: GENERATION.SEQ`, `event: entry` and `data:` with the wire line; one over",
  `${limit("inline_item_bytes")} bytes comes as a preview. It begins behind \`Last-Event-ID\`, else behind \`after\`, else`,
  `at the start. A comment comes every ${limit("tail_heartbeat_ms") / 1_000} s. \`event: reset\` (data: TailPosition) comes`,
  "first when the position is of another generation: read the session again up to `last_seq`, the tail goes on",
  "from there. `event: error` (data: Problem) comes last: when it is retryable, connect again with the last id.",
  "Where a stream ends without it, connect again too.",
  `At most ${limit("tails_count")} tails are open at once; a reader that takes nothing for`,
  `${limit("tail_stall_ms") / 1_000} s is closed.`,
].join(" ");

/** What the data of each event is. */
const EVENTS = { entry: schemaOf(Entry), reset: schemaOf(TailPosition), error: schemaOf(ProblemDocument) };

/** The tail of a session. */
export function tailOperations(context: Context, state: DoorState, options: TailOptions): Operation[] {
  const batches = createTailBatches();
  return [
    operation(
      {
        method: "get",
        path: "/v1/sessions/{id}/tail",
        name: "tailSession",
        tag: "entries",
        summary: "Follow a session",
        description: DESCRIPTION,
        query: { after: position("Begin behind this entry") },
        headers: ["Last-Event-ID"],
        outcomes: [
          {
            status: 200,
            description: "Server-sent events",
            content: { "text/event-stream": { type: "string", "x-events": EVENTS } },
          },
        ],
        problems: ["not_found", "gone"],
      },
      async (call, { after }) => {
        const tail = await openTail(context, idOf(call), resumePosition(call) ?? after, batches);
        // Counted without a wait before the tail is among them: else many at once would all find room.
        if (state.tails.size >= options.tails_count) {
          tail.close();
          throw new Problem("busy", "Too many tails are open.", { retry_after_s: 5 });
        }
        const body = streamTail(call, tail, state, options);
        return new Response(body, {
          headers: {
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
          },
        });
      },
    ),
  ];
}

/** Errors: `invalid_request` when Last-Event-ID is not a position. */
function resumePosition(call: Call): Position | undefined {
  const given = call.request.headers.get("last-event-id");
  if (given === null) return undefined;
  const found = readPosition(given);
  if (found === null) throw invalid("Last-Event-ID", "SEQ or GENERATION.SEQ is expected.");
  return found;
}

function streamTail(
  call: Call,
  tail: Tail,
  state: DoorState,
  options: TailOptions,
): ReadableStream<Uint8Array> {
  // The server copies what it is given until the reader takes it, so a large event is given in pieces.
  let events = openingOf(tail);
  let sent = 0;
  const { body, interrupt } = openStream(
    call,
    {
      async next() {
        if (sent >= events.byteLength) {
          // Who waits holds nothing.
          events = NOTHING;
          sent = 0;
          const step = await tail.next(options.heartbeat_ms);
          events = step.step === "quiet" ? HEARTBEAT : eventsOf(tail.generation, step);
        }
        const piece = events.subarray(sent, sent + limit("tail_piece_bytes"));
        sent += piece.byteLength;
        return piece;
      },
      farewell(problem) {
        // In the middle of an event last words would become a part of it: it is broken off, and the reader resumes.
        if (sent > 0 && sent < events.byteLength) return null;
        const document = JSON.stringify(problemDocument(problem, call.request_id));
        return encoder.encode(`event: error\ndata: ${document}\n\n`);
      },
      close() {
        state.tails.delete(interrupt);
        tail.close();
      },
    },
    options,
  );
  state.tails.add(interrupt);
  return body;
}

function openingOf({ generation, reset }: Tail): Uint8Array {
  const retry = `retry: ${limit("tail_retry_ms")}\n\n`;
  if (reset === null) return encoder.encode(retry);
  const { last_seq, head } = reset;
  return encoder.encode(
    `${retry}id: ${generation}.${last_seq}\nevent: reset\ndata: ${JSON.stringify({ generation, last_seq, head })}\n\n`,
  );
}

/** The bytes of batches, which many tails send: made once, and forgotten with the batch. */
const encoded = new WeakMap<TailBatch, Uint8Array>();

function eventsOf(generation: string, batch: TailBatch): Uint8Array {
  const bytes = encoded.get(batch) ?? entryEvents(generation, batch);
  encoded.set(batch, bytes);
  return bytes;
}

/** The lines of a batch as events. A line ends with its newline, so that one more ends the event. */
function entryEvents(generation: string, { lines, first_seq }: TailBatch): Uint8Array {
  const starts = lineStarts(lines);
  const parts: Uint8Array[] = [];
  for (let index = 0; index + 1 < starts.length; index += 1) {
    parts.push(
      encoder.encode(`id: ${generation}.${first_seq + index}\nevent: entry\ndata: `),
      lines.subarray(starts[index], starts[index + 1]),
      EVENT_END,
    );
  }
  return Buffer.concat(parts);
}
