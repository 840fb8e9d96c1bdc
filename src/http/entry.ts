/**
 * Routes of transcripts: append, pages, single entries and whole streams. Entries pass through as bytes: what is
 * stored is what is served, and nothing here parses a body.
 */
import type { Context } from "../core/context.ts";
import { appendEntries, type EntriesPage, getEntry, pageEntries, streamEntries, streamTranscript } from "../core/entry.ts";
import { invalid } from "../errors.ts";
import type { Log } from "../lib/log.ts";
import { limit } from "../limits.ts";
import { AppendBody, AppendResult, Entry, EntryCreate, EntryKind, EntryPage, type SentEntry } from "../schema/entry.ts";
import { bodyAnswer, jsonAnswer, linkToNext, notModified } from "./answer.ts";
import { parseAppendJson, parseAppendNdjson } from "./append-body.ts";
import { type Call, idOf, seqOf } from "./call.ts";
import type { Metrics } from "./metrics.ts";
import { bodyType, namesZstd, prefersNdjson } from "./negotiate.ts";
import { empty, json, type Operation, operation } from "./operation.ts";
import { LIST_QUERY, many, position, type QueryOf, whole } from "./parameter.ts";
import { limitedChunks, readBody } from "./request-body.ts";
import { openStream, sourceOf } from "./stream.ts";

const ENTRIES = "/v1/sessions/{id}/entries";
const NDJSON = "application/x-ndjson";

export interface EntryOptions {
  log: Log;
  metrics: Metrics;
  /** A reader of a stream that takes nothing for this long is given up. */
  stall_ms: number;
}

/** All operations on entries, apart from the tail. */
export function entryOperations(context: Context, options: EntryOptions): Operation[] {
  return [appendOperation(context, options.metrics), listOperation(context, options), getOperation(context), transcriptOperation(context, options)];
}

async function* counted(chunks: AsyncIterable<Uint8Array>, total: { bytes: number }): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    total.bytes += chunk.byteLength;
    yield chunk;
  }
}

/** The entries of an append and the bytes that brought them. */
async function readSent(call: Call): Promise<{ sent: SentEntry[]; bytes: number }> {
  if (bodyType(call.request, ["application/json", NDJSON]) === NDJSON) {
    const total = { bytes: 0 };
    const sent = await parseAppendNdjson(counted(limitedChunks(call.request, limit("ndjson_body_bytes")), total));
    return { sent, bytes: total.bytes };
  }
  const body = await readBody(call.request, limit("json_body_bytes"));
  return { sent: parseAppendJson(body), bytes: body.byteLength };
}

function appendOperation(context: Context, metrics: Metrics): Operation {
  return operation(
    {
      method: "post",
      path: ENTRIES,
      name: "appendEntries",
      tag: "entries",
      summary: "Append entries",
      description: `All of them or none; the answer comes when they are on disk. Each \`body\` is kept byte for byte. With \`after\`, or with a \`key\` on each entry, a retry is harmless and answers 200 with \`replayed\`. After a 5xx the outcome is unknown: retry with the same \`after\` or \`key\`. Limits: ${limit("json_body_bytes")} bytes of JSON, ${limit("ndjson_body_bytes")} bytes of NDJSON, ${limit("entries_per_append_count")} entries, ${limit("entry_body_bytes")} bytes an entry.`,
      query: { after: position("Append only when the session ends here") },
      body: { description: "JSON with all entries, or NDJSON with one entry a line", content: { "application/json": AppendBody, [NDJSON]: EntryCreate } },
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

const LIST = {
  after: whole("Entries behind this seq", 0),
  before: whole("Entries ahead of this seq, the nearest ones", 1),
  around: whole("Half a page on each side of this seq", 1),
  cursor: LIST_QUERY.cursor,
  limit: whole(`How many entries at most: 1 to ${limit("page_items_count")} for a page (${limit("page_default_count")} when absent), any number for a stream`, 1),
  max_bytes: whole(`How many bytes of entries a page holds at most (${limit("page_default_bytes")} when absent); one entry is always given`, 1, limit("page_bytes")),
  kind: many(EntryKind, "Only entries of this kind"),
};

function listOperation(context: Context, options: EntryOptions): Operation {
  return operation(
    {
      method: "get",
      path: ENTRIES,
      name: "listEntries",
      tag: "entries",
      summary: "Read entries, ascending",
      description: `A page of JSON, in which an entry over ${limit("inline_item_bytes")} bytes has \`body: null\`, \`body_bytes\` and a \`preview\`; a filtered page may be empty and still have a \`next_cursor\`. At most one of \`after\`, \`before\`, \`around\` and \`cursor\`. With \`Accept: application/x-ndjson\` a stream of the range between \`after\` and \`before\`, bodies whole, as it stands now.`,
      query: LIST,
      headers: ["Accept"],
      outcomes: [{ ...json(200, "A page, or a stream of entries", EntryPage, ["Link"]), content: { "application/json": EntryPage, [NDJSON]: Entry } }],
      problems: ["not_found", "gone"],
    },
    (call, query) => (prefersNdjson(call.request) ? streamRange(context, call, query, options) : answerPage(context, call, query)),
  );
}

async function answerPage(context: Context, call: Call, query: QueryOf<typeof LIST>): Promise<Response> {
  const id = idOf(call);
  const { kind, limit: asked = limit("page_default_count"), max_bytes = limit("page_default_bytes"), ...place } = query;
  if (asked > limit("page_items_count")) throw invalid("limit", `A page has at most ${limit("page_items_count")} entries.`);
  const page = await pageEntries(context, id, { ...place, limit: asked, max_bytes, ...(kind && { kinds: kind }) });
  const headers = { ...linkToNext(call, page.next_cursor, `/v1/sessions/${id}/entries`), Vary: "Accept, Accept-Encoding" };
  return bodyAnswer(call, pageBytes(page), { headers });
}

const encoder = new TextEncoder();
const PAGE_START = encoder.encode('{"items":[');
const [NEWLINE, COMMA] = [10, 44];

/** A page as JSON: its lines joined with commas, as bytes (2.8–3.1 times as fast as parse and stringify, facts.md 15). */
function pageBytes({ pieces, ...members }: EntriesPage): Uint8Array<ArrayBuffer> {
  const end = encoder.encode(`],${JSON.stringify(members).slice(1)}`);
  const lines_bytes = pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
  // The newline of the last line is overwritten by the end.
  const end_at = PAGE_START.byteLength + Math.max(0, lines_bytes - 1);
  const out = new Uint8Array(end_at + end.byteLength);
  out.set(PAGE_START);
  let at = PAGE_START.byteLength;
  for (const piece of pieces) {
    out.set(piece, at);
    at += piece.byteLength;
  }
  for (let line_end = out.indexOf(NEWLINE, PAGE_START.byteLength); line_end !== -1; line_end = out.indexOf(NEWLINE, line_end + 1)) out[line_end] = COMMA;
  out.set(end, end_at);
  return out;
}

async function streamRange(context: Context, call: Call, query: QueryOf<typeof LIST>, options: EntryOptions): Promise<Response> {
  for (const name of ["around", "cursor", "max_bytes"] as const) {
    if (query[name] !== undefined) throw invalid(name, "A stream takes after, before, limit and kind only.");
  }
  const { after, before, kind, limit: asked } = query;
  const range = { ...(after !== undefined && { after }), ...(before !== undefined && { before }), ...(asked !== undefined && { limit: asked }), ...(kind && { kinds: kind }) };
  return streamLines(call, await streamEntries(context, idOf(call), range), { Vary: "Accept, Accept-Encoding" }, options);
}

/**
 * The response that streams pieces. The first is read before the response begins, so that an early failure has its
 * own status; without any, the body is empty and has no coding (no bytes at all are not a zstd stream).
 */
async function streamLines(call: Call, pieces: AsyncGenerator<Uint8Array>, headers: Record<string, string>, { log, stall_ms }: EntryOptions): Promise<Response> {
  const first = await pieces.next();
  const { "Content-Encoding": coding, ...others } = { "Content-Type": NDJSON, ...headers } as Record<string, string>;
  if (first.done === true) return new Response("", { headers: others });
  const { body } = openStream(call, sourceOf(first.value, pieces, log), { log, stall_ms });
  return new Response(body, { headers: coding === undefined ? others : { ...others, "Content-Encoding": coding } });
}

function getOperation(context: Context): Operation {
  return operation(
    {
      method: "get",
      path: `${ENTRIES}/{seq}`,
      name: "getEntry",
      tag: "entries",
      summary: "Read one entry, whole",
      description: "An entry never changes; its tag is GENERATION.SEQ.",
      headers: ["If-None-Match"],
      outcomes: [json(200, "The entry", Entry, ["ETag"]), empty(304, "Not changed", ["ETag"])],
      problems: ["not_found", "gone"],
    },
    async (call) => {
      const seq = seqOf(call);
      const line = await getEntry(context, idOf(call), seq);
      const tag = `${context.store.generation}.${seq}`;
      return notModified(call, tag) ?? bodyAnswer(call, line as Uint8Array<ArrayBuffer>, { tag });
    },
  );
}

function transcriptOperation(context: Context, options: EntryOptions): Operation {
  return operation(
    {
      method: "get",
      path: "/v1/sessions/{id}/transcript",
      name: "getTranscript",
      tag: "entries",
      summary: "Stream the whole transcript as it stands now",
      description: "NDJSON, one entry a line. With `Accept-Encoding: zstd` the stored frames are passed on untouched, which is many times faster; the body is then several zstd frames in a row.",
      headers: ["Accept-Encoding"],
      outcomes: [{ status: 200, description: "The entries", content: { [NDJSON]: Entry }, headers: ["Vary", "Content-Encoding"] }],
      problems: ["not_found", "gone"],
    },
    async (call) => {
      const coding = namesZstd(call.request) ? "zstd" : "identity";
      const pieces = await streamTranscript(context, idOf(call), coding);
      const headers = { Vary: "Accept-Encoding", ...(coding === "zstd" && { "Content-Encoding": coding }) };
      return streamLines(call, pieces, headers, options);
    },
  );
}
