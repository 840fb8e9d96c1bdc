import { beforeAll, describe, expect, test } from "bun:test";
import { limit } from "../../src/limits.ts";
import { openDoor, problemIn, START_MS, type Row } from "./open-door.ts";

interface PageJson {
  items: Row[];
  next_cursor: string | null;
  total_count?: number;
}

const open = openDoor();
const { call, json, clock } = open;
const list = (query: string) => json<PageJson>(200, "GET", `/v1/constructs?${query}`);
const titles = async (query: string): Promise<unknown[]> =>
  (await list(query)).items.map(({ title }) => title);
let other_workspace = "";

beforeAll(async () => {
  other_workspace = (await json<Row>(201, "POST", "/v1/workspaces", { json: { name: "other" } })).id;
  const rows = [
    {
      title: "a",
      status: "active",
      labels: ["red"],
      agent: "claude",
      branch: "main",
      metadata: { team: "one" },
    },
    {
      title: "b",
      status: "parked",
      labels: ["red", "blue"],
      agent: "codex",
      type: "bug",
      pinned: true,
      metadata: { team: "two", "odd key/%": "é&=" },
    },
    { title: "c", brief: "About PARSERS", labels: ["blue"], metadata: { team: "one", size: "xl" } },
    { title: "d", workspace_id: other_workspace },
  ];
  for (const row of rows) {
    clock.at_ms += 1_000;
    await json(201, "POST", "/v1/constructs", { json: row });
  }
});

describe("filters of constructs", () => {
  test.each([
    ["", ["d", "c", "b", "a"]],
    ["status=active", ["a"]],
    ["status=active&status=parked", ["b", "a"]],
    ["label=red", ["b", "a"]],
    ["label=red&agent=codex", ["b"]],
    ["type=bug", ["b"]],
    ["branch=main", ["a"]],
    ["pinned=true", ["b"]],
    ["pinned=false&label=blue", ["c"]],
    ["deleted=true", []],
    ["q=parsers", ["c"]],
    ["q=a", ["c", "a"]],
    ["metadata.team=one", ["c", "a"]],
    ["metadata.team=one&metadata.team=two", ["c", "b", "a"]],
    ["metadata.team=one&metadata.size=xl", ["c"]],
    ["metadata.odd%20key%2F%25=%C3%A9%26%3D", ["b"]],
    ["metadata.__proto__=x", []],
    [`created_after=${START_MS + 2_000}`, ["d", "c"]],
    [`created_after=${START_MS + 1_000}&created_before=${START_MS + 4_000}`, ["c", "b"]],
    [`updated_before=${START_MS + 1_001}`, ["a"]],
    ["sort=title", ["a", "b", "c", "d"]],
    ["sort=title&order=desc", ["d", "c", "b", "a"]],
    ["sort=created&order=asc", ["a", "b", "c", "d"]],
    ["sort=status_since", ["d", "c", "b", "a"]],
  ])("%s", async (query, expected) => expect(await titles(query)).toEqual(expected));

  test("by workspace", async () => {
    expect(await titles(`workspace_id=${other_workspace}`)).toEqual(["d"]);
    expect((await problemIn(await call("GET", "/v1/constructs?workspace_id=X"))).errors?.[0]?.pointer).toBe(
      "workspace_id",
    );
  });
});

describe("pages", () => {
  test("follow each other by cursor and Link, without loss or repetition", async () => {
    const seen: unknown[] = [];
    let path: string | undefined =
      "/v1/constructs?limit=1&sort=title&metadata.team=one&metadata.team=two&label=red&label=blue";
    while (path !== undefined) {
      const answer: Response = await call("GET", path);
      const page = (await answer.json()) as PageJson;
      seen.push(...page.items.map(({ title }) => title));
      const link: string | undefined = /^<([^>]+)>; rel="next"$/.exec(answer.headers.get("link") ?? "")?.[1];
      expect(link === undefined).toBe(page.next_cursor === null);
      if (link !== undefined)
        expect(new URL(link, "http://x").searchParams.get("cursor")).toBe(page.next_cursor);
      path = link;
    }
    expect(seen).toEqual(["a", "b", "c"]);
  });

  test("count what they are a part of", async () => {
    expect(await list("limit=1&count=true")).toMatchObject({ total_count: 4 });
    expect(await list("limit=1&count=true&label=red")).toMatchObject({ total_count: 2 });
    expect(await list("limit=1&count=false")).not.toHaveProperty("total_count");
  });

  test("refuse a cursor of another question, a spoiled one and a long one", async () => {
    const { next_cursor } = await list("limit=1");
    const cursor = next_cursor ?? "";
    expect((await call("GET", `/v1/constructs?limit=3&cursor=${cursor}`)).status).toBe(200);
    for (const query of [
      `cursor=${cursor}&status=active`,
      `cursor=${cursor}&sort=title`,
      `cursor=${cursor}&order=asc`,
      `cursor=${cursor.slice(0, -3)}`,
      "cursor=x",
      "cursor=",
      `cursor=${"a".repeat(limit("cursor_characters") + 1)}`,
    ]) {
      expect((await problemIn(await call("GET", `/v1/constructs?${query}`))).errors?.[0]?.pointer).toBe(
        "cursor",
      );
    }
    expect((await call("GET", `/v1/sessions?cursor=${cursor}`)).status).toBe(422);
  });

  test("hold fifty items when nothing is asked, five hundred at most", async () => {
    for (let index = 0; index < limit("page_items_count") + 1; index += 1)
      await json(201, "POST", "/v1/workspaces", { json: { name: `w${index}` } });
    expect((await json<PageJson>(200, "GET", "/v1/workspaces")).items).toHaveLength(
      limit("page_default_count"),
    );
    expect(
      (await json<PageJson>(200, "GET", `/v1/workspaces?limit=${limit("page_items_count")}`)).items,
    ).toHaveLength(limit("page_items_count"));
    expect((await call("GET", `/v1/workspaces?limit=${limit("page_items_count") + 1}`)).status).toBe(422);
  });
});

test("sessions are filtered by where they belong and what they are", async () => {
  const construct = await json<Row>(201, "POST", "/v1/constructs", { json: { title: "with sessions" } });
  const make = (body: object) =>
    json<Row>(201, "POST", "/v1/sessions", { json: { construct_id: construct.id, ...body } });
  clock.at_ms += 1;
  const parent = await make({ agent: "claude", external_id: "one" });
  clock.at_ms += 1;
  const child = await make({ parent_id: parent.id, agent: "codex", status: "ended" });
  const ids = async (query: string) =>
    (await json<PageJson>(200, "GET", `/v1/sessions?${query}`)).items.map(({ id }) => id);
  expect(await ids(`construct_id=${construct.id}`)).toEqual([child.id, parent.id]);
  expect(await ids(`construct_id=${construct.id}&sort=created&order=asc`)).toEqual([parent.id, child.id]);
  expect(await ids(`parent_id=${parent.id}`)).toEqual([child.id]);
  expect(await ids("status=ended&status=error")).toEqual([child.id]);
  expect(await ids("agent=claude&external_id=one")).toEqual([parent.id]);
  expect(await ids(`workspace_id=${other_workspace}`)).toEqual([]);
  expect(await ids("deleted=true")).toEqual([]);
  expect((await call("GET", "/v1/sessions?sort=title")).status).toBe(422);
});
