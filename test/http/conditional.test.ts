import { describe, expect, test } from "bun:test";
import { append, newSession, openDoor, problemIn, type Row } from "./open-door.ts";

const open = openDoor();
const { call, json } = open;

async function construct(): Promise<{ row: Row; path: string }> {
  const row = await json<Row>(201, "POST", "/v1/constructs", { json: { title: "x" } });
  return { row, path: `/v1/constructs/${row.id}` };
}

describe("If-Match", () => {
  test("is required on PATCH and DELETE of every resource", async () => {
    const { path, construct } = await newSession(open);
    const workspace = await json<Row>(201, "POST", "/v1/workspaces", { json: { name: "w" } });
    for (const target of [path, `/v1/constructs/${construct.id}`, `/v1/workspaces/${workspace.id}`]) {
      expect((await problemIn(await call("PATCH", target, { json: {} }))).code).toBe("precondition_required");
      const answer = await call("DELETE", target);
      expect(answer.status).toBe(428);
    }
  });

  test("lets a change through only when it names the revision", async () => {
    const { path } = await construct();
    const patch = (if_match: string) =>
      call("PATCH", path, { json: { title: if_match }, headers: { "if-match": if_match } });
    for (const stale of [
      '"r2"',
      '"r0"',
      '"r9", "r8"',
      '"other"',
      'W/"r1"',
      '"r1x"',
      '"R1"',
      '""',
      '"r1;br"',
      '"r1-"',
      '"1"',
    ]) {
      const problem = await problemIn(await patch(stale));
      expect(problem).toMatchObject({ code: "precondition_failed", status: 412, revision: 1 });
    }
    expect((await patch('"r1"')).headers.get("etag")).toBe('"r2"');
    expect((await patch('"r1", W/"r2" , "r2"')).headers.get("etag")).toBe('"r3"');
    expect((await patch("*")).headers.get("etag")).toBe('"r4"');
    expect((await patch('"r4;zstd"')).headers.get("etag")).toBe('"r5"');
    expect((await patch('"r5;gzip"')).headers.get("etag")).toBe('"r6"');
  });

  test("that is no list of tags is refused", async () => {
    const { path } = await construct();
    for (const malformed of [
      "r1",
      '"r1',
      'r1"',
      '"r1" "r2"',
      "",
      ",",
      '"r1",x',
      '*, "r1"',
      'w/"r1"',
      '"a\tb"',
    ]) {
      const answer = await call("PATCH", path, { json: {}, headers: { "if-match": malformed } });
      expect((await problemIn(answer)).errors?.[0]?.pointer).toBe("If-Match");
      expect(answer.status).toBe(422);
    }
  });

  test("a change that changes nothing keeps the revision", async () => {
    const { path } = await construct();
    const answer = await call("PATCH", path, { json: { title: "x" }, headers: { "if-match": '"r1"' } });
    expect(answer.status).toBe(200);
    expect(answer.headers.get("etag")).toBe('"r1"');
  });

  test("of a session compares the revision, not the entries appended since", async () => {
    const { path } = await newSession(open);
    const tag = (await call("GET", path)).headers.get("etag") ?? "";
    expect(tag).toBe('"r1-s0"');
    await append(open, path, [1, 2]);
    const answer = await call("PATCH", path, { json: { title: "new" }, headers: { "if-match": tag } });
    expect(answer.headers.get("etag")).toBe('"r2-s2"');
    expect(
      (await call("PATCH", path, { json: { title: "newer" }, headers: { "if-match": tag } })).status,
    ).toBe(412);
    expect((await call("DELETE", path, { headers: { "if-match": '"r2-s0;zstd"' } })).status).toBe(204);
  });
});

describe("If-None-Match", () => {
  test("answers 304 with the tag and without a body when it names the state", async () => {
    const { path } = await construct();
    for (const known of ['"r1"', 'W/"r1"', '"r7", "r1"', "*", '"r1;zstd"']) {
      const answer = await call("GET", path, { headers: { "if-none-match": known } });
      expect(answer.status).toBe(304);
      expect(answer.headers.get("etag")).toBe('"r1"');
      expect(answer.headers.get("vary")).toBe("Accept-Encoding");
      expect(await answer.text()).toBe("");
    }
    for (const other of ['"r2"', '"r1-s0"', '""'])
      expect((await call("GET", path, { headers: { "if-none-match": other } })).status).toBe(200);
    expect((await call("GET", path, { headers: { "if-none-match": "r1" } })).status).toBe(422);
  });

  test("of a session sees an append", async () => {
    const { path } = await newSession(open);
    expect((await call("GET", path, { headers: { "if-none-match": '"r1-s0"' } })).status).toBe(304);
    await append(open, path, [1]);
    expect((await call("GET", path, { headers: { "if-none-match": '"r1-s0"' } })).status).toBe(200);
    expect((await call("GET", path, { headers: { "if-none-match": '"r1-s1"' } })).status).toBe(304);
  });

  test("of an entry is its generation and seq, for ever", async () => {
    const { path } = await newSession(open);
    await append(open, path, [1, 2]);
    const tag = `"${open.store.generation}.2"`;
    expect((await call("GET", `${path}/entries/2`)).headers.get("etag")).toBe(tag);
    expect((await call("GET", `${path}/entries/2`, { headers: { "if-none-match": tag } })).status).toBe(304);
    expect((await call("GET", `${path}/entries/1`, { headers: { "if-none-match": tag } })).status).toBe(200);
  });

  test("of what is not there stays a 404", async () => {
    expect(
      (
        await call("GET", "/v1/constructs/01940000-0000-7000-8000-000000000000", {
          headers: { "if-none-match": "*" },
        })
      ).status,
    ).toBe(404);
  });
});

test("what has a tag may be kept and is asked for again; all else is not stored", async () => {
  const { path } = await construct();
  expect((await call("GET", path)).headers.get("cache-control")).toBe("private, no-cache");
  expect((await call("GET", "/v1/constructs")).headers.get("cache-control")).toBe("no-store");
  expect((await call("GET", "/healthz")).headers.get("cache-control")).toBe("no-store");
});
