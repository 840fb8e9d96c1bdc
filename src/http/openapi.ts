/** The OpenAPI 3.1 document, made from the operations themselves, so that it says what the routes do. */
import { z } from "zod";
import { CLI_ONLY_CODES, type ErrorCode, ERRORS } from "../errors.ts";
import { LIMITS, limit } from "../limits.ts";
import { type JsonSchema, componentSchemas, schemaOf } from "./json-schema.ts";
import type { Operation, Outcome, Tag } from "./operation.ts";
import {
  BODY_PROBLEMS,
  COMMON_PROBLEMS,
  INTRODUCTION,
  PATH_PARAMETERS,
  REQUEST_HEADERS,
  RESPONSE_HEADERS,
  TAGS,
} from "./openapi-words.ts";
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

function queryParameter(name: string, parameter: Parameter<unknown, boolean>): JsonSchema {
  const { form, schema, description, required } = parameter;
  if (form === "single") return { name, in: "query", description, ...(required && { required }), schema };
  const values = { type: "array", items: schema, maxItems: limit("filter_values_count") };
  if (form === "many")
    return {
      name,
      in: "query",
      description: `${description}; repeat it for any of several`,
      schema: values,
      style: "form",
      explode: true,
    };
  // An exploded object of form style is written member=value: its member names are the parameter names.
  const keys = {
    type: "object",
    propertyNames: { pattern: `^${name}\\..{1,${limit("metadata_key_characters")}}$` },
    additionalProperties: { anyOf: [schema, values] },
  };
  return { name, in: "query", description, schema: keys, style: "form", explode: true };
}

function parametersOf(operation: Operation): JsonSchema[] {
  const in_path = [...operation.path.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => ({
    name,
    in: "path",
    required: true,
    ...PATH_PARAMETERS[name],
  }));
  const in_query = Object.entries(operation.query).map(([name, parameter]) =>
    queryParameter(name, parameter),
  );
  const in_header = (operation.headers ?? []).map((name) => ({
    name,
    in: "header",
    ...REQUEST_HEADERS[name],
  }));
  return [...in_path, ...in_query, ...in_header];
}

const headerRefs = (names: readonly string[]): JsonSchema =>
  Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]));

function contentOf(content: NonNullable<Outcome["content"]>): JsonSchema {
  return Object.fromEntries(
    Object.entries(content).map(([type, schema]) => [
      type,
      { schema: schema instanceof z.ZodType ? schemaOf(schema) : schema },
    ]),
  );
}

function outcomeResponse({ description, content, headers = [] }: Outcome): JsonSchema {
  return {
    description,
    headers: headerRefs(["Synthetic-Request-Id", ...headers]),
    ...(content && { content: contentOf(content) }),
  };
}

const PROBLEM_HEADERS: Record<number, readonly string[]> = {
  401: ["WWW-Authenticate"],
  405: ["Allow"],
  503: ["Retry-After"],
};

function problemResponse(status: number, codes: readonly ErrorCode[]): JsonSchema {
  return {
    description: codes.map((code) => `\`${code}\`: ${ERRORS[code].title}`).join(". "),
    headers: headerRefs(["Synthetic-Request-Id", ...(PROBLEM_HEADERS[status] ?? [])]),
    content: { "application/problem+json": { schema: schemaOf(ProblemDocument) } },
  };
}

/** A reference for each status, into the shared responses, which it fills. */
function problemReferences(
  codes: readonly ErrorCode[],
  shared: Record<string, JsonSchema>,
): Record<string, JsonSchema> {
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
  const codes = [
    ...problems,
    ...COMMON_PROBLEMS,
    ...(open ? [] : ["unauthorized" as const]),
    ...(body ? BODY_PROBLEMS : []),
    ...(operation.method === "get" ? [] : ["storage_full" as const]),
  ];
  const parameters = parametersOf(operation);
  return {
    operationId: name,
    tags: [tag],
    summary,
    ...(description !== undefined && { description }),
    ...(parameters.length > 0 && { parameters }),
    ...(body && {
      requestBody: { description: body.description, required: true, content: contentOf(body.content) },
    }),
    responses: {
      ...problemReferences(codes, shared),
      ...Object.fromEntries(outcomes.map((outcome) => [String(outcome.status), outcomeResponse(outcome)])),
    },
    ...(open && { security: [] }),
  };
}

/** The whole document. Every operation is in it, and nothing else. */
export function openApiDocument(operations: readonly Operation[], version: string): OpenApiDocument {
  const paths: OpenApiDocument["paths"] = {};
  const responses: Record<string, JsonSchema> = {};
  for (const operation of operations)
    (paths[operation.path] ??= {})[operation.method] = describe(operation, responses);
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
      securitySchemes: {
        token: {
          type: "http",
          scheme: "bearer",
          description: "The token of the data directory: `synthetic token` prints it",
        },
      },
    },
    "x-limits": LIMITS,
    "x-errors": Object.fromEntries(
      Object.entries(ERRORS)
        .filter(([code]) => !CLI_ONLY_CODES.includes(code as ErrorCode))
        .map(([code, { status, title, retryable, hint }]) => [code, { status, title, retryable, hint }]),
    ),
  };
}
