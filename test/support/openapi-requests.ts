/** Requests that an OpenAPI document describes, made up by seeded chance, and how they are written down as bytes. */
import addFormats from "ajv-formats";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import { DEFAULT_WORKSPACE_ID } from "../../src/lib/ids.ts";
import type { Random } from "./campaign.ts";
import { type Schema, type Values, sample, toText } from "./schema-values.ts";
import type { Server } from "./server.ts";

interface ParameterDoc {
  name: string;
  in: "path" | "query" | "header";
  required?: boolean;
  schema: Schema;
}

interface OperationDoc {
  operationId: string;
  parameters?: ParameterDoc[];
  requestBody?: { content: Record<string, { schema: Schema }> };
  responses: Record<string, { content?: Record<string, { schema: Schema }> }>;
}

export interface Document extends Schema {
  paths: Record<string, Record<string, OperationDoc>>;
  components: { schemas: Record<string, Schema> };
  "x-errors": Record<string, { status: number }>;
}

export interface Operation {
  method: string;
  path: string;
  doc: OperationDoc;
}

/** A request before it is written down; hostile steps change it. */
export interface Request {
  operation: Operation;
  method: string;
  /** As they are written, not encoded any further. */
  path: string;
  query: [name: string, value: string][];
  /** Appended to the target as it is. */
  tail: string;
  version: string;
  headers: [name: string, value: string][];
  body: Uint8Array | null;
  /** The answer has to be one that the operation documents. */
  documented: boolean;
  /** What goes over the wire is no HTTP request, so that the server may do what it likes, short of a 5xx. */
  broken: boolean;
  /** What was done to it. */
  steps: string[];
}

/** Ids of things that were made, by the plural of their noun. */
type Pools = Map<string, string[]>;

export class Fuzz {
  readonly failures: string[] = [];
  readonly statuses = new Map<string, number>();
  readonly succeeded = new Set<string>();
  readonly pools: Pools = new Map([
    ["workspaces", [DEFAULT_WORKSPACE_ID]],
    ["constructs", []],
    ["sessions", []],
    ["artifacts", []],
    ["open artifacts", []],
  ]);
  readonly validators = new Map<string, ValidateFunction>();
  readonly ajv: Ajv2020;
  readonly server: Server;
  readonly document: Document;
  readonly port: number;
  requests = 0;

  constructor(server: Server, document: Document) {
    this.server = server;
    this.document = document;
    this.port = Number(new URL(server.url).port);
    this.ajv = new Ajv2020({ strict: false, validateSchema: false, logger: false });
    addFormats.default(this.ajv);
  }

  /** The validator of a schema of the document, which may refer into it. */
  validator(key: string, schema: Schema): ValidateFunction {
    let found = this.validators.get(key);
    if (found === undefined) {
      found = this.ajv.compile({ allOf: [schema], components: this.document.components });
      this.validators.set(key, found);
    }
    return found;
  }
}

export function collectionOf(path: string): string {
  return path.split("/")[2] ?? "";
}

/** Only what grows can be appended to. */
function poolOf({ doc, path }: Operation, random: Random): string {
  if (doc.operationId === "appendToArtifact" && random.chance(0.8)) return "open artifacts";
  return collectionOf(path);
}

function someId(fuzz: Fuzz, random: Random, pool: string): string {
  const known = fuzz.pools.get(pool) ?? [];
  return known.length === 0 || random.chance(0.08) ? crypto.randomUUID() : random.pick(known);
}

function valuesOf(fuzz: Fuzz, random: Random): Values {
  return {
    random,
    document: fuzz.document,
    named(name) {
      if (name === "construct_id") return someId(fuzz, random, "constructs");
      if (name === "workspace_id")
        return random.chance(0.7) ? DEFAULT_WORKSPACE_ID : someId(fuzz, random, "workspaces");
      if (name === "parent_id") return random.chance(0.8) ? null : someId(fuzz, random, "sessions");
      if (name === "name") return `${random.pick(["repo", "Ä", "w"])}-${random.int(1_000_000)}`;
      if (name === "key") return `k${random.int(50)}`;
      return undefined;
    },
  };
}

function headerValue(fuzz: Fuzz, random: Random, { name, schema }: ParameterDoc): string {
  if (name === "If-Match") return random.pick(["*", "*", '"r1"', '"r1", "r2"', '"r1-s3;zstd"']);
  if (name === "If-None-Match") return random.pick(['"r1"', "*", '"nothing"', 'W/"r1"']);
  if (name === "Accept")
    return random.pick([
      "application/json",
      "application/x-ndjson",
      "*/*",
      "application/x-ndjson;q=0.5, application/json",
    ]);
  if (name === "Accept-Encoding") return random.pick(["zstd", "gzip", "identity", "gzip, zstd;q=0.5", "*"]);
  if (name === "Upload-Offset") return String(random.pick([0, 0, 0, 3, 10]));
  if (name === "Content-Digest")
    return random.pick([
      "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
      "md5=:x:",
      "sha-256=:short:",
    ]);
  if (name === "Range")
    return random.pick(["bytes=0-3", "bytes=2-", "bytes=-2", "bytes=99-", "bytes=0-1,3-4", "x=1"]);
  if (name === "If-Range") return random.pick(['"x"', "Wed, 21 Oct 2015 07:28:00 GMT"]);
  if (name === "Last-Event-ID") return random.pick(["0", "1", `${crypto.randomUUID()}.3`]);
  return String(sample(valuesOf(fuzz, random), schema));
}

function queryPairs(fuzz: Fuzz, random: Random, { name, schema }: ParameterDoc): [string, string][] {
  const values = valuesOf(fuzz, random);
  if (schema["type"] === "array")
    return ([sample(values, schema)].flat() as unknown[]).map((value) => [
      name,
      String(name === "construct_id" ? someId(fuzz, random, "constructs") : value),
    ]);
  if (schema["type"] === "object")
    return [[`${name}.${random.pick(["team1", "ticket2", "é"])}`, random.pick(["a", "", "é b"])]];
  // A cursor is only ever one that was given.
  if (name === "cursor") return [];
  if (["after", "before", "around"].includes(name)) return [[name, String(1 + random.int(6))]];
  if (name === "construct_id") return [[name, someId(fuzz, random, "constructs")]];
  if (name === "session_id") return [[name, someId(fuzz, random, "sessions")]];
  return [[name, String(sample(values, schema))]];
}

/** Parameters of which only one may be given. */
const PLACES = new Set(["after", "before", "around"]);

export function describedRequest(fuzz: Fuzz, random: Random, operation: Operation): Request {
  const { doc } = operation;
  const parameters = doc.parameters ?? [];
  // A PUT makes the thing, so its id is mostly a new one.
  const idFor = (): string =>
    operation.method === "put" && random.chance(0.8)
      ? crypto.randomUUID()
      : someId(fuzz, random, poolOf(operation, random));
  const path = operation.path.replaceAll(/\{(\w+)\}/g, (_, name: string) =>
    name === "seq" ? String(1 + random.int(5)) : idFor(),
  );
  const place = random.pick([...PLACES]);
  const query = parameters
    .filter(
      ({ in: where, name, required }) =>
        where === "query" &&
        (required === true || random.chance(name === "open" ? 0.6 : 0.15)) &&
        (!PLACES.has(name) || name === place),
    )
    .flatMap((parameter) => queryPairs(fuzz, random, parameter))
    .map(([name, value]): [string, string] => [encodeURIComponent(name), encodeURIComponent(value)]);
  const headers: [string, string][] = [
    ["host", "127.0.0.1"],
    ["authorization", `Bearer ${fuzz.server.token}`],
    ["connection", "close"],
  ];
  for (const parameter of parameters)
    if (parameter.in === "header" && (parameter.required === true || random.chance(0.3)))
      headers.push([parameter.name.toLowerCase(), headerValue(fuzz, random, parameter)]);
  if (random.chance(0.2) && !headers.some(([name]) => name === "accept-encoding"))
    headers.push(["accept-encoding", random.pick(["zstd", "gzip", "gzip, zstd", "br", "*;q=0", "identity"])]);
  const request: Request = {
    operation,
    method: operation.method.toUpperCase(),
    path,
    query,
    tail: "",
    version: "HTTP/1.1",
    headers,
    body: null,
    documented: true,
    broken: false,
    steps: [],
  };
  addDescribedBody(fuzz, random, request);
  return request;
}

/** The media type and the value that a body is made of; NDJSON has several. */
export function addDescribedBody(
  fuzz: Fuzz,
  random: Random,
  request: Request,
  change: (value: unknown) => unknown = (value) => value,
): void {
  const content = request.operation.doc.requestBody?.content;
  if (content === undefined) return;
  const type = random.pick(Object.keys(content));
  if (type === "application/octet-stream") {
    request.body = Buffer.from(random.pick(["", "a\nb\n", "\0\xff", "line\n".repeat(2_000)]), "latin1");
    return;
  }
  const make = (): unknown => {
    const value = sample(valuesOf(fuzz, random), content[type]?.schema ?? {}) as Record<string, unknown>;
    // A PUT that names another id than its path is refused; mostly it names none.
    if (request.method === "PUT" && random.chance(0.8)) delete value["id"];
    return value;
  };
  const text =
    type === "application/x-ndjson"
      ? Array.from({ length: 1 + random.int(4) }, () => toText(change(make())).replaceAll("\n", " ")).join(
          "\n",
        )
      : toText(change(make()));
  request.headers = [...request.headers.filter(([name]) => name !== "content-type"), ["content-type", type]];
  request.body = Buffer.from(text);
}

/** Percent-encodes what a query cannot hold, and leaves alone what is encoded or hostile already. */
function queryText(request: Request): string {
  const encode = (text: string): string =>
    text.replaceAll(/[^!-~]|[&#+]/gu, (found) => encodeURIComponent(found.toWellFormed()));
  return request.query.map(([name, value]) => `${encode(name)}=${encode(value)}`).join("&");
}

export function bytesOf(request: Request): Uint8Array {
  const { method, path, tail, version, headers, body } = request;
  const query = queryText(request);
  const target = tail !== "" ? `${path}${tail}${query}` : query === "" ? path : `${path}?${query}`;
  const has_length = headers.some(([name]) => name === "content-length" || name === "transfer-encoding");
  const all =
    has_length || body === null
      ? headers
      : [...headers, ["content-length", String(body.byteLength)] as const];
  const chunked = headers.some(([name, value]) => name === "transfer-encoding" && value === "chunked");
  const content =
    chunked && body !== null
      ? Buffer.concat([
          Buffer.from(`${body.byteLength.toString(16)}\r\n`),
          body,
          Buffer.from("\r\n0\r\n\r\n"),
        ])
      : (body ?? new Uint8Array());
  return Buffer.concat([
    Buffer.from(
      `${method} ${target}${version === "" ? "" : " "}${version}\r\n${all.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`,
    ),
    content,
  ]);
}

export function shown(request: Request): string {
  const text = Buffer.from(bytesOf(request))
    .toString("latin1")
    .replace(/authorization: Bearer [^\r]{20,}/, "authorization: Bearer TOKEN");
  return JSON.stringify(
    text.length > 700 ? `${text.slice(0, 350)}…${text.length}…${text.slice(-250)}` : text,
  );
}
