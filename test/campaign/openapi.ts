/**
 * Every operation of the OpenAPI document, with requests that it describes and with hostile ones. No answer is a 5xx,
 * each has a documented status and type, its body is what the document says, and errors tell nothing of the inside.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import addFormats from "ajv-formats";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import { DEFAULT_WORKSPACE_ID } from "../../src/lib/ids.ts";
import { type CampaignOptions, type CampaignResult, createRandom, type Random } from "../support/campaign.ts";
import { sample, type Schema, spoil, toText, type Values } from "../support/schema-values.ts";
import { json, type Server, startServer } from "../support/server.ts";
import { type Answer, exchange } from "../support/wire.ts";

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

interface Document extends Schema {
  paths: Record<string, Record<string, OperationDoc>>;
  components: { schemas: Record<string, Schema> };
  "x-errors": Record<string, { status: number }>;
}

interface Operation {
  method: string;
  path: string;
  doc: OperationDoc;
}

/** A request before it is written down; hostile steps change it. */
interface Request {
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

class Fuzz {
  readonly failures: string[] = [];
  readonly statuses = new Map<string, number>();
  readonly succeeded = new Set<string>();
  readonly pools: Pools = new Map([
    ["workspaces", [DEFAULT_WORKSPACE_ID]],
    ["constructs", []],
    ["sessions", []],
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

// ---------------------------------------------------------------- requests as described

const POOL_SIZE = 40;

function collectionOf(path: string): string {
  return path.split("/")[2] ?? "";
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
  return [[name, String(sample(values, schema))]];
}

/** Parameters of which only one may be given. */
const PLACES = new Set(["after", "before", "around"]);

function describedRequest(fuzz: Fuzz, random: Random, operation: Operation): Request {
  const { doc } = operation;
  const parameters = doc.parameters ?? [];
  // A PUT makes the thing, so its id is mostly a new one.
  const idFor = (): string =>
    operation.method === "put" && random.chance(0.8)
      ? crypto.randomUUID()
      : someId(fuzz, random, collectionOf(operation.path));
  const path = operation.path.replaceAll(/\{(\w+)\}/g, (_, name: string) =>
    name === "seq" ? String(1 + random.int(5)) : idFor(),
  );
  const place = random.pick([...PLACES]);
  const query = parameters
    .filter(
      ({ in: where, name }) =>
        where === "query" && random.chance(0.15) && (!PLACES.has(name) || name === place),
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
function addDescribedBody(
  fuzz: Fuzz,
  random: Random,
  request: Request,
  change: (value: unknown) => unknown = (value) => value,
): void {
  const content = request.operation.doc.requestBody?.content;
  if (content === undefined) return;
  const type = random.pick(Object.keys(content));
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

// ---------------------------------------------------------------- hostile steps

type Step = (fuzz: Fuzz, random: Random, request: Request) => void;

const HOSTILE_IDS = [
  "..%2f..%2fx",
  "%2e%2e%2f",
  "%00",
  "abc%00def",
  "%ff%fe",
  "%zz",
  "%",
  "x".repeat(10_240),
  "é",
  "%F0%9F%98%80",
  "null",
  "undefined",
  "0",
  "-1",
  "*",
  "{id}",
  ":id",
  "..;",
  "%20",
  "a%20b",
  "01940000-0000-7000-8000-00000000000G",
  "01940000-0000-7000-8000-00000000000",
  "01940000000070008000000000000000",
  "01940000-0000-7000-8000-0000000000AA",
  "00000000-0000-0000-0000-000000000000",
  "'%20OR%201=1--",
  "%0d%0aSet-Cookie:x=y",
  "1e999",
  "0x1",
  "99999999999999999999",
  "1.5",
  "__proto__",
  "constructor",
  "toString",
] as const;

function setHeader(request: Request, name: string, value: string | null): void {
  request.headers = request.headers.filter(([other]) => other !== name);
  if (value !== null) request.headers.push([name, value]);
}

const spoilPath: Step = (_fuzz, random, request) => {
  const segments = request.path.split("/");
  const places = [...request.operation.path.split("/").keys()].filter((index) =>
    request.operation.path.split("/")[index]?.startsWith("{"),
  );
  if (places.length === 0) return spoilTarget(_fuzz, random, request);
  segments[random.pick(places)] = random.pick(HOSTILE_IDS);
  request.path = segments.join("/");
  // Dots may be taken as segments, and a broken escape may be refused before the path is matched.
  if (/(^|\/)(\.|%2e){1,2}(\/|$|%2f)|%zz|%$|%\//i.test(request.path)) request.documented = false;
};

const spoilTarget: Step = (_fuzz, random, request) => {
  request.documented = false;
  const { path } = request;
  request.path = random.pick([
    `${path}/`,
    `/${path}`,
    path.toUpperCase(),
    path.replaceAll("/", "//"),
    `${path}/../..${path}`,
    `/v1/../..${path}`,
    `${path}%2f`,
    `${path};a=b`,
    "/",
    "/v1",
    "/v1/",
    "/v2/constructs",
    "/.git/config",
    "/..%2f..%2fetc%2fpasswd",
    `http://127.0.0.1${path}`,
    `http://evil.example${path}`,
    `${path}#x`,
    `${path}%`,
    `/%00`,
    `/${"a/".repeat(3_000)}`,
    "/v1/constructs/\\..\\x",
    "/__proto__",
    "/constructor",
    `${path}\u00e9`,
    "/favicon.ico",
    "/v1/sessions//entries",
  ]);
};

const spoilQuery: Step = (_fuzz, random, request) => {
  const names = (request.operation.doc.parameters ?? [])
    .filter(({ in: where }) => where === "query")
    .map(({ name }) => name);
  const known = names.length === 0 ? "limit" : random.pick(names);
  const values = [
    "",
    "-1",
    "0",
    "1.5",
    "1e3",
    "99999999999999999999",
    "true",
    "TRUE",
    "null",
    "[]",
    "%00",
    "%ff",
    "%",
    "%zz",
    "a%00b",
    "x".repeat(3_000),
    "é",
    "%F0%9F",
    "..%2f",
    "'%20--",
    "%22",
    "{}",
    "2,3",
    "+1",
    "%2B1",
    " 1".trim(),
    "0x10",
  ];
  const roll = random.int(9);
  if (roll < 4) request.query.push([known, random.pick(values)]);
  else if (roll === 4)
    request.query.push([
      random.pick([
        "unknown",
        "__proto__",
        "constructor",
        "metadata",
        "metadata.",
        "metadata.__proto__",
        `metadata.${"k".repeat(200)}`,
        "limit[]",
        "limit.x",
        "%00",
        "%ff",
        "é",
        "a".repeat(3_000),
      ]),
      random.pick(values),
    ]);
  else if (roll === 5) request.query.push([known, "1"], [known, "2"]);
  else if (roll === 6)
    request.query.push([
      "cursor",
      random.pick([
        "",
        "AAAA",
        "x".repeat(3_000),
        "W10",
        "WyJhYWFhYWFhYWFhYSIsbnVsbF0",
        "e30",
        "%00",
        Buffer.from('["x",{"value":1,"id":"y"}]').toString("base64url"),
      ]),
    ]);
  else if (roll === 7)
    for (let count = 0; count < 120; count += 1) request.query.push([known, String(count)]);
  else
    request.tail = random.pick([
      "?",
      "?&&&",
      "?=",
      "?=x",
      "??",
      `?${"a=b&".repeat(6_000)}`,
      "?%",
      "?a&b&c",
      "?limit=1?limit=2",
      "?limit=1#limit=2",
      "?\u00e9=1",
    ]);
};

const spoilBody: Step = (fuzz, random, request) => {
  if (request.operation.doc.requestBody === undefined) {
    request.body = Buffer.from(random.pick(["x", "{}", "\0", "x".repeat(5_000)]));
    return;
  }
  addDescribedBody(fuzz, random, request, (value) => spoil(random, value));
};

/** Bytes that are no JSON, or not the JSON that somebody expects. */
const spoilBytes: Step = (_fuzz, random, request) => {
  // A large body that nobody reads may cost the answer: the connection is closed on it.
  if (request.operation.doc.requestBody === undefined) return spoilBody(_fuzz, random, request);
  const body = Buffer.from(request.body ?? "{}");
  const cut = random.int(body.byteLength + 1);
  request.body = random.pick<() => Uint8Array>([
    () => body.subarray(0, cut),
    () =>
      Buffer.concat([
        body.subarray(0, cut),
        Buffer.from([random.pick([0, 0xff, 0xc0, 0x80, 0xed, 10, 0x22, 0x5c])]),
        body.subarray(cut),
      ]),
    () => Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), body]),
    () => Buffer.from(body.toString("utf8"), "utf16le"),
    () => new Uint8Array(),
    () =>
      Buffer.from(
        random.pick([
          "null",
          "true",
          "1",
          '"x"',
          "[]",
          "[[]]",
          "{",
          "}",
          "{}{}",
          "NaN",
          "{'a':1}",
          '{"a":1,}',
          "\n\n\n",
          "//x\n{}",
          '{"entries":[]}',
          '{"entries":[{}]}',
          '{"entries":{}}',
          '{"entries":[null]}',
        ]),
      ),
    () => Buffer.from(`${"[".repeat(random.pick([500, 20_000, 200_000]))}`),
    () => Buffer.from(`{"title":"a","metadata":${'{"a":'.repeat(5_000)}1${"}".repeat(5_000)}}`),
    () => Buffer.from('{"title":"a","title":"b","__proto__":{"x":1}}'),
    () => Buffer.from(`{"entries":[{"kind":"message","kind":"note","body":1}]}`),
    () => Buffer.from(`{"entries":[{"kind":"message","body":${"[".repeat(12_000)}${"]".repeat(12_000)}}]}`),
    () =>
      Buffer.from(
        `{"entries":[${Array.from({ length: 300 }, () => '{"kind":"message","body":1}').join(",")}]}`,
      ),
    () => Buffer.from(`{"entries":[{"kind":"message","key":"${"k".repeat(201)}","body":1}]}`),
    () => Buffer.from(`{"kind":"message","body":"${"x".repeat(300_000)}"}\n`),
    () => Buffer.from(`{"title":"${"x".repeat(2_200_000)}"}`),
    () => Buffer.concat([body, Buffer.from(" ".repeat(2_200_000))]),
  ])();
};

const spoilHeaders: Step = (_fuzz, random, request) => {
  const values = [
    "",
    "*",
    "x",
    '"',
    '""',
    '"r1',
    "r1",
    'W/"r1"',
    '"r999999999999999999"',
    '"r1" "r2"',
    ",",
    ', "r1"',
    '"\u00e9"',
    "é",
    "x".repeat(6_000),
    "\t",
    "0",
    "-1",
    "a.b",
    "99999999999999999999.1",
  ];
  const names = [
    "if-match",
    "if-none-match",
    "accept",
    "accept-encoding",
    "last-event-id",
    "synthetic-actor",
    "range",
    "if-range",
    "expect",
    "x-http-method-override",
    "x-forwarded-host",
    "forwarded",
    "upgrade",
    "cookie",
    "te",
    "content-language",
    "if-modified-since",
    "prefer",
  ];
  const name = random.pick(names);
  const value =
    name === "expect"
      ? random.pick(["100-continue", "x"])
      : name === "upgrade"
        ? random.pick(["websocket", "h2c"])
        : random.pick(values);
  if (name === "upgrade")
    request.headers.push(["sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="], ["sec-websocket-version", "13"]);
  setHeader(request, name, value);
  if (name === "expect") request.documented = false;
};

const spoilIdentity: Step = (_fuzz, random, request) => {
  const open = request.operation.doc.responses["401"] === undefined;
  const roll = random.int(10);
  if (roll === 0) setHeader(request, "authorization", null);
  else if (roll === 1)
    setHeader(
      request,
      "authorization",
      random.pick([
        "Bearer x",
        "Bearer ",
        "Basic eDp5",
        "bearer",
        `Bearer ${"x".repeat(6_000)}`,
        "Bearer a b",
        "é",
      ]),
    );
  else if (roll === 2) request.headers.push(["authorization", "Bearer other"]);
  else if (roll === 3)
    request.headers.push(["host", random.pick(["evil.example", "127.0.0.1", "localhost"])]);
  else if (roll === 4)
    setHeader(
      request,
      "host",
      random.pick([
        "evil.example",
        "127.0.0.1:99999",
        "localhost.evil.example",
        "127.0.0.1@evil.example",
        "[::1]",
        "LOCALHOST",
        "",
        "a b",
        "127.0.0.1:",
        "é",
      ]),
    );
  else if (roll === 5) [request.version, request.documented] = ["HTTP/1.0", false];
  else if (roll === 6) setHeader(request, "host", null);
  else if (roll === 7)
    setHeader(
      request,
      "origin",
      random.pick(["https://evil.example", "null", "http://127.0.0.1", "", "http://127.0.0.1.evil.example"]),
    );
  else if (roll === 8)
    setHeader(
      request,
      "sec-fetch-site",
      random.pick(["cross-site", "same-origin", "none", "same-site", "x"]),
    );
  else request.headers.push(["host", "127.0.0.1"], ["host", "evil.example"]);
  // Two hosts, or none at all, are no HTTP/1.1: the parser may refuse them by itself.
  if (roll === 3 || roll === 4 || roll === 6 || roll === 9 || open) request.documented = false;
};

const spoilContentType: Step = (_fuzz, random, request) => {
  setHeader(
    request,
    "content-type",
    random.pick([
      null,
      "",
      "text/plain",
      "application/json; charset=utf-16",
      "application/json; charset=utf-8",
      "APPLICATION/JSON",
      "application/x-ndjson",
      "multipart/form-data",
      "application/json, text/plain",
      "*/*",
      "application/problem+json",
      "x",
    ]),
  );
  if (random.chance(0.2))
    setHeader(request, "content-encoding", random.pick(["gzip", "zstd", "identity", "x", "gzip, gzip"]));
};

const spoilMethod: Step = (_fuzz, random, request) => {
  request.documented = false;
  request.method = random.pick([
    "GET",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "HEAD",
    "HEAD",
    "OPTIONS",
    "TRACE",
    "PROPFIND",
    "QUERY",
    "get",
    "FOO",
    "CONNECT",
  ]);
};

/** What is not HTTP, or nearly not. */
const spoilFraming: Step = (_fuzz, random, request) => {
  request.documented = false;
  request.broken = true;
  const roll = random.int(8);
  if (roll === 0)
    setHeader(request, "content-length", random.pick(["-1", "x", "99999999999999999999", "1e3", "5, 6", ""]));
  else if (roll === 1) request.headers.push(["content-length", "0"], ["content-length", "5"]);
  else if (roll === 2)
    request.headers.push(["transfer-encoding", random.pick(["chunked", "gzip", "chunked, chunked", "x"])]);
  else if (roll === 3) request.version = random.pick(["HTTP/9.9", "HTTP/2.0", "HTTP/0.9", "", "FTP/1.1"]);
  else if (roll === 4) request.headers.push([random.pick(["bad name", "x\0y", "", "é", "x:y"]), "1"]);
  else if (roll === 5) request.headers.push(["x", random.pick(["a\0b", "a\rb", "x".repeat(70_000)])]);
  else if (roll === 6) for (let count = 0; count < 300; count += 1) request.headers.push([`x-${count}`, "1"]);
  else
    request.path = random.pick([
      "",
      "*",
      "x",
      "/ /",
      "/\0",
      "\t",
      "/v1/constructs /x",
      `/${"x".repeat(70_000)}`,
    ]);
};

const STEPS: readonly (readonly [name: string, step: Step, weight: number])[] = [
  ["path", spoilPath, 5],
  ["target", spoilTarget, 2],
  ["query", spoilQuery, 6],
  ["body", spoilBody, 8],
  ["bytes", spoilBytes, 4],
  ["headers", spoilHeaders, 4],
  ["identity", spoilIdentity, 3],
  ["content_type", spoilContentType, 2],
  ["method", spoilMethod, 2],
  ["framing", spoilFraming, 1],
];
const WEIGHTED = STEPS.flatMap(([name, step, weight]) =>
  Array.from({ length: weight }, () => ({ name, step })),
);

function spoilRequest(fuzz: Fuzz, random: Random, request: Request): void {
  for (let count = random.pick([1, 1, 1, 2, 3]); count > 0; count -= 1) {
    const { name, step } = random.pick(WEIGHTED);
    request.steps.push(name);
    step(fuzz, random, request);
  }
}

// ---------------------------------------------------------------- over the wire

/** Percent-encodes what a query cannot hold, and leaves alone what is encoded or hostile already. */
function queryText(request: Request): string {
  const encode = (text: string): string =>
    text.replaceAll(/[^!-~]|[&#+]/gu, (found) => encodeURIComponent(found.toWellFormed()));
  return request.query.map(([name, value]) => `${encode(name)}=${encode(value)}`).join("&");
}

function bytesOf(request: Request): Uint8Array {
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

function shown(request: Request): string {
  const text = Buffer.from(bytesOf(request))
    .toString("latin1")
    .replace(/authorization: Bearer [^\r]{20,}/, "authorization: Bearer TOKEN");
  return JSON.stringify(
    text.length > 700 ? `${text.slice(0, 350)}…${text.length}…${text.slice(-250)}` : text,
  );
}

// ---------------------------------------------------------------- answers

/** What an outsider must never read: paths of the server, its source, SQL, words of the engine. */
const INSIDE =
  /\/work\/|\/tmp\/|\/root\/|\/home\/|\/usr\/|\$bunfs|node_modules|\.ts:\d|\bat \w+ \(|SQLITE_|SQLiteError|\b(?:SELECT|INSERT|UPDATE|DELETE) (?:\w+ )?(?:FROM|INTO|\w+ SET)\b|ZodError|TypeError|RangeError|SyntaxError|ReferenceError|undefined is not|bun:sqlite|Cannot read propert/;

function decoded(answer: Answer): Uint8Array {
  const coding = answer.headers.get("content-encoding");
  if (coding === "zstd") return zstdDecompressSync(answer.body);
  if (coding === "gzip") return gunzipSync(answer.body);
  return answer.body;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function problemFault(fuzz: Fuzz, answer: Answer, text: string): string | null {
  const body = parse(text) as Record<string, unknown> | undefined;
  if (body === undefined) return "an error that is not JSON";
  const schema = fuzz.document.components.schemas["Problem"];
  const validate = fuzz.validator("Problem", schema ?? {});
  if (!validate(body)) return `a problem outside its schema: ${fuzz.ajv.errorsText(validate.errors)}`;
  const code = String(body["code"]);
  const known = fuzz.document["x-errors"][code];
  if (known === undefined) return `an unknown code ${code}`;
  if (known.status !== answer.status || body["status"] !== answer.status)
    return `code ${code} with status ${answer.status}`;
  if (INSIDE.test(text)) return `words from the inside: ${INSIDE.exec(text)?.[0]}`;
  if (answer.status === 405 && !answer.headers.has("allow")) return "a 405 without Allow";
  if (answer.status === 401 && !answer.headers.has("www-authenticate"))
    return "a 401 without WWW-Authenticate";
  if (answer.status === 503 && !answer.headers.has("retry-after")) return "a 503 without Retry-After";
  return answer.headers.has("synthetic-request-id") ? null : "an answer without Synthetic-Request-Id";
}

/** The events of a tail: what each is said to hold. */
function eventsFault(fuzz: Fuzz, text: string): string | null {
  const schema_of: Record<string, string> = { entry: "Entry", reset: "TailPosition", error: "Problem" };
  for (const block of text.split("\n\n").slice(0, -1)) {
    const data = /^data: (.*)$/m.exec(block)?.[1];
    if (data === undefined) continue;
    const name = schema_of[/^event: (.*)$/m.exec(block)?.[1] ?? ""] ?? "";
    const schema = fuzz.document.components.schemas[name];
    if (name !== "TailPosition" && schema === undefined)
      return `an event of no known kind: ${block.slice(0, 200)}`;
    const validate = fuzz.validator(`event ${name}`, schema ?? {});
    if (!validate(parse(data))) return `an event outside ${name}: ${fuzz.ajv.errorsText(validate.errors)}`;
  }
  return null;
}

function contentFault(fuzz: Fuzz, key: string, type: string, schema: Schema, text: string): string | null {
  if (type === "text/event-stream") return eventsFault(fuzz, text);
  if (type.startsWith("text/")) return text === "" ? "an empty text" : null;
  const validate = fuzz.validator(key, schema);
  const values = type === "application/x-ndjson" ? text.split("\n").slice(0, -1) : [text];
  for (const value of values) {
    const found = parse(value);
    if (found === undefined) return `what is not JSON: ${value.slice(0, 200)}`;
    if (!validate(found))
      return `a body outside its schema: ${fuzz.ajv.errorsText(validate.errors)}: ${value.slice(0, 300)}`;
  }
  return null;
}

/** A request line and headers longer than this are refused by Bun's parser with a bare 431. */
const HEAD_BYTES = 16_000;
/** Methods that Bun's parser knows; it closes the connection on others. */
const PARSED_METHODS = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]);

/** What Bun's parser answers by itself, before anything of ours runs: no body, and nothing of our headers. */
function isParsersOwn(request: Request, answer: Answer): boolean {
  if (answer.body.byteLength > 0 || answer.headers.has("synthetic-request-id")) return false;
  if (answer.status === 431 && !request.broken)
    return bytesOf(request).byteLength - (request.body?.byteLength ?? 0) > HEAD_BYTES;
  return (request.broken || !request.documented) && [400, 405, 413, 431, 501, 505].includes(answer.status);
}

/** What is wrong with an answer, or null. */
function answerFault(fuzz: Fuzz, request: Request, answer: Answer): string | null {
  const { operation, documented, broken, method } = request;
  if (isParsersOwn(request, answer)) return null;
  if (answer.status >= 500) return "a 5xx";
  const is_stream = answer.headers.get("content-type")?.startsWith("text/event-stream") === true;
  if (!answer.whole && !is_stream) return broken ? null : "an answer that is cut";
  if (method === "HEAD") return answer.body.byteLength > 0 ? "a body on HEAD" : null;
  const text = Buffer.from(decoded(answer)).toString("utf8");
  const type = (answer.headers.get("content-type") ?? "").split(";")[0]!.trim();
  const response = operation.doc.responses[String(answer.status)];
  if (documented && response === undefined) return "a status that is not documented";
  if (type === "application/problem+json")
    return answer.status < 400 ? "a problem that is a success" : problemFault(fuzz, answer, text);
  if (answer.status >= 400) return `an error as ${type || "nothing"}`;
  if (!documented && method !== operation.method.toUpperCase()) return null;
  if (response === undefined) return documented ? "a status that is not documented" : null;
  if (response.content === undefined) return text === "" ? null : "a body that is not documented";
  const described = response.content[type];
  if (described === undefined) return documented ? `a type that is not documented: ${type}` : null;
  return contentFault(
    fuzz,
    `${operation.method} ${operation.path} ${answer.status} ${type}`,
    type,
    described.schema,
    text,
  );
}

function noteMade(fuzz: Fuzz, request: Request, answer: Answer): void {
  if (answer.status !== 201 || (request.method !== "POST" && request.method !== "PUT")) return;
  const id = (parse(Buffer.from(decoded(answer)).toString("utf8")) as { id?: string } | undefined)?.id;
  const pool = fuzz.pools.get(collectionOf(request.operation.path));
  if (id === undefined || pool === undefined || !/^\/v1\/\w+(\/\{id\})?$/.test(request.operation.path))
    return;
  pool.push(id);
  // Never the first, which for workspaces is the default one.
  if (pool.length > POOL_SIZE) pool.splice(1, 1);
}

async function sendOne(fuzz: Fuzz, random: Random, operation: Operation, hostile: boolean): Promise<void> {
  const request = describedRequest(fuzz, random, operation);
  // HEAD is there wherever GET is.
  if (request.method === "GET" && random.chance(0.06)) request.method = "HEAD";
  if (hostile) spoilRequest(fuzz, random, request);
  const is_stream = /\/(tail|stream)$/.test(operation.path);
  fuzz.requests += 1;
  let fault: string | null;
  let status = 0;
  try {
    const answer = await exchange(fuzz.port, bytesOf(request), {
      timeout_ms: request.broken ? 400 : 15_000,
      is_head: request.method === "HEAD",
      ...(is_stream && { quiet_ms: 60 }),
    });
    status = answer?.status ?? 0;
    fault =
      answer === null
        ? request.broken || !PARSED_METHODS.has(request.method)
          ? null
          : "no answer at all"
        : answerFault(fuzz, request, answer);
    if (answer !== null) noteMade(fuzz, request, answer);
  } catch (error) {
    fault = `an answer that cannot be read: ${String(error)}`;
  }
  const key = `${status}`;
  fuzz.statuses.set(key, (fuzz.statuses.get(key) ?? 0) + 1);
  if (status >= 200 && status < 400 && request.documented) fuzz.succeeded.add(operation.doc.operationId);
  if (fault !== null && fuzz.failures.length < 60)
    fuzz.failures.push(
      `${operation.doc.operationId} (${request.steps.join("+") || "as described"}): ${status} ${fault}\n  ${shown(request)}`,
    );
}

async function fuzzServer(
  { seed, size, log }: CampaignOptions,
  requests: number,
  tamper: (document: Document) => void = () => undefined,
): Promise<CampaignResult> {
  const began = performance.now();
  const data_dir = mkdtempSync(join(tmpdir(), "synthetic-openapi-"));
  let server: Server | null = null;
  try {
    server = await startServer({ data_dir, env: { SYNTHETIC_LOG_LEVEL: "warn" } });
    const document = await json<Document>(server.call("GET", "/openapi.json"), 200);
    tamper(document);
    const fuzz = new Fuzz(server, document);
    const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, doc]): Operation => ({ method, path, doc })),
    );
    // Creates come first, so that there is something to ask for.
    operations.sort((a, b) => Number(b.method === "post") - Number(a.method === "post"));
    const beginning = createRandom(seed);
    for (const noun of ["workspaces", "constructs", "sessions"]) {
      const create = operations.find(({ method, path }) => method === "post" && path === `/v1/${noun}`);
      for (let count = 0; create !== undefined && count < 12; count += 1)
        await sendOne(fuzz, beginning, create, false);
    }
    const worker = async (number: number): Promise<void> => {
      const random = createRandom(seed * 100 + number);
      for (let turn = number; fuzz.requests < requests && fuzz.failures.length < 60; turn += 1) {
        const operation = operations[turn % operations.length]!;
        await sendOne(fuzz, random, operation, random.chance(0.62));
        if (number === 0 && turn % 500 === 499) log(`openapi: ${fuzz.requests} of ${requests} requests`);
      }
    };
    await Promise.all(Array.from({ length: 6 }, (_, number) => worker(number)));

    const health = await server.call("GET", "/healthz").catch(() => null);
    if (health?.status !== 200)
      fuzz.failures.push(`the server does not live any more: ${server.log().slice(-800)}`);
    const missing = operations.map(({ doc }) => doc.operationId).filter((id) => !fuzz.succeeded.has(id));
    if (missing.length > 0 && size === "full")
      fuzz.failures.push(`never answered with success, so hardly tried: ${missing.join(", ")}`);
    const logged = [...server.log().matchAll(/"event":"(request_failed|stream_failed)"[^\n]*/g)].map(
      ([line]) => line,
    );
    for (const line of logged.slice(0, 10)) fuzz.failures.push(`in the log: ${line.slice(0, 500)}`);
    return {
      cases: fuzz.requests,
      failures: fuzz.failures,
      notes: {
        seed,
        operations: operations.length,
        never_succeeded: missing.join(" "),
        ...Object.fromEntries(
          [...fuzz.statuses].sort().map(([status, count]) => [`status_${status}`, count]),
        ),
        seconds: Number(((performance.now() - began) / 1_000).toFixed(1)),
      },
    };
  } finally {
    await server?.stop("SIGKILL");
    rmSync(data_dir, { recursive: true, force: true });
  }
}

/** 20,000 requests in full size, 600 in short. */
export function run(options: CampaignOptions): Promise<CampaignResult> {
  return fuzzServer(options, options.size === "full" ? 20_000 : 600);
}

/** A document that is wrong in two places: a fuzz that does not notice is blind. */
export function control(options: CampaignOptions): Promise<CampaignResult> {
  return fuzzServer(options, 300, (document) => {
    for (const methods of Object.values(document.paths))
      for (const doc of Object.values(methods)) delete doc.responses["422"];
    const construct = document.components.schemas["Construct"] as { properties: Record<string, Schema> };
    construct.properties["revision"] = { type: "string" };
  });
}
