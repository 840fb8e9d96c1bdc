/** The OpenAPI 3.1 document, made from the operations themselves, so that it says what the routes do. */
import { z } from "@hono/zod-openapi";
import { CLI_ONLY_CODES, type ErrorCode, ERRORS } from "../errors.ts";
import { LIMITS, limit } from "../limits.ts";
import { Actor, Id } from "../schema/common.ts";
import { type JsonSchema, componentSchemas, schemaOf } from "./json-schema.ts";
import type { Operation, Outcome, RequestHeader, ResponseHeader, Tag } from "./operation.ts";
import type { Parameter } from "./parameter.ts";
import { ProblemDocument } from "./problem.ts";

export interface OpenApiDocument {
  openapi: string;
  info: { title: string; version: string; description: string };
  tags: { name: Tag; description: string }[];
  paths: Record<string, Record<string, JsonSchema>>;
  components: Record<string, JsonSchema>;
  [extension: string]: unknown;
}

const INTRODUCTION = `Durable memory for coding agents. A construct is one unit of work, its sessions are conversations, and a session's entries are its transcript.

Every create takes an optional \`id\`: whoever must be able to retry names the thing. A single resource has a strong \`ETag\`; PATCH and DELETE need it in \`If-Match\`. Lists are paged by \`cursor\`. Errors are \`application/problem+json\`; a program switches on \`code\`. Parameters and members that are not known are refused. A query may be ${limit("query_string_bytes")} bytes long, the body of a resource ${limit("resource_body_bytes")}; all limits are in \`x-limits\`.`;

const TAGS: Record<Tag, string> = {
  workspaces: "Projects that agents work on, usually repositories. One named `default` is always there",
  constructs: "Units of agent work, with their lifecycle. Also what is exported, retained and recovered together",
  sessions: "Conversations of agents inside a construct",
  entries: "The lines of a session's transcript, numbered from 1 without gaps",
  server: "The server itself",
};

const REQUEST_HEADERS: Record<RequestHeader, { required?: true; description: string; schema: JsonSchema }> = {
  "Synthetic-Actor": { description: "On whose behalf the change is made; kept with it", schema: { ...schemaOf(Actor), default: "user" } },
  "If-Match": { required: true, description: "The ETag that was read, a list of them, or `*`", schema: { type: "string" } },
  "If-None-Match": { description: "ETags that are known already: the answer is 304 when one is current", schema: { type: "string" } },
  Accept: { description: "`application/x-ndjson` for a stream, else a page", schema: { type: "string", default: "application/json" } },
  "Accept-Encoding": { description: "`zstd` for the stored frames as they are", schema: { type: "string" } },
  "Last-Event-ID": { description: "The id of the last event that was seen; wins over `after`", schema: { type: "string" } },
};

const RESPONSE_HEADERS: Record<ResponseHeader | "Synthetic-Request-Id" | "Retry-After" | "Allow" | "WWW-Authenticate", { description: string; schema: JsonSchema }> = {
  ETag: { description: "Strong entity tag; with the coding behind a semicolon when the answer is compressed", schema: { type: "string" } },
  Location: { description: "Path of the resource", schema: { type: "string" } },
  Link: { description: "The next page, `rel=\"next\"`", schema: { type: "string" } },
  "Content-Encoding": { description: "`zstd` or `gzip`, when Accept-Encoding asks for it and the answer is over 1 KiB", schema: { type: "string" } },
  Vary: { description: "The request headers that the answer depends on", schema: { type: "string" } },
  "Synthetic-Request-Id": { description: "Names the request in the log", schema: { type: "string", format: "uuid" } },
  "Retry-After": { description: "Seconds until the next try", schema: { type: "integer" } },
  Allow: { description: "The methods of this path", schema: { type: "string" } },
  "WWW-Authenticate": { description: "Bearer", schema: { type: "string" } },
};

const PATH_PARAMETERS: Record<string, { description: string; schema: JsonSchema }> = {
  id: { description: "UUID in lower case", schema: schemaOf(Id) },
  seq: { description: "Number of the entry", schema: { type: "integer", minimum: 1 } },
};

/** What any operation may answer with. */
const COMMON_PROBLEMS: readonly ErrorCode[] = ["invalid_request", "forbidden", "misdirected", "too_large", "busy", "unavailable", "integrity_failed", "internal"];
const BODY_PROBLEMS: readonly ErrorCode[] = ["malformed_body", "unsupported_media_type", "storage_full"];

function queryParameter(name: string, parameter: Parameter<unknown, boolean>): JsonSchema {
  const { form, schema, description } = parameter;
  if (form === "single") return { name, in: "query", description, schema };
  const values = { type: "array", items: schema, maxItems: limit("filter_values_count") };
  if (form === "many") return { name, in: "query", description: `${description}; repeat it for any of several`, schema: values, style: "form", explode: true };
  // An exploded object of form style is written member=value: its member names are the parameter names.
  const keys = { type: "object", propertyNames: { pattern: `^${name}\\..{1,${limit("metadata_key_characters")}}$` }, additionalProperties: { anyOf: [schema, values] } };
  return { name, in: "query", description, schema: keys, style: "form", explode: true };
}

function parametersOf(operation: Operation): JsonSchema[] {
  const in_path = [...operation.path.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => ({ name, in: "path", required: true, ...PATH_PARAMETERS[name] }));
  const in_query = Object.entries(operation.query).map(([name, parameter]) => queryParameter(name, parameter));
  const in_header = (operation.headers ?? []).map((name) => ({ name, in: "header", ...REQUEST_HEADERS[name] }));
  return [...in_path, ...in_query, ...in_header];
}

const headerRefs = (names: readonly string[]): JsonSchema => Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]));

function contentOf(content: NonNullable<Outcome["content"]>): JsonSchema {
  return Object.fromEntries(Object.entries(content).map(([type, schema]) => [type, { schema: schema instanceof z.ZodType ? schemaOf(schema) : schema }]));
}

function outcomeResponse({ description, content, headers = [] }: Outcome): JsonSchema {
  return { description, headers: headerRefs(["Synthetic-Request-Id", ...headers]), ...(content && { content: contentOf(content) }) };
}

const PROBLEM_HEADERS: Record<number, readonly string[]> = { 401: ["WWW-Authenticate"], 405: ["Allow"], 503: ["Retry-After"] };

function problemResponse(status: number, codes: readonly ErrorCode[]): JsonSchema {
  return {
    description: codes.map((code) => `\`${code}\`: ${ERRORS[code].title}`).join(". "),
    headers: headerRefs(["Synthetic-Request-Id", ...(PROBLEM_HEADERS[status] ?? [])]),
    content: { "application/problem+json": { schema: schemaOf(ProblemDocument) } },
  };
}

/** A reference for each status, into the shared responses, which it fills. */
function problemReferences(codes: readonly ErrorCode[], shared: Record<string, JsonSchema>): Record<string, JsonSchema> {
  const by_status = Map.groupBy(new Set(codes.toSorted()), (code) => ERRORS[code].status);
  return Object.fromEntries(
    [...by_status].map(([status, same]) => {
      const name = same.join("_or_");
      shared[name] ??= problemResponse(status, same);
      return [String(status), { $ref: `#/components/responses/${name}` }];
    }),
  );
}

function describe(operation: Operation, shared: Record<string, JsonSchema>): JsonSchema {
  const { name, tag, summary, description, open, body, outcomes, problems = [] } = operation;
  const codes = [...problems, ...COMMON_PROBLEMS, ...(open ? [] : ["unauthorized" as const]), ...(body ? BODY_PROBLEMS : [])];
  const parameters = parametersOf(operation);
  return {
    operationId: name,
    tags: [tag],
    summary,
    ...(description !== undefined && { description }),
    ...(parameters.length > 0 && { parameters }),
    ...(body && { requestBody: { description: body.description, required: true, content: contentOf(body.content) } }),
    responses: { ...problemReferences(codes, shared), ...Object.fromEntries(outcomes.map((outcome) => [String(outcome.status), outcomeResponse(outcome)])) },
    ...(open && { security: [] }),
  };
}

/** The whole document. Every operation is in it, and nothing else. */
export function openApiDocument(operations: readonly Operation[], version: string): OpenApiDocument {
  const paths: OpenApiDocument["paths"] = {};
  const responses: Record<string, JsonSchema> = {};
  for (const operation of operations) (paths[operation.path] ??= {})[operation.method] = describe(operation, responses);
  return {
    openapi: "3.1.0",
    info: { title: "synthetic", version, description: INTRODUCTION },
    servers: [{ url: "/" }],
    security: [{ token: [] }],
    tags: (Object.entries(TAGS) as [Tag, string][]).map(([name, description]) => ({ name, description })),
    paths,
    components: {
      schemas: componentSchemas([paths, schemaOf(ProblemDocument)]),
      responses,
      headers: RESPONSE_HEADERS,
      securitySchemes: { token: { type: "http", scheme: "bearer", description: "The token of the data directory: `synthetic token` prints it" } },
    },
    "x-limits": LIMITS,
    "x-errors": Object.fromEntries(
      Object.entries(ERRORS)
        .filter(([code]) => !CLI_ONLY_CODES.includes(code as ErrorCode))
        .map(([code, { status, title, retryable, hint }]) => [code, { status, title, retryable, hint }]),
    ),
  };
}
