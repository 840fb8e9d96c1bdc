import { describe, expect, test } from "bun:test";
import { type AppendState, type AppendTarget, appendRequest } from "../../src/cli/append-run.ts";
import type { ApiRequest, Client } from "../../src/cli/client.ts";
import { entryLine } from "../../src/cli/entry-input.ts";
import { readEvents } from "../../src/cli/event-stream.ts";
import { readLines } from "../../src/cli/lines.ts";
import { Problem } from "../../src/errors.ts";

const bytes = (text: string): Uint8Array => Buffer.from(text);
const text = (line: Uint8Array | null): string | null =>
  line === null ? null : Buffer.from(line).toString();

async function* pieces(...parts: string[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield bytes(part);
}

async function linesOf(source: AsyncIterable<Uint8Array>, most = 1_000): Promise<string[]> {
  return (await Array.fromAsync(readLines(source, most))).flat().map((line) => Buffer.from(line).toString());
}

describe("lines", () => {
  test("are the same however the bytes are cut", async () => {
    const whole = "ab\n\ncdé\nlast";
    const expected = ["ab", "", "cdé", "last"];
    const all = bytes(whole);
    for (let size = 1; size <= all.length; size += 1) {
      const cut = (async function* () {
        for (let at = 0; at < all.length; at += size) yield all.subarray(at, at + size);
      })();
      expect(await linesOf(cut)).toEqual(expected);
    }
  });

  test("end with or without a newline", async () => {
    expect(await linesOf(pieces("a\n"))).toEqual(["a"]);
    expect(await linesOf(pieces("a"))).toEqual(["a"]);
    expect(await linesOf(pieces())).toEqual([]);
    expect(await linesOf(pieces("\n\n"))).toEqual(["", ""]);
  });

  test("are bounded", async () => {
    expect(await linesOf(pieces("12345\n"), 5)).toEqual(["12345"]);
    expect(linesOf(pieces("ok\n123", "456\n"), 5)).rejects.toThrow("Line 2 is longer than 5 B.");
  });
});

describe("lines as entries", () => {
  test("whole entries go as they are, without blank lines", () => {
    expect(text(entryLine(bytes('{"kind":"note", "body":1.0}\r'), 1, { form: "entry" }))).toBe(
      '{"kind":"note", "body":1.0}',
    );
    expect(entryLine(bytes(" \t\r"), 1, { form: "entry" })).toBeNull();
  });

  test("text keeps every character and blank lines", () => {
    expect(text(entryLine(bytes('say "hi" \\ é\r'), 1, { form: "text" }))).toBe(
      '{"kind":"note","body":"say \\"hi\\" \\\\ é"}',
    );
    expect(text(entryLine(bytes(""), 1, { form: "text", kind: "command", actor: "tool" }))).toBe(
      '{"kind":"command","actor":"tool","body":""}',
    );
  });

  test("JSON becomes a body byte for byte", () => {
    expect(text(entryLine(bytes(' {"b": 1.00, "a":"\\u00e9"} '), 1, { form: "json", kind: "message" }))).toBe(
      '{"kind":"message","body":{"b": 1.00, "a":"\\u00e9"}}',
    );
  });

  test("a line cannot bring members of its own into the entry", () => {
    expect(() => entryLine(bytes('1,"key":"x"'), 3, { form: "json", kind: "note" })).toThrow(
      "Line 3 is not JSON.",
    );
    expect(() => entryLine(bytes("1}\n{"), 3, { form: "json", kind: "note" })).toThrow();
  });

  test("what is not UTF-8 is refused with its line", () => {
    expect(() => entryLine(Uint8Array.of(0xff), 9, { form: "text" })).toThrow("Line 9 is not UTF-8.");
  });
});

/** A session of another machine: it keeps what is appended, and fails as it is told. */
function fakeServer(failures: ("lost" | "stored" | "busy" | "overtaken" | "twin")[], stored: string[] = []) {
  const server = {
    stored,
    asked: [] as number[],
    client: {
      async json({ method, query, body }: ApiRequest) {
        if (method !== "POST") return { last_seq: stored.length };
        const after = Number(query?.["after"]);
        server.asked.push(after);
        const sent = Buffer.from(body instanceof Uint8Array ? body : new Uint8Array())
          .toString()
          .trimEnd()
          .split("\n");
        const failure = failures.shift();
        if (failure === "busy") throw new Problem("busy", "b");
        if (failure === "lost") throw new Problem("unreachable", "u");
        if (failure === "overtaken") stored.push("other");
        if (failure === "twin") stored.push(...sent);
        const replayed = sent.every((line, index) => stored[after + index] === line);
        if (!replayed && stored.length !== after)
          throw new Problem("conflict", "c", { members: { last_seq: stored.length, head: "h" } });
        if (!replayed) stored.push(...sent);
        if (failure === "stored") throw new Problem("unreachable", "u");
        return {
          first_seq: after + 1,
          last_seq: after + sent.length,
          head: `h${after + sent.length}`,
          received_at_ms: 0,
          replayed,
        };
      },
    } as unknown as Client,
  };
  return server;
}

const state = (seq: number, is_fixed = false): AppendState => ({
  position: { seq },
  is_fixed,
  first_seq: null,
  head: null,
  entry_count: 0,
  replayed_count: 0,
});
function targetOf(client: Client): AppendTarget {
  return { client, session_id: "s", signal: new AbortController().signal, waits: () => undefined };
}

describe("appending exactly once", () => {
  test("an answer that got lost is found again", async () => {
    const server = fakeServer(["stored", "lost", "busy"], ["x"]);
    const now = state(1);
    await appendRequest(targetOf(server.client), bytes("a\nb\n"), 2, now);
    expect(server.stored).toEqual(["x", "a", "b"]);
    expect(now).toMatchObject({
      position: { seq: 3 },
      first_seq: 2,
      head: "h3",
      entry_count: 2,
      replayed_count: 2,
    });
  });

  test("another writer in between is followed to the new end", async () => {
    const server = fakeServer(["overtaken"]);
    const now = state(0);
    await appendRequest(targetOf(server.client), bytes("a\n"), 1, now);
    expect(server.stored).toEqual(["other", "a"]);
    expect(now).toMatchObject({ position: { seq: 2 }, first_seq: 2, replayed_count: 0 });
  });

  test("another writer who says the very same is not mistaken for us", async () => {
    const server = fakeServer(["twin"]);
    await appendRequest(targetOf(server.client), bytes("a\n"), 1, state(0));
    expect(server.stored).toEqual(["a", "a"]);
  });

  test("with a position of the caller's it is a replay", async () => {
    const server = fakeServer([], ["a"]);
    const now = state(0, true);
    await appendRequest(targetOf(server.client), bytes("a\n"), 1, now);
    expect(server.stored).toEqual(["a"]);
    expect(now.replayed_count).toBe(1);
  });

  test("with a position of the caller's another writer is a conflict", async () => {
    const server = fakeServer(["overtaken"]);
    expect(appendRequest(targetOf(server.client), bytes("a\n"), 1, state(0, true))).rejects.toMatchObject({
      code: "conflict",
    });
  });

  test("a refusal is told and nothing is stored", async () => {
    const client = { json: () => Promise.reject(new Problem("invalid_request", "no")) } as unknown as Client;
    const now = state(0);
    expect(appendRequest(targetOf(client), bytes("a\n"), 1, now)).rejects.toMatchObject({
      code: "invalid_request",
    });
    expect(now.entry_count).toBe(0);
  });
});

test("server-sent events are read however they are cut", async () => {
  const stream =
    ':hi\n\nretry: 5\n\nid: g.1\nevent: entry\ndata: {"a":1}\n\ndata: x\ndata:y\r\n\r\nid: g.2\nevent: entry\ndata: lost';
  const expected = [
    { id: "g.1", event: "entry", data: '{"a":1}' },
    { id: "g.1", event: "message", data: "x\ny" },
  ];
  expect(await Array.fromAsync(readEvents(pieces(stream)))).toEqual(expected);
  expect(await Array.fromAsync(readEvents(pieces(...stream.split(""))))).toEqual(expected);
});
