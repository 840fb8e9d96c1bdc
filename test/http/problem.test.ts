import { describe, expect, test } from "bun:test";
import { HTTPException } from "hono/http-exception";
import { ERRORS, Problem } from "../../src/errors.ts";
import { problemDocument, problemOf, problemResponse } from "../../src/http/problem.ts";
import { limit } from "../../src/limits.ts";
import { openDoor, problemIn, type Sending } from "./open-door.ts";

const MISSING = "/v1/constructs/01940000-0000-7000-8000-000000000000";

describe("a failure", () => {
  const { call, store, logged } = openDoor();

  test("of a rule says its code, its words and nothing else", async () => {
    const answer = await call("GET", MISSING);
    const problem = await problemIn(answer);
    expect(Object.keys(problem).toSorted()).toEqual([
      "code",
      "detail",
      "hint",
      "instance",
      "retryable",
      "status",
      "title",
      "type",
    ]);
    expect(problem).toMatchObject({
      status: 404,
      code: "not_found",
      title: ERRORS.not_found.title,
      detail: "There is no such construct.",
      retryable: false,
    });
    expect(answer.headers.get("x-content-type-options")).toBe("nosniff");
    expect(answer.headers.get("cache-control")).toBe("no-store");
  });

  test("that nobody expected is `internal` without its words, which the log has under the request id", async () => {
    const before = logged.length;
    for (const thrown of [
      new Error("SELECT secret FROM /var/lib", { cause: new TypeError("driver") }),
      "a string",
      undefined,
      7,
    ]) {
      store.failing = thrown;
      if (thrown === undefined) store.failing = { odd: "SELECT" };
      const answer = await call("GET", MISSING);
      const text = await answer.clone().text();
      const problem = await problemIn(answer);
      expect(problem.code).toBe("internal");
      expect(answer.status).toBe(500);
      expect(text).not.toMatch(/SELECT|secret|var|driver|a string|Error:/);
    }
    store.failing = null;
    const errors = logged
      .slice(before)
      .map((line) => JSON.parse(line))
      .filter(({ level }) => level === "error");
    expect(errors).toHaveLength(4);
    expect(errors[0]).toMatchObject({
      event: "request_failed",
      code: "internal",
      route: "/v1/constructs/{id}",
    });
    expect(errors[0].cause).toContain("SELECT secret FROM /var/lib (cause: TypeError: driver)");
  });

  test("of the store keeps its code; its cause goes to the log only", async () => {
    for (const [code, status] of [
      ["unavailable", 503],
      ["storage_full", 507],
      ["integrity_failed", 500],
      ["busy", 503],
    ] as const) {
      store.failing = new Problem(code, "public words", { cause: new Error("private words") });
      const answer = await call("GET", MISSING);
      expect(answer.status).toBe(status);
      expect(answer.headers.get("retry-after")).toBe(status === 503 ? "1" : null);
      const problem = await problemIn(answer);
      expect(problem).toMatchObject({ code, detail: "public words", retryable: ERRORS[code].retryable });
      expect(JSON.stringify(problem)).not.toContain("private");
    }
    store.failing = null;
  });

  test("the log of requests names no query, no token and no body", async () => {
    await call("GET", "/v1/constructs?agent=quersecret");
    await call("POST", "/v1/constructs", { json: { title: "bodysecret" } });
    expect(logged.join("")).not.toMatch(/quersecret|bodysecret|0123456789abcdef/);
  });
});

describe("problem documents", () => {
  test("every code has a document with its status, and 503 always names a time", () => {
    for (const code of Object.keys(ERRORS) as (keyof typeof ERRORS)[]) {
      const answer = problemResponse(new Problem(code, "why"), "id");
      expect(answer.status).toBe(ERRORS[code].status);
      if (answer.status === 503) expect(answer.headers.get("retry-after")).toBe("1");
    }
  });

  test("members are added and cannot hide the standard ones", () => {
    const problem = new Problem("conflict", "why", {
      members: { last_seq: 7, status: 200, code: "x" },
      retry_after_s: 9,
    });
    expect(problemDocument(problem, "id")).toMatchObject({ last_seq: 7, status: 409, code: "conflict" });
    expect(problemResponse(problem, "id").headers.get("retry-after")).toBe("9");
  });

  test("exceptions of the router become our codes", () => {
    expect(problemOf(new HTTPException(400, { message: "Malformed JSON" })).code).toBe("malformed_body");
    expect(problemOf(new HTTPException(415)).code).toBe("unsupported_media_type");
    expect(problemOf(new HTTPException(418)).code).toBe("internal");
  });
});

describe("paths and methods", () => {
  const { call, door } = openDoor();
  const paths = [...new Set(door.routes.map(({ path }) => path))];
  const sample = (path: string): string =>
    path.replace(":id", "01940000-0000-7000-8000-000000000000").replace(":seq", "1");

  test.each(paths)("%s refuses other methods and names its own", async (path) => {
    const own = door.routes.filter((route) => route.path === path).map(({ method }) => method);
    const expected = [...own, ...(own.includes("GET") ? ["HEAD"] : [])].toSorted();
    for (const method of ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].filter(
      (name) => !expected.includes(name),
    )) {
      const answer = await call(method, sample(path));
      expect(answer.status).toBe(405);
      expect(answer.headers.get("allow")).toBe(expected.join(", "));
      if (method !== "HEAD") expect((await problemIn(answer)).code).toBe("method_not_allowed");
    }
  });

  test("what is not there is a 404 for every method", async () => {
    for (const method of ["GET", "POST", "OPTIONS", "DELETE"])
      expect((await problemIn(await call(method, "/v1/nothing"))).code).toBe("not_found");
    for (const path of ["/", "/v1", "/v1/constructs/", "/V1/constructs", "/v1/constructs/x/y/z", "/v1/plans"])
      expect((await call("GET", path)).status).toBe(404);
  });

  test("HEAD answers as GET without a body", async () => {
    for (const path of ["/healthz", "/v1/constructs", "/openapi.json", MISSING]) {
      const [head, get] = [await call("HEAD", path), await call("GET", path)];
      expect(head.status).toBe(get.status);
      expect(head.headers.get("content-type")).toBe(get.headers.get("content-type"));
      expect(head.headers.get("etag")).toBe(get.headers.get("etag"));
      expect(await head.text()).toBe("");
    }
  });
});

describe("a query", () => {
  const { call } = openDoor();
  const errorsOf = async (path: string) => (await problemIn(await call("GET", path))).errors;

  test("names every parameter that is wrong, once", async () => {
    expect(await errorsOf("/v1/constructs?limit=0&colour=red&colour=blue&status=odd&pinned=yes")).toEqual([
      { pointer: "limit", detail: "A whole number from 1 to 500 is expected." },
      { pointer: "colour", detail: "This parameter is not known here." },
      { pointer: "status", detail: expect.stringContaining("expected one of") },
      { pointer: "pinned", detail: "true or false is expected." },
    ]);
  });

  test("is refused where none is known", async () => {
    for (const path of ["/healthz", "/docs", "/openapi.json", "/metrics", MISSING])
      expect(await errorsOf(`${path}?x`)).toEqual([
        { pointer: "x", detail: "This parameter is not known here." },
      ]);
  });

  test("a single-valued parameter may come once", async () => {
    expect(await errorsOf("/v1/constructs?limit=1&limit=1")).toEqual([
      { pointer: "limit", detail: "This parameter may be given once." },
    ]);
    expect(
      (await call("GET", "/v1/constructs?status=active&status=draft&metadata.a=1&metadata.a=2")).status,
    ).toBe(200);
  });

  test("whole numbers are plain digits", async () => {
    for (const value of ["", "-1", "1.5", "1e2", "0x10", "+1", "%201", "501", "99999999999999999999"])
      expect((await call("GET", `/v1/constructs?limit=${value}`)).status).toBe(422);
    for (const value of ["1", "500", "007"])
      expect((await call("GET", `/v1/constructs?limit=${value}`)).status).toBe(200);
  });

  test("names of the language are only names", async () => {
    for (const name of [
      "__proto__",
      "constructor",
      "toString",
      "metadata.",
      "metadata",
      "metadata.__proto__.x..",
    ]) {
      const answer = await call("GET", `/v1/constructs?${name}=1`);
      expect([200, 422]).toContain(answer.status);
    }
    expect(await errorsOf("/v1/constructs?__proto__=1")).toEqual([
      { pointer: "__proto__", detail: "This parameter is not known here." },
    ]);
  });

  test("must be percent-encoded UTF-8 without NUL", async () => {
    for (const query of ["agent=%ff", "agent=%", "%ff=1", "agent=%ed%a0%80", "agent=%00"])
      expect((await call("GET", `/v1/constructs?${query}`)).status).toBe(422);
  });

  test("has a bound on values of one filter, on keys, and on its length", async () => {
    const repeat = (count: number): string =>
      Array.from({ length: count }, (_, index) => `agent=a${index}`).join("&");
    expect((await call("GET", `/v1/constructs?${repeat(limit("filter_values_count"))}`)).status).toBe(200);
    expect((await call("GET", `/v1/constructs?${repeat(limit("filter_values_count") + 1)}`)).status).toBe(
      422,
    );
    const keys = (count: number): string =>
      Array.from({ length: count }, (_, index) => `metadata.k${index}=v`).join("&");
    expect((await call("GET", `/v1/constructs?${keys(limit("metadata_keys_count"))}`)).status).toBe(200);
    expect((await call("GET", `/v1/constructs?${keys(limit("metadata_keys_count") + 1)}`)).status).toBe(422);
    const filled = (bytes: number): string => `q=${"x".repeat(bytes - 2)}`;
    expect((await call("GET", `/v1/constructs?${filled(limit("query_string_bytes"))}`)).status).toBe(422);
    const long = await call("GET", `/v1/constructs?${filled(limit("query_string_bytes") + 1)}`);
    expect((await problemIn(long)).code).toBe("too_large");
    expect(long.status).toBe(413);
  });
});

describe("a body", () => {
  const { call } = openDoor();
  const post = (sending: Sending) => call("POST", "/v1/constructs", sending);
  const json = { "content-type": "application/json" };

  test("with unknown or wrong members is refused with their pointers", async () => {
    const problem = await problemIn(
      await post({ json: { title: 7, colour: "red", labels: ["a", 1], metadata: { "a/b~c": 1 } } }),
    );
    expect(problem.errors?.map(({ pointer }) => pointer).toSorted()).toEqual([
      "/colour",
      "/labels/1",
      "/metadata/a~1b~0c",
      "/title",
    ]);
    expect((await problemIn(await post({ json: { title: "x", "odd/name~": 1 } }))).errors).toEqual([
      { pointer: "/odd~1name~0", detail: "This member is not known here." },
    ]);
    expect((await problemIn(await post({ json: [] }))).errors?.map(({ pointer }) => pointer)).toEqual([""]);
    const many = Object.fromEntries(Array.from({ length: 1_000 }, (_, index) => [`x${index}`, 1]));
    expect((await problemIn(await post({ json: many }))).errors?.length).toBeLessThanOrEqual(50);
  });

  test("must be well-formed JSON in strict UTF-8", async () => {
    for (const body of [
      "",
      "{",
      '{"title":"x"}}',
      "{'title':1}",
      "\ufeff{}",
      "nul",
      Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]),
      Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), Buffer.from('{"title":"x"}')]),
      "[".repeat(100_000),
    ]) {
      expect((await problemIn(await post({ body, headers: json }))).code).toBe("malformed_body");
    }
  });

  test("needs its media type, in UTF-8 and without a coding", async () => {
    const body = '{"title":"x"}';
    for (const type of [
      "application/json",
      "Application/JSON",
      "application/json; charset=utf-8",
      'application/json;charset="UTF-8"',
      "application/json;",
    ]) {
      expect((await post({ body, headers: { "content-type": type } })).status).toBe(201);
    }
    for (const type of [
      undefined,
      "",
      "text/plain",
      "application/x-www-form-urlencoded",
      "application/jsonx",
      "application/json; charset=latin1",
      "application/json; boundary=x",
      "application/merge-patch+json",
    ]) {
      expect(
        (await problemIn(await post({ body: Buffer.from(body), headers: { "content-type": type } }))).code,
      ).toBe("unsupported_media_type");
    }
    expect((await post({ body, headers: { ...json, "content-encoding": "gzip" } })).status).toBe(415);
  });

  test("may be as long as its limit and no longer", async () => {
    const filled = (bytes: number): string => `{"title":"x"${" ".repeat(bytes - 13)}}`;
    expect((await post({ body: filled(limit("resource_body_bytes")), headers: json })).status).toBe(201);
    expect(
      (await problemIn(await post({ body: filled(limit("resource_body_bytes") + 1), headers: json }))).code,
    ).toBe("too_large");
  });

  test("text with lone surrogates or NUL is refused", async () => {
    for (const title of ["\\ud800", "\\u0000"])
      expect((await post({ body: `{"title":"${title}"}`, headers: json })).status).toBe(422);
  });
});
