/** Successful answers of finished text: JSON with its entity tag, compressed when that was asked for. */
import { pipeline, Readable } from "node:stream";
import { promisify } from "node:util";
import { constants, createGzip, gzip, zstdCompress } from "node:zlib";
import type { Created } from "../core/create.ts";
import type { Call } from "./call.ts";
import { entityTag, isKnown } from "./conditional.ts";
import { acceptedCoding, type Coding } from "./negotiate.ts";

/** Contract §2: answers over 1 KB are compressed. Below it the coding's own bytes eat what it saves. */
const COMPRESSED_FROM_BYTES = 1_024;

const compressors = { zstd: promisify(zstdCompress), gzip: promisify(gzip) };

export interface AnswerOptions {
  status?: number;
  /** The base of the strong entity tag; with one the answer may be kept, and is asked for again each time. */
  tag?: string;
  headers?: Record<string, string>;
}

function headersOf(options: AnswerOptions, coding: Coding): Record<string, string> {
  const headers: Record<string, string> = {
    "Content-Type": "application/json",
    Vary: "Accept-Encoding",
    ...options.headers,
  };
  if (options.tag !== undefined) {
    headers["ETag"] = entityTag(options.tag, coding);
    headers["Cache-Control"] = "private, no-cache";
  }
  if (coding !== "identity") headers["Content-Encoding"] = coding;
  return headers;
}

async function compressed(
  body: string | Uint8Array,
  options: AnswerOptions,
  coding: "zstd" | "gzip",
): Promise<Response> {
  const bytes = await compressors[coding](body);
  return new Response(bytes, {
    status: options.status ?? 200,
    headers: headersOf(options, coding),
  });
}

/** Each piece as a zstd frame of its own, which together are one zstd stream. */
export async function* zstdFrames(pieces: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) yield compressors.zstd(piece);
}

/** One gzip stream of all pieces, each of which can be read as soon as it came. Compression runs on the thread pool. */
export async function* gzipped(pieces: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array> {
  const zip = createGzip({ flush: constants.Z_SYNC_FLUSH });
  // What fails here fails the reading below.
  pipeline(Readable.from(pieces), zip, () => undefined);
  for await (const chunk of zip) yield chunk as Uint8Array;
}

/** An answer of finished text or bytes. Compression runs on the thread pool. */
export function bodyAnswer(
  call: Call,
  body: string | Uint8Array<ArrayBuffer>,
  options: AnswerOptions = {},
): Response | Promise<Response> {
  // The length of a string is at most its length in bytes: a short text of wide characters may stay as it is.
  if (body.length > COMPRESSED_FROM_BYTES) {
    const coding = acceptedCoding(call.request);
    if (coding !== "identity") return compressed(body, options, coding);
  }
  return new Response(body, { status: options.status ?? 200, headers: headersOf(options, "identity") });
}

/** An answer of one JSON value. */
export function jsonAnswer(
  call: Call,
  value: unknown,
  options: AnswerOptions = {},
): Response | Promise<Response> {
  return bodyAnswer(call, JSON.stringify(value), options);
}

/**
 * One resource that is read: 304 without a body when If-None-Match names its state. Errors:
 * `invalid_request`.
 */
export function resourceAnswer(call: Call, row: unknown, tag: string): Response | Promise<Response> {
  return notModified(call, tag) ?? jsonAnswer(call, row, { tag });
}

/** The 304, or null when the whole answer is due. It carries the tag that an uncompressed answer would. */
export function notModified(call: Call, tag: string): Response | null {
  if (!isKnown(call.request, tag)) return null;
  return new Response(null, {
    status: 304,
    headers: { ETag: entityTag(tag), "Cache-Control": "private, no-cache", Vary: "Accept-Encoding" },
  });
}

/** A create: 201 with Location, or 200 when the same create was done before. */
export function createdAnswer<Row extends { id: string }>(
  call: Call,
  created: Created<Row>,
  collection: string,
  tagOf: (row: Row) => string,
): Response | Promise<Response> {
  const { row } = created;
  return jsonAnswer(call, row, {
    status: created.created ? 201 : 200,
    tag: tagOf(row),
    headers: { Location: `${collection}/${row.id}` },
  });
}

/** One page of a list, with a Link to the next one. */
export function pageAnswer(
  call: Call,
  page: { next_cursor: string | null },
  collection: string,
): Response | Promise<Response> {
  return jsonAnswer(call, page, { headers: linkToNext(call, page.next_cursor, collection) });
}

/** The Link header (RFC 8288) to the page behind a cursor: the same query with that cursor. */
export function linkToNext(call: Call, next_cursor: string | null, path: string): Record<string, string> {
  if (next_cursor === null) return {};
  const query = new URLSearchParams(call.search);
  for (const name of ["cursor", "after", "before", "around"]) query.delete(name);
  query.set("cursor", next_cursor);
  return { Link: `<${path}?${query.toString()}>; rel="next"` };
}
