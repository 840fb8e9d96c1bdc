/** What is done to a request to make a careless server stumble: one place at a time, and all of it by seeded chance. */
import type { Random } from "./campaign.ts";
import { type Fuzz, type Request, addDescribedBody } from "./openapi-requests.ts";
import { spoil } from "./schema-values.ts";

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

export function spoilRequest(fuzz: Fuzz, random: Random, request: Request): void {
  for (let count = random.pick([1, 1, 1, 2, 3]); count > 0; count -= 1) {
    const { name, step } = random.pick(WEIGHTED);
    request.steps.push(name);
    step(fuzz, random, request);
  }
}
