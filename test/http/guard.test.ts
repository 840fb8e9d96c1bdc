import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { listen, type Listener } from "../../src/http/listen.ts";
import { AnswerReader, connect } from "../support/wire.ts";
import { openDoor, problemIn, silent_log, TOKEN } from "./open-door.ts";

const OPEN = ["/healthz", "/readyz", "/version", "/openapi.json", "/docs"];

describe("the Host header", () => {
  const { call } = openDoor({ hosts: ["memory.example.com", "Proxy.Local:8443"] });
  const status = async (host: string | undefined, path = "/healthz"): Promise<number> =>
    (await call("GET", path, { headers: { host } })).status;

  test.each([
    "localhost",
    "LOCALHOST",
    "localhost:7070",
    "127.0.0.1",
    "127.0.0.1:1",
    "[::1]",
    "[::1]:65535",
    "memory.example.com",
    "MEMORY.example.com:443",
    "proxy.local:8443",
  ])("%s is served", async (host) => expect(await status(host)).toBe(200));

  test.each([
    "",
    "evil.example",
    "localhost.evil.example",
    "localhost, evil.example",
    "127.0.0.1.nip.io",
    "localhost:",
    "localhost:7x",
    "localhost:123456",
    "proxy.local",
    "proxy.local:1",
    "::1",
    "127.0.0.2",
    "a b",
  ])("%p is refused", async (host) => {
    const answer = await call("GET", "/healthz", { headers: { host } });
    expect((await problemIn(answer)).code).toBe("misdirected");
    expect(answer.status).toBe(421);
  });

  test("a request without one is refused before its token is looked at", async () => {
    expect(
      (await call("GET", "/v1/constructs", { headers: { host: undefined, authorization: undefined } }))
        .status,
    ).toBe(421);
  });
});

describe("pages of other origins", () => {
  const { call } = openDoor({ hosts: ["memory.example.com"] });
  const status = async (headers: Record<string, string>): Promise<number> =>
    (await call("GET", "/v1/constructs", { headers })).status;

  test("the own origin is allowed, also behind a proxy that ends TLS", async () => {
    expect(await status({ origin: "http://localhost" })).toBe(200);
    expect(
      await status({
        host: "localhost:7070",
        origin: "http://localhost:7070",
        "sec-fetch-site": "same-origin",
      }),
    ).toBe(200);
    expect(await status({ host: "memory.example.com", origin: "https://memory.example.com" })).toBe(200);
  });

  test.each([
    "null",
    "http://evil.example",
    "http://localhost:3000",
    "http://localhost.evil.example",
    "ftp://localhost",
    "http://127.0.0.1",
    "",
  ])("origin %p is refused", async (origin) => {
    expect(await status({ origin })).toBe(403);
  });

  test("Sec-Fetch-Site is believed when it names another site", async () => {
    expect(await status({ "sec-fetch-site": "cross-site" })).toBe(403);
    expect(await status({ "sec-fetch-site": "same-site" })).toBe(403);
    expect(await status({ "sec-fetch-site": "none" })).toBe(200);
  });

  test("a foreign page learns nothing from the open paths either", async () => {
    for (const path of OPEN)
      expect((await call("GET", path, { headers: { origin: "http://evil.example" } })).status).toBe(403);
  });

  test("no answer carries CORS headers", async () => {
    const answer = await call("OPTIONS", "/v1/constructs", {
      headers: { origin: "http://localhost", "access-control-request-method": "POST" },
    });
    expect([...answer.headers.keys()].filter((name) => name.startsWith("access-control"))).toEqual([]);
    expect(answer.status).toBe(405);
  });
});

describe("the token", () => {
  const { call } = openDoor();

  test.each([
    undefined,
    "",
    "Bearer",
    "Bearer ",
    "Basic abc",
    `Bearer ${TOKEN}x`,
    `Bearer ${TOKEN} ${TOKEN}`,
    TOKEN,
    `Bearer ${TOKEN}, Bearer ${TOKEN}`,
  ])("%p is refused with a challenge", async (authorization) => {
    const answer = await call("GET", "/v1/constructs", { headers: { authorization } });
    expect((await problemIn(answer)).code).toBe("unauthorized");
    expect(answer.headers.get("www-authenticate")).toBe('Bearer realm="synthetic"');
  });

  test("the scheme is written in any case", async () => {
    expect(
      (await call("GET", "/v1/constructs", { headers: { authorization: `bEARER ${TOKEN}` } })).status,
    ).toBe(200);
  });

  test("five paths need none, everything else does, also what is not there", async () => {
    const without = { headers: { authorization: undefined } };
    for (const path of OPEN) expect((await call("GET", path, without)).status).toBe(200);
    for (const path of [
      "/metrics",
      "/",
      "/nothing",
      "/healthz/",
      "/healthz/x",
      "/%68ealthz",
      "//healthz",
      "/v1/workspaces",
      "/docs/../metrics",
    ])
      expect((await call("GET", path, without)).status).toBe(401);
  });
});

describe("on a socket", () => {
  let listener: Listener;
  beforeAll(() => {
    listener = listen(openDoor().door, { host: "127.0.0.1", port: 0, log: silent_log });
  });
  afterAll(() => listener.stop(0));

  async function raw(text: string): Promise<{ status: number; body: string }> {
    const reader = new AnswerReader();
    const parts: Uint8Array[] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    const wire = await connect(listener.port, {
      data(bytes) {
        parts.push(...reader.push(bytes.slice()));
        if (reader.done) resolve();
      },
      close: resolve,
    });
    wire.send(text);
    await promise;
    wire.cut();
    return { status: reader.head?.status ?? 0, body: Buffer.concat(parts).toString() };
  }

  const token = `Authorization: Bearer ${TOKEN}\r\n`;

  test("two Host headers are refused", async () => {
    expect((await raw(`GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n`)).status).toBe(
      421,
    );
  });

  test("HTTP/1.0 without a host, whose URL is relative, gets a typed answer", async () => {
    const answer = await raw(`GET /v1/constructs HTTP/1.0\r\n${token}\r\n`);
    expect(answer.status).toBe(421);
    expect(JSON.parse(answer.body).code).toBe("misdirected");
  });

  test("a host that makes no URL gets a typed answer", async () => {
    for (const host of ["a b", "", "[", "localhost:99999999"])
      expect((await raw(`GET /v1/constructs HTTP/1.1\r\nHost: ${host}\r\n${token}\r\n`)).status).toBe(421);
  });

  test("a target with another authority is judged by its Host header alone", async () => {
    expect((await raw(`GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n`)).status).toBe(
      200,
    );
    expect((await raw(`GET http://localhost/healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n`)).status).toBe(
      421,
    );
  });

  test.each([
    ["with slashes", "/v1/constructs/..%2f..%2fx"],
    ["with NUL", "/v1/constructs/%00"],
    ["that is not UTF-8", "/v1/constructs/%ff%fe"],
    ["with a bare percent sign", "/v1/constructs/%"],
    ["with raw bytes", "/v1/constructs/é"],
    ["of 10 KB", `/v1/constructs/${"a".repeat(10_000)}`],
    ["in upper case", "/v1/constructs/0194AAAA-0000-7000-8000-000000000000"],
    ["that climbs", "/v1/../../etc/passwd"],
    ["with an empty part", "/v1//constructs"],
    ["of signs", "/?#"],
    ["with a fragment", "/v1/constructs/x?y=%ff#z"],
  ])("a target %s gets a typed 4xx", async (_name, target) => {
    const answer = await raw(`GET ${target} HTTP/1.1\r\nHost: localhost\r\n${token}\r\n`);
    expect([404, 422]).toContain(answer.status);
    expect(["not_found", "invalid_request"]).toContain(JSON.parse(answer.body).code);
  });
});
