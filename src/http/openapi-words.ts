/** The words of the OpenAPI document that no single operation owns: its introduction, tags and headers. */
import type { ErrorCode } from "../errors.ts";
import { limit } from "../limits.ts";
import { Actor, Id } from "../schema/common.ts";
import { type JsonSchema, schemaOf } from "./json-schema.ts";
import type { RequestHeader, ResponseHeader, Tag } from "./operation.ts";

export const INTRODUCTION = [
  "Durable memory for coding agents. A construct is one unit of work, its sessions are conversations, and a",
  "session's entries are its transcript.\n\nEvery create takes an optional `id`: whoever must be able to retry",
  "names the thing. A single resource has a strong `ETag`; PATCH and DELETE need it in `If-Match`. Lists are",
  "paged by `cursor`. Errors are `application/problem+json`; a program switches on `code`. Parameters and members",
  `that are not known are refused. A query may be ${limit("query_string_bytes")} bytes long, the body of a resource`,
  `${limit("resource_body_bytes")}; all limits are in \`x-limits\`.`,
].join(" ");

export const TAGS: Record<Tag, string> = {
  workspaces: "Projects that agents work on, usually repositories. One named `default` is always there",
  constructs:
    "Units of agent work, with their lifecycle. Also what is exported, retained and recovered together",
  sessions: "Conversations of agents inside a construct",
  entries: "The lines of a session's transcript, numbered from 1 without gaps",
  artifacts:
    "Files that belong to a construct: diffs, logs, reports, images. Their bytes are named by their digest",
  server: "The server itself",
};

export const REQUEST_HEADERS: Record<
  RequestHeader,
  { required?: true; description: string; schema: JsonSchema }
> = {
  "Synthetic-Actor": {
    description: "On whose behalf the change is made; kept with it",
    schema: { ...schemaOf(Actor), default: "user" },
  },
  "If-Match": {
    required: true,
    description: "The ETag that was read, a list of them, or `*`",
    schema: { type: "string" },
  },
  "If-None-Match": {
    description: "ETags that are known already: the answer is 304 when one is current",
    schema: { type: "string" },
  },
  "If-Range": {
    description: "The ETag of the part that the client has; with another one the whole is given",
    schema: { type: "string" },
  },
  Range: { description: "`bytes=FIRST-LAST`, one range of the decoded bytes", schema: { type: "string" } },
  "Content-Digest": {
    description: "`sha-256=:BASE64:` of the body; other bytes are refused",
    schema: { type: "string" },
  },
  "Upload-Offset": {
    required: true,
    description: "The length of the artifact, where the bytes go",
    schema: { type: "integer", minimum: 0 },
  },
  Accept: {
    description: "`application/x-ndjson` for a stream, else a page",
    schema: { type: "string", default: "application/json" },
  },
  "Accept-Encoding": { description: "`zstd` for the stored frames as they are", schema: { type: "string" } },
  "Last-Event-ID": {
    description: "The id of the last event that was seen; wins over `after`",
    schema: { type: "string" },
  },
};

export const RESPONSE_HEADERS: Record<
  ResponseHeader | "Synthetic-Request-Id" | "Retry-After" | "Allow" | "WWW-Authenticate",
  { description: string; schema: JsonSchema }
> = {
  ETag: {
    description: "Strong entity tag; with the coding behind a semicolon when the answer is compressed",
    schema: { type: "string" },
  },
  Location: { description: "Path of the resource", schema: { type: "string" } },
  Link: { description: 'The next page, `rel="next"`', schema: { type: "string" } },
  "Content-Encoding": {
    description: "`zstd` or `gzip`, when Accept-Encoding asks for it and the answer is over 1 KiB",
    schema: { type: "string" },
  },
  "Accept-Ranges": { description: "`bytes`", schema: { type: "string" } },
  "Content-Range": {
    description: "The range that is given, and the length of the whole",
    schema: { type: "string" },
  },
  "Content-Disposition": {
    description: "Whether it is shown or saved, and its name",
    schema: { type: "string" },
  },
  "Repr-Digest": { description: "`sha-256=:BASE64:` of the decoded bytes", schema: { type: "string" } },
  "Upload-Offset": { description: "The length of an artifact that grows", schema: { type: "integer" } },
  Vary: { description: "The request headers that the answer depends on", schema: { type: "string" } },
  "Synthetic-Request-Id": {
    description: "Names the request in the log",
    schema: { type: "string", format: "uuid" },
  },
  "Retry-After": { description: "Seconds until the next try", schema: { type: "integer" } },
  Allow: { description: "The methods of this path", schema: { type: "string" } },
  "WWW-Authenticate": { description: "Bearer", schema: { type: "string" } },
};

export const PATH_PARAMETERS: Record<string, { description: string; schema: JsonSchema }> = {
  id: { description: "UUID in lower case", schema: schemaOf(Id) },
  seq: { description: "Number of the entry", schema: { type: "integer", minimum: 1 } },
};

/** What any operation may answer with. */
export const COMMON_PROBLEMS: readonly ErrorCode[] = [
  "invalid_request",
  "forbidden",
  "misdirected",
  "too_large",
  "busy",
  "unavailable",
  "integrity_failed",
  "internal",
];
export const BODY_PROBLEMS: readonly ErrorCode[] = [
  "malformed_body",
  "unsupported_media_type",
  "storage_full",
];
