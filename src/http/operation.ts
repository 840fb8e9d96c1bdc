/**
 * One operation of the API: its route, its documentation and what it does, declared in one place, so that no
 * route can exist without its entry in the OpenAPI document.
 */
import type { z } from "zod";
import type { ErrorCode } from "../errors.ts";
import type { Call } from "./call.ts";
import type { JsonSchema } from "./json-schema.ts";
import type { QueryOf, QueryShape } from "./parameter.ts";
import { readQuery } from "./query.ts";

export type Method = "get" | "post" | "put" | "patch" | "delete";
export type Tag = "workspaces" | "constructs" | "sessions" | "entries" | "artifacts" | "server";

export const NDJSON = "application/x-ndjson";

/** Response headers that the document knows. */
export type ResponseHeader =
  | "ETag"
  | "Location"
  | "Link"
  | "Content-Encoding"
  | "Vary"
  | "Accept-Ranges"
  | "Content-Range"
  | "Content-Disposition"
  | "Repr-Digest"
  | "Upload-Offset";

/** Request headers that an operation reads, beside those that all read. */
export type RequestHeader =
  | "Synthetic-Actor"
  | "If-Match"
  | "If-None-Match"
  | "If-Range"
  | "Range"
  | "Accept"
  | "Accept-Encoding"
  | "Last-Event-ID"
  | "Content-Digest"
  | "Upload-Offset";

/** A body that is text of its own format. */
interface StringSchema {
  type: "string";
  description?: string;
  /** Schemas of the data of server-sent events, by event. */
  "x-events"?: Record<string, JsonSchema>;
}

export interface Outcome {
  status: number;
  description: string;
  /** By media type. */
  content?: Record<string, z.ZodType | StringSchema>;
  headers?: readonly ResponseHeader[];
}

export interface BodySpec {
  description: string;
  content: Record<string, z.ZodType | StringSchema>;
}

interface Described {
  method: Method;
  /** With OpenAPI's parameters: `/v1/sessions/{id}`. */
  path: string;
  /** Unique; what a generated client calls the function. */
  name: string;
  tag: Tag;
  summary: string;
  description?: string;
  /** Needs no token. */
  open?: true;
  headers?: readonly RequestHeader[];
  body?: BodySpec;
  outcomes: readonly Outcome[];
  /** What can go wrong here, beside what can go wrong everywhere. */
  problems?: readonly ErrorCode[];
}

export interface Operation extends Described {
  query: QueryShape;
  run(call: Call): Response | Promise<Response>;
}

/** An operation whose query is read before it runs. */
export function operation<S extends QueryShape>(
  described: Described & { query?: S },
  run: (call: Call, query: QueryOf<S>) => Response | Promise<Response>,
): Operation {
  const query = described.query ?? ({} as S);
  return { ...described, query, run: (call) => run(call, readQuery(query, call.search)) };
}

/** An outcome of one JSON document. */
export function json(
  status: number,
  description: string,
  schema: z.ZodType,
  headers: readonly ResponseHeader[] = [],
): Outcome {
  return {
    status,
    description,
    content: { "application/json": schema },
    headers: [...headers, "Vary", "Content-Encoding"],
  };
}

/** An outcome without a body. */
export function empty(status: number, description: string, headers: readonly ResponseHeader[] = []): Outcome {
  return { status, description, headers };
}
