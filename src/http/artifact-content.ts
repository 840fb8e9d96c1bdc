/** The bytes of artifacts: whole, by range, as they are stored, and inert whatever they are. */
import { type Blob, type Content, openContent } from "../core/artifact.ts";
import type { Context } from "../core/context.ts";
import { Problem } from "../errors.ts";
import { limit } from "../limits.ts";
import { disposition, servedType } from "./artifact-type.ts";
import { type Call, idOf } from "./call.ts";
import { entityTag, isKnown, isSame } from "./conditional.ts";
import { digestField } from "./digest.ts";
import { streamCoding } from "./negotiate.ts";
import { empty, type Operation, operation } from "./operation.ts";
import { readRange } from "./range.ts";
import { openStream, type StreamOptions } from "./stream.ts";

const BYTES = { type: "string", description: "The bytes" } as const;

/** Nothing of an artifact ever runs: not as a page, not as a script, not inside a page of somebody else. */
const INERT = {
  "Content-Security-Policy": "default-src 'none'; sandbox",
  "Cross-Origin-Resource-Policy": "same-origin",
};

export function artifactContentOperation(context: Context, options: StreamOptions): Operation {
  return operation(
    {
      method: "get",
      path: "/v1/artifacts/{id}/content",
      name: "getArtifactContent",
      tag: "artifacts",
      summary: "Read the bytes of an artifact",
      description:
        "Ranges are of the decoded bytes. With `Accept-Encoding: zstd` one that is stored so is passed on as it lies. An open one is given as it stands, with its length in `Upload-Offset`.",
      headers: ["Range", "If-Range", "If-None-Match", "Accept-Encoding"],
      outcomes: [
        {
          status: 200,
          description: "The bytes",
          content: { "*/*": BYTES },
          headers: [
            "ETag",
            "Accept-Ranges",
            "Content-Encoding",
            "Content-Disposition",
            "Repr-Digest",
            "Upload-Offset",
            "Vary",
          ],
        },
        {
          status: 206,
          description: "The range",
          content: { "*/*": BYTES },
          headers: [
            "ETag",
            "Accept-Ranges",
            "Content-Range",
            "Content-Disposition",
            "Repr-Digest",
            "Upload-Offset",
            "Vary",
          ],
        },
        empty(304, "Not changed", ["ETag"]),
      ],
      problems: ["not_found", "gone", "range_not_satisfiable"],
    },
    async (call) => {
      const { row, blob } = await openContent(context, idOf(call));
      try {
        return await contentAnswer(call, row, blob, options);
      } catch (error) {
        await blob.close();
        throw error;
      }
    },
  );
}

/** Of sealed ones that were served before; rows are shared by all who ask before the next transaction. */
const known_headers = new WeakMap<Content, Headers>();

/** Shared: whoever adds to them makes a copy, as an answer does by itself. */
function commonHeaders(row: Content): Headers {
  let headers = known_headers.get(row);
  if (headers === undefined) {
    headers = new Headers(headerFields(row));
    if (row.sha256 !== null) known_headers.set(row, headers);
  }
  return headers;
}

function headerFields(row: Content): Record<string, string> {
  const type = servedType(row);
  const sealed = row.sha256 !== null;
  return {
    ...INERT,
    "Content-Type": type,
    "Content-Disposition": disposition(row.name, type),
    "Accept-Ranges": "bytes",
    Vary: "Accept-Encoding",
    "Cache-Control": sealed ? "private, max-age=31536000, immutable" : "no-store",
    ...(row.sha256 !== null && { ETag: entityTag(row.sha256), "Repr-Digest": digestField(row.sha256) }),
    ...(!sealed && { "Upload-Offset": String(row.size_bytes) }),
  };
}

async function contentAnswer(
  call: Call,
  row: Content,
  blob: Blob,
  options: StreamOptions,
): Promise<Response> {
  const { headers: asked } = call.request;
  const common = commonHeaders(row);
  if (row.sha256 !== null && isKnown(call.request, row.sha256)) {
    await blob.close();
    return new Response(null, { status: 304, headers: common });
  }
  // A range of what is meanwhile something else would not fit the part that the client has.
  const same = !asked.has("if-range") || (row.sha256 !== null && isSame(asked.get("if-range"), row.sha256));
  const range = same ? readRange(asked.get("range"), blob.size_bytes) : "whole";
  if (range === "unsatisfiable")
    throw new Problem("range_not_satisfiable", `The content is ${blob.size_bytes} bytes long.`, {
      content_range: `bytes */${blob.size_bytes}`,
    });
  if (range !== "whole") {
    const headers = new Headers(common);
    headers.set("Content-Range", `bytes ${range.start}-${range.end - 1}/${blob.size_bytes}`);
    return bytesAnswer(call, blob, range.start, range.end, { status: 206, headers }, options);
  }
  if (blob.encoding === "zstd" && streamCoding(call.request) === "zstd") {
    const headers = new Headers(common);
    headers.set("Content-Encoding", "zstd");
    if (row.sha256 !== null) headers.set("ETag", entityTag(row.sha256, "zstd"));
    return fileAnswer(blob, 0, blob.stored_bytes, { status: 200, headers });
  }
  return bytesAnswer(call, blob, 0, blob.size_bytes, { status: 200, headers: common }, options);
}

interface Head {
  status: number;
  headers: Headers;
}

/** Bodies of small files that are in memory: an answer with one of them copies nothing. */
const known_bodies = new WeakMap<Uint8Array, globalThis.Blob>();

function bodyOf(bytes: Uint8Array): globalThis.Blob {
  const known = known_bodies.get(bytes);
  if (known !== undefined) return known;
  const body = new globalThis.Blob([bytes]);
  known_bodies.set(bytes, body);
  return body;
}

/** Bytes of the file as it lies, which the kernel can send by itself; small ones are read at once. */
async function fileAnswer(blob: Blob, start: number, end: number, head: Head): Promise<Response> {
  if (end - start > limit("inline_artifact_bytes")) {
    await blob.close();
    return new Response(Bun.file(blob.path).slice(start, end), head);
  }
  if (blob.bytes !== undefined) {
    const body = bodyOf(blob.bytes);
    return new Response(end - start === body.size ? body : body.slice(start, end), head);
  }
  const parts: Uint8Array[] = [];
  const whole_zstd = blob.encoding === "zstd";
  for await (const piece of whole_zstd ? blob.stored() : blob.read(start, end)) parts.push(piece);
  await blob.close();
  return new Response(Buffer.concat(parts), head);
}

/** Decoded bytes [start, end). */
async function bytesAnswer(
  call: Call,
  blob: Blob,
  start: number,
  end: number,
  head: Head,
  options: StreamOptions,
): Promise<Response> {
  if (blob.encoding === "identity") return fileAnswer(blob, start, end, head);
  const pieces = blob.read(start, end);
  if (end - start <= limit("inline_artifact_bytes")) {
    const parts: Uint8Array[] = [];
    for await (const piece of pieces) parts.push(piece);
    await blob.close();
    return new Response(Buffer.concat(parts), head);
  }
  const { body } = openStream(
    call,
    {
      async next() {
        const step = await pieces.next();
        return step.done === true ? null : step.value;
      },
      farewell: () => null,
      close: () => void pieces.return(undefined).then(() => blob.close()),
    },
    options,
  );
  const headers = new Headers(head.headers);
  headers.set("Content-Length", String(end - start));
  return new Response(body, { status: head.status, headers });
}
