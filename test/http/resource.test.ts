import { describe, expect, test } from "bun:test";
import { DEFAULT_WORKSPACE_ID } from "../../src/lib/ids.ts";
import { newSession, openDoor, problemIn, START_MS, type Row } from "./open-door.ts";

const open = openDoor();
const { call, json, store, clock } = open;
const MINE = "01940000-0000-7000-8000-00000000000a";

describe("creating", () => {
  test("answers 201 with the row, its place and its tag", async () => {
    const answer = await call("POST", "/v1/constructs", {
      json: { title: "mend the parser", labels: ["b", "a"], metadata: { ticket: "7" } },
    });
    const row = (await answer.json()) as Row;
    expect(answer.status).toBe(201);
    expect(answer.headers.get("location")).toBe(`/v1/constructs/${row.id}`);
    expect(answer.headers.get("etag")).toBe('"r1"');
    expect(row).toMatchObject({
      workspace_id: DEFAULT_WORKSPACE_ID,
      title: "mend the parser",
      labels: ["a", "b"],
      metadata: { ticket: "7" },
      status: "draft",
      revision: 1,
      created_at_ms: START_MS,
    });
    expect(await (await call("GET", `/v1/constructs/${row.id}`)).json()).toEqual(row);
  });

  test("again with the same id and body is harmless, by POST and by PUT, also after a change", async () => {
    const body = { title: "mine", metadata: { b: "2", a: "1" } };
    expect((await call("PUT", `/v1/constructs/${MINE}`, { json: body })).status).toBe(201);
    expect(
      (await call("PUT", `/v1/constructs/${MINE}`, { json: { metadata: { a: "1", b: "2" }, title: "mine" } }))
        .status,
    ).toBe(200);
    expect((await call("POST", "/v1/constructs", { json: { id: MINE, ...body } })).status).toBe(200);
    await json(200, "PATCH", `/v1/constructs/${MINE}`, {
      json: { title: "changed" },
      headers: { "if-match": "*" },
    });
    const again = await call("PUT", `/v1/constructs/${MINE}`, { json: { ...body, id: MINE } });
    expect(again.status).toBe(200);
    expect(await again.json()).toMatchObject({ title: "changed", revision: 2 });
    expect(again.headers.get("etag")).toBe('"r2"');
  });

  test("with the same id and another body is a conflict", async () => {
    expect(
      await problemIn(await call("PUT", `/v1/constructs/${MINE}`, { json: { title: "other" } })),
    ).toMatchObject({ code: "conflict", id: MINE });
  });

  test("refuses an id that differs from the path's, and one that is none", async () => {
    expect(
      (
        await problemIn(
          await call("PUT", `/v1/constructs/${MINE}`, { json: { id: DEFAULT_WORKSPACE_ID, title: "x" } }),
        )
      ).errors?.[0]?.pointer,
    ).toBe("/id");
    expect(
      (await problemIn(await call("POST", "/v1/constructs", { json: { id: "x", title: "x" } }))).errors?.[0]
        ?.pointer,
    ).toBe("/id");
  });

  test("names what it hangs on when that is not there", async () => {
    expect(
      (await problemIn(await call("POST", "/v1/constructs", { json: { title: "x", workspace_id: MINE } })))
        .errors?.[0]?.pointer,
    ).toBe("/workspace_id");
    expect(
      (await problemIn(await call("POST", "/v1/sessions", { json: { construct_id: DEFAULT_WORKSPACE_ID } })))
        .errors?.[0]?.pointer,
    ).toBe("/construct_id");
  });

  test("a metadata key named after a member of the language is a key, and __proto__ is refused, however it is written", async () => {
    const post = (metadata: string) =>
      call("POST", "/v1/constructs", {
        body: `{"title":"x","metadata":${metadata}}`,
        headers: { "content-type": "application/json" },
      });
    const answer = await post('{"constructor":"b","toString":"c","\\u0061":"d"}');
    expect(await answer.json()).toMatchObject({ metadata: { constructor: "b", toString: "c", a: "d" } });
    for (const name of ["__proto__", "\\u005f_proto__", "__\\u0070roto__"]) {
      expect((await problemIn(await post(`{"${name}":"a"}`))).errors).toEqual([
        { pointer: "/metadata/__proto__", detail: "This name cannot be used." },
      ]);
    }
  });
});

describe("workspaces", () => {
  test("are created, changed, listed by name and deleted", async () => {
    const row = await json<Row>(201, "POST", "/v1/workspaces", {
      json: { name: "alpha", repository: "git@example.com:a.git" },
    });
    const path = `/v1/workspaces/${row.id}`;
    expect((await problemIn(await call("POST", "/v1/workspaces", { json: { name: "ALPHA" } }))).code).toBe(
      "conflict",
    );
    expect(
      await json(200, "PATCH", path, { json: { path: "/src/a" }, headers: { "if-match": '"r1"' } }),
    ).toMatchObject({ path: "/src/a", revision: 2 });
    expect(await json(200, "GET", "/v1/workspaces?q=ALP&count=true")).toMatchObject({
      items: [{ id: row.id }],
      total_count: 1,
      next_cursor: null,
    });
    expect(
      (await json<{ items: Row[] }>(200, "GET", "/v1/workspaces")).items.map(({ name }) => name),
    ).toEqual(["alpha", "default"]);
    expect((await call("DELETE", path, { headers: { "if-match": '"r2"' } })).status).toBe(204);
    expect((await call("GET", path)).status).toBe(404);
    expect(
      (await call("DELETE", `/v1/workspaces/${DEFAULT_WORKSPACE_ID}`, { headers: { "if-match": "*" } }))
        .status,
    ).toBe(409);
  });
});

describe("a construct's life", () => {
  test("goes through statuses, each with its time, actor and reason", async () => {
    const { id } = await json<Row>(201, "POST", "/v1/constructs", {
      json: { title: "life" },
      headers: { "synthetic-actor": "agent" },
    });
    clock.at_ms += 1_000;
    await json(200, "PATCH", `/v1/constructs/${id}`, {
      json: { status: "active", status_reason: "begin" },
      headers: { "if-match": '"r1"', "synthetic-actor": "system" },
    });
    const page = await json<{ items: Row[]; next_cursor: null }>(200, "GET", `/v1/constructs/${id}/statuses`);
    expect(page).toEqual({
      items: [
        {
          status: "draft",
          from_at_ms: clock.at_ms - 1_000,
          until_at_ms: clock.at_ms,
          actor: "agent",
          reason: null,
        },
        { status: "active", from_at_ms: clock.at_ms, until_at_ms: null, actor: "system", reason: "begin" },
      ] as unknown as Row[],
      next_cursor: null,
    });
    expect(
      store.recorded
        .filter((event) => event.construct_id === id)
        .map(({ type, actor }) => `${type} ${actor}`),
    ).toEqual(["construct.created agent", "construct.status_changed system"]);
  });

  test("ends in the trash with its sessions, and comes back", async () => {
    const { construct, path } = await newSession(open);
    const own = `/v1/constructs/${construct.id}`;
    expect((await call("DELETE", own, { headers: { "if-match": '"r1"' } })).status).toBe(204);
    for (const [method, target] of [
      ["GET", own],
      ["GET", path],
      ["GET", `${path}/entries`],
      ["GET", `${path}/transcript`],
      ["GET", `${path}/tail`],
      ["GET", `${own}/statuses`],
    ] as const) {
      expect((await problemIn(await call(method, target))).code).toBe("gone");
    }
    expect(
      (await json<{ items: Row[] }>(200, "GET", "/v1/constructs?deleted=true")).items.map(({ id }) => id),
    ).toEqual([construct.id]);
    expect(await json(200, "POST", `${own}/undelete`)).toMatchObject({ revision: 3, deleted_at_ms: null });
    expect((await call("GET", path)).status).toBe(200);
    expect(
      (await call("POST", `${own}/undelete`, { headers: { "synthetic-actor": "agent" } })).headers.get(
        "etag",
      ),
    ).toBe('"r3"');
  });
});

describe("sessions", () => {
  test("are deleted and undeleted", async () => {
    const { path } = await newSession(open);
    expect((await call("DELETE", path, { headers: { "if-match": "*" } })).status).toBe(204);
    expect((await call("GET", path)).status).toBe(410);
    expect((await call("DELETE", path, { headers: { "if-match": "*" } })).status).toBe(410);
    expect((await call("POST", `${path}/undelete`)).headers.get("etag")).toBe('"r3-s0"');
    expect((await call("GET", path)).status).toBe(200);
  });

  test("end with a time", async () => {
    const { path } = await newSession(open);
    expect(
      await json(200, "PATCH", path, { json: { status: "ended" }, headers: { "if-match": '"r1-s0"' } }),
    ).toMatchObject({ status: "ended", ended_at_ms: clock.at_ms });
  });
});

describe("Synthetic-Actor", () => {
  test("is user when absent, and one of four", async () => {
    const { id } = await json<Row>(201, "POST", "/v1/constructs", { json: { title: "x" } });
    expect(store.recorded.find((event) => event.construct_id === id)?.actor).toBe("user");
    const answer = await call("POST", "/v1/constructs", {
      json: { title: "x" },
      headers: { "synthetic-actor": "robot" },
    });
    expect((await problemIn(answer)).errors?.[0]?.pointer).toBe("Synthetic-Actor");
  });
});
