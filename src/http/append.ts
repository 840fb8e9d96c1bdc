/**
 * The route that appends: the hot path. Its body is documented by its schema and read by a reader of its own.
 */
import type { Context } from "../core/context.ts";
import { appendEntries } from "../core/append.ts";
import { createLane } from "../lib/lane.ts";
import { limit } from "../limits.ts";
import { AppendBody, AppendResult, EntryCreate, type SentEntry } from "../schema/entry.ts";
import { jsonAnswer } from "./answer.ts";
import { parseAppendJson, parseAppendNdjson } from "./append-body.ts";
import { type Call, idOf } from "./call.ts";
import type { Metrics } from "./metrics.ts";
import { bodyType } from "./negotiate.ts";
import { json, NDJSON, type Operation, operation } from "./operation.ts";
import { position } from "./parameter.ts";
import { limitedChunks, readBody } from "./request-body.ts";

const DESCRIPTION = [
  "All of them or none; the answer comes when they are on disk. Each `body` is kept byte for byte.",
  "With `after`, or with a `key` on each entry, a retry is harmless and answers 200 with `replayed`.",
  "After a 5xx the outcome is unknown: retry with the same `after` or `key`.",
  `Limits: ${limit("json_body_bytes")} bytes of JSON, ${limit("ndjson_body_bytes")} bytes of NDJSON,`,
  `${limit("entries_per_append_count")} entries, ${limit("entry_body_bytes")} bytes an entry.`,
].join(" ");

async function* counted(
  chunks: AsyncIterable<Uint8Array>,
  total: { bytes: number },
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    total.bytes += chunk.byteLength;
    yield chunk;
  }
}

/** The clients of a busy server all write at once; a health check is not to wait for all of them. */
const enter = createLane(limit("appends_per_turn_count"));

/** The entries of an append and the bytes that brought them. */
async function readSent(call: Call): Promise<{ sent: SentEntry[]; bytes: number }> {
  if (bodyType(call.request, ["application/json", NDJSON]) === NDJSON) {
    const total = { bytes: 0 };
    const sent = await parseAppendNdjson(
      counted(limitedChunks(call.request, limit("ndjson_body_bytes")), total),
    );
    return { sent, bytes: total.bytes };
  }
  const body = await readBody(call.request, limit("json_body_bytes"));
  await enter();
  return { sent: parseAppendJson(body), bytes: body.byteLength };
}

/** Appending to a session. */
export function appendOperation(context: Context, metrics: Metrics): Operation {
  return operation(
    {
      method: "post",
      path: "/v1/sessions/{id}/entries",
      name: "appendEntries",
      tag: "entries",
      summary: "Append entries",
      description: DESCRIPTION,
      query: { after: position("Append only when the session ends here") },
      body: {
        description: "JSON with all entries, or NDJSON with one entry a line",
        content: { "application/json": AppendBody, [NDJSON]: EntryCreate },
      },
      outcomes: [json(201, "Appended", AppendResult), json(200, "All of it was there before", AppendResult)],
      problems: ["not_found", "gone", "conflict", "malformed_body", "storage_full"],
    },
    async (call, { after }) => {
      const id = idOf(call);
      const { sent, bytes } = await readSent(call);
      const result = await appendEntries(context, id, sent, after);
      if (!result.replayed) metrics.countAppend(result.last_seq - result.first_seq + 1, bytes);
      return jsonAnswer(call, result, { status: result.replayed ? 200 : 201 });
    },
  );
}
