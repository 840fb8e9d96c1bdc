import { describe, expect, test } from "bun:test";
import { limit } from "../../src/limits.ts";
import { headHex, nextHead, ZERO_HEAD } from "../../src/lib/head.ts";
import { newSession, openDoor, problemIn, START_MS } from "./open-door.ts";

interface Result {
  first_seq: number;
  last_seq: number;
  head: string;
  received_at_ms: number;
  replayed: boolean;
  items?: { seq: number; replayed: boolean }[];
}

const open = openDoor();
const { call, json } = open;
const NDJSON = { "content-type": "application/x-ndjson" };
const entry = (body: unknown, more: object = {}): object => ({ kind: "message", body, ...more });
const appendTo = (path: string, query: string, entries: object[]) =>
  call("POST", `${path}/entries${query}`, { json: { entries } });

describe("an append", () => {
  test("of JSON answers 201 with seqs and the head that a client can compute", async () => {
    const { path } = await newSession(open);
    const answer = await appendTo(path, "", [
      entry({ a: 1 }),
      entry("two", { kind: "note", actor: "tool", at_ms: 5 }),
    ]);
    const result = (await answer.json()) as Result;
    expect(answer.status).toBe(201);
    const headed = [
      `"seq":1,"kind":"message","actor":"agent","at_ms":${START_MS},"body":{"a":1}}`,
      '"seq":2,"kind":"note","actor":"tool","at_ms":5,"body":"two"}',
    ];
    expect(result).toEqual({
      first_seq: 1,
      last_seq: 2,
      head: headHex(headed.reduce((head, text) => nextHead(head, text), ZERO_HEAD)),
      received_at_ms: START_MS,
      replayed: false,
    });
  });

  test("keeps bodies byte for byte, in JSON and in NDJSON", async () => {
    const bodies = [
      '{"b": 1.50, "a":1e400, "a":"\\u00e9é\\/"}',
      "[ 1,2 ]",
      '" \\ud83d\\ude00 "',
      "-0",
      "null",
      '{"body":{"body":"}"}}',
    ];
    const { path } = await newSession(open);
    const as_json = `{"entries":[${bodies.map((body) => `{"kind":"note","at_ms":1,"body":${body}}`).join(",\n")}]}`;
    expect(
      (
        await call("POST", `${path}/entries`, {
          body: as_json,
          headers: { "content-type": "application/json" },
        })
      ).status,
    ).toBe(201);
    const as_lines = bodies.map((body) => `{"body":${body},"at_ms":1,"kind":"note"}`).join("\n");
    expect((await call("POST", `${path}/entries`, { body: as_lines, headers: NDJSON })).status).toBe(201);
    const lines = (await (await call("GET", `${path}/transcript`)).text()).trimEnd().split("\n");
    expect(lines.map((line) => line.slice(line.indexOf('"body":') + 7, -1))).toEqual([...bodies, ...bodies]);
  });

  test("names the entry and the member that is wrong", async () => {
    const { path } = await newSession(open);
    const answer = await appendTo(path, "", [entry(1), { kind: "nothing", body: 1, extra: 1 }]);
    const problem = await problemIn(answer);
    expect(answer.status).toBe(422);
    expect(problem.errors?.map(({ pointer }) => pointer).toSorted()).toEqual([
      "/entries/1/extra",
      "/entries/1/kind",
    ]);
    expect(await json(200, "GET", path)).toMatchObject({ last_seq: 0 });
  });

  test("needs JSON or NDJSON, in UTF-8", async () => {
    const { path } = await newSession(open);
    const line = '{"kind":"note","body":1}\n';
    expect(
      (
        await call("POST", `${path}/entries`, {
          body: line,
          headers: { "content-type": "application/x-ndjson; charset=UTF-8" },
        })
      ).status,
    ).toBe(201);
    for (const type of [
      "text/plain",
      "application/ndjson",
      "application/x-ndjson; charset=utf-16",
      undefined,
    ]) {
      expect(
        (
          await call("POST", `${path}/entries`, {
            body: Buffer.from(line),
            headers: { "content-type": type },
          })
        ).status,
      ).toBe(415);
    }
    for (const body of [
      Buffer.from('{"kind":"note","body":"\xff"}', "latin1"),
      '{"kind":"note","body":1',
      "{]",
    ]) {
      expect((await problemIn(await call("POST", `${path}/entries`, { body, headers: NDJSON }))).code).toBe(
        "malformed_body",
      );
    }
  });

  test("has a bound on its bytes", async () => {
    const { path } = await newSession(open);
    const headers = {
      "content-type": "application/json",
      "content-length": String(limit("json_body_bytes") + 1),
    };
    expect((await problemIn(await call("POST", `${path}/entries`, { body: "{}", headers }))).code).toBe(
      "too_large",
    );
    const line = Buffer.from(`${" ".repeat(1 << 20)}\n`);
    const lines = async function* (): AsyncGenerator<Uint8Array> {
      for (let bytes = 0; bytes <= limit("ndjson_body_bytes"); bytes += line.byteLength) yield line;
    };
    const answer = await call("POST", `${path}/entries`, {
      body: new ReadableStream({
        async start(controller) {
          for await (const part of lines()) controller.enqueue(part);
          controller.close();
        },
      }),
      headers: NDJSON,
    });
    expect(answer.status).toBe(413);
  });

  test("to what is not there or gone says so", async () => {
    const { path } = await newSession(open);
    expect((await appendTo("/v1/sessions/01940000-0000-7000-8000-000000000000", "", [entry(1)])).status).toBe(
      404,
    );
    await call("DELETE", path, { headers: { "if-match": "*" } });
    expect((await appendTo(path, "", [entry(1)])).status).toBe(410);
  });

  test("refuses what comes with replication, until it does", async () => {
    const { path } = await newSession(open);
    for (const query of ["?durability=local", "?wait_ms=1"])
      expect((await appendTo(path, query, [entry(1)])).status).toBe(422);
  });
});

describe("after", () => {
  test("makes a retry harmless: the same entries are answered again with the head of then", async () => {
    const { path } = await newSession(open);
    const first = (await (await appendTo(path, "?after=0", [entry(1), entry(2)])).json()) as Result;
    await appendTo(path, "?after=2", [entry(3)]);
    open.clock.at_ms += 3_600_000;
    const again = await appendTo(path, "?after=0", [entry(1), entry(2)]);
    expect(again.status).toBe(200);
    expect(await again.json()).toEqual({ ...first, replayed: true });
    const by_generation = await appendTo(path, `?after=${open.store.generation}.2`, [entry(3)]);
    expect(by_generation.status).toBe(200);
    expect(await json(200, "GET", path)).toMatchObject({ last_seq: 3 });
  });

  test("with anything else there is a conflict that tells where the session ends", async () => {
    const { path } = await newSession(open);
    const { head } = (await (await appendTo(path, "", [entry(1), entry(2)])).json()) as Result;
    for (const [after, entries] of [
      [0, [entry(9)]],
      [0, [entry(1), entry(2), entry(3)]],
      [1, [entry(2, { at_ms: 9 })]],
      [5, [entry(1)]],
    ] as const) {
      const answer = await appendTo(path, `?after=${after}`, [...entries]);
      expect(answer.status).toBe(409);
      expect(await problemIn(answer)).toMatchObject({ code: "conflict", last_seq: 2, head });
    }
    const foreign = await appendTo(path, "?after=01940000-0000-7000-8000-000000000000.2", [entry(3)]);
    expect(await problemIn(foreign)).toMatchObject({ code: "conflict", generation: open.store.generation });
  });

  test.each([
    "",
    "-1",
    "1.5",
    "x",
    "x.1",
    "1.",
    ".1",
    "01940000-0000-7000-8000-00000000000G.1",
    "99999999999999999",
  ])("that is %p is refused by name", async (after) => {
    const { path } = await newSession(open);
    expect((await problemIn(await appendTo(path, `?after=${after}`, [entry(1)]))).errors?.[0]?.pointer).toBe(
      "after",
    );
  });
});

describe("keys", () => {
  test("known ones give their first seq, new ones append", async () => {
    const { path } = await newSession(open);
    const a = entry("a", { key: "a" });
    expect(await (await appendTo(path, "", [a])).json()).toMatchObject({
      last_seq: 1,
      items: [{ seq: 1, replayed: false }],
    });
    const mixed = await appendTo(path, "", [entry("b", { key: "b" }), a, entry("c")]);
    expect(mixed.status).toBe(201);
    expect(await mixed.json()).toMatchObject({
      first_seq: 2,
      last_seq: 3,
      replayed: false,
      items: [
        { seq: 2, replayed: false },
        { seq: 1, replayed: true },
        { seq: 3, replayed: false },
      ],
    });
    const again = await appendTo(path, "", [a]);
    expect(again.status).toBe(200);
    expect(await again.json()).toMatchObject({
      first_seq: 1,
      last_seq: 1,
      replayed: true,
      items: [{ seq: 1, replayed: true }],
    });
  });

  test("one that names another entry refuses the whole request", async () => {
    const { path } = await newSession(open);
    await appendTo(path, "", [entry("a", { key: "a" })]);
    expect(
      (await problemIn(await appendTo(path, "", [entry("new", { key: "n" }), entry("other", { key: "a" })])))
        .code,
    ).toBe("conflict");
    expect(await json(200, "GET", path)).toMatchObject({ last_seq: 1 });
  });
});
