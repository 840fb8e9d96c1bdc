/** The lines of artifacts that are text: a page of them, the last ones, and those that come. */
import { openContent } from "../core/artifact.ts";
import type { Context } from "../core/context.ts";
import { type Follower, followLines, type TextLine } from "../core/follow.ts";
import { invalid, Problem } from "../errors.ts";
import { limit } from "../limits.ts";
import { ArtifactLine, ArtifactLines, ArtifactLinesEnd } from "../schema/artifact.ts";
import { jsonAnswer } from "./answer.ts";
import { type Call, idOf } from "./call.ts";
import { schemaOf } from "./json-schema.ts";
import { json, type Operation, operation } from "./operation.ts";
import { flag, whole, withDefault } from "./parameter.ts";
import { ProblemDocument, problemDocument } from "./problem.ts";
import type { DoorState } from "./state.ts";
import { openStream } from "./stream.ts";
import type { TailOptions } from "./tail.ts";

const encoder = new TextEncoder();
// A byte order mark in the middle of a log is a part of its line.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

const EVENTS = {
  line: schemaOf(ArtifactLine),
  end: schemaOf(ArtifactLinesEnd),
  error: schemaOf(ProblemDocument),
};

const QUERY = {
  from: whole("The first line, from 1", 1),
  tail: whole("The last lines instead", 1, limit("page_items_count")),
  count: whole(
    `At most so many lines (${limit("page_default_count")} when absent)`,
    1,
    limit("page_items_count"),
  ),
  follow: withDefault(flag("Server-sent events that go on while it grows"), false),
};

export function artifactLinesOperation(context: Context, state: DoorState, options: TailOptions): Operation {
  return operation(
    {
      method: "get",
      path: "/v1/artifacts/{id}/lines",
      name: "getArtifactLines",
      tag: "artifacts",
      summary: "Read an artifact by line",
      description: `A line longer than ${limit("text_line_bytes")} bytes is cut, and \`line_bytes\` tells its length. With \`follow=true\`: \`id: LINE\`, \`event: line\`; \`event: end\` when it is sealed and all was given. Resume by \`Last-Event-ID\`.`,
      query: QUERY,
      headers: ["Last-Event-ID"],
      outcomes: [
        {
          ...json(200, "Lines", ArtifactLines),
          content: {
            "application/json": ArtifactLines,
            "text/event-stream": { type: "string", "x-events": EVENTS },
          },
        },
      ],
      problems: ["not_found", "gone"],
    },
    async (call, { from, tail, count, follow }) => {
      if (from !== undefined && tail !== undefined)
        throw invalid("tail", "Either from or tail may be given.");
      const id = idOf(call);
      if (follow)
        return follower(
          call,
          context,
          state,
          options,
          resumeLine(call) ?? from ?? (await lineOfTail(context, id, tail)),
        );
      const range = {
        ...(tail === undefined ? { from: from ?? 1 } : { tail }),
        count: tail ?? count ?? limit("page_default_count"),
        max_bytes: limit("page_default_bytes"),
      };
      const { blob } = await openContent(context, id);
      try {
        const found = await blob.lines(range);
        return await jsonAnswer(call, {
          items: found.lines.map(toItem),
          total_lines_count: found.total_count,
          next_line: found.next_line,
        } satisfies ArtifactLines);
      } finally {
        await blob.close();
      }
    },
  );
}

function toItem({ number, bytes, line_bytes }: TextLine): ArtifactLine {
  return { line: number, text: decoder.decode(bytes), ...(line_bytes > bytes.byteLength && { line_bytes }) };
}

/** The line with which the last `tail` ones begin; the first without any. */
async function lineOfTail(context: Context, id: string, tail: number | undefined): Promise<number> {
  if (tail === undefined) return 1;
  const { blob } = await openContent(context, id);
  try {
    const { total_count } = await blob.lines({ tail: 1, count: 1, max_bytes: 1 });
    return Math.max(1, total_count - tail + 1);
  } finally {
    await blob.close();
  }
}

/** Errors: `invalid_request` when Last-Event-ID is not a line. */
function resumeLine(call: Call): number | undefined {
  const given = call.request.headers.get("last-event-id");
  if (given === null) return undefined;
  if (!/^\d{1,15}$/.test(given)) throw invalid("Last-Event-ID", "The number of a line is expected.");
  return Number(given) + 1;
}

async function follower(
  call: Call,
  context: Context,
  state: DoorState,
  options: TailOptions,
  from: number,
): Promise<Response> {
  const lines: Follower = await followLines(context, idOf(call), from);
  if (state.tails.size >= options.tails_count) {
    lines.close();
    throw new Problem("busy", "Too many tails are open.", { retry_after_s: 5 });
  }
  let opening: Uint8Array | null = encoder.encode(`retry: ${limit("tail_retry_ms")}\n\n`);
  let ended = false;
  const { body, interrupt } = openStream(
    call,
    {
      async next() {
        if (opening !== null) {
          const first = opening;
          opening = null;
          return first;
        }
        if (ended) return null;
        const step = await lines.next(options.heartbeat_ms);
        if (step.step === "quiet") return encoder.encode(":\n\n");
        if (step.step === "lines") return encoder.encode(step.lines.map(lineEvent).join(""));
        ended = true;
        const { sha256, size_bytes } = step.row;
        return encoder.encode(`event: end\ndata: ${JSON.stringify({ sha256, size_bytes })}\n\n`);
      },
      farewell: (problem) =>
        encoder.encode(
          `event: error\ndata: ${JSON.stringify(problemDocument(problem, call.request_id))}\n\n`,
        ),
      close() {
        state.tails.delete(interrupt);
        lines.close();
      },
    },
    options,
  );
  state.tails.add(interrupt);
  return new Response(body, {
    headers: { "Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no" },
  });
}

function lineEvent(line: TextLine): string {
  return `id: ${line.number}\nevent: line\ndata: ${JSON.stringify(toItem(line))}\n\n`;
}
