/** Limits of the command line, each at its bound and one past it: lines, tries, pauses and how far it looks. */
import { describe, expect, spyOn, test } from "bun:test";
import { Command } from "commander";
import { groupEntries } from "../../src/cli/append-groups.ts";
import { type AppendState, appendRequest } from "../../src/cli/append-run.ts";
import { type ApiRequest, type Client, createClient, type Transport } from "../../src/cli/client.ts";
import { streamLines } from "../../src/cli/entry-stream.ts";
import { readEvents } from "../../src/cli/event-stream.ts";
import { type Input, readText } from "../../src/cli/input.ts";
import type { Cli } from "../../src/cli/machine.ts";
import type { Act } from "../../src/cli/program.ts";
import { resolveId } from "../../src/cli/resource.ts";
import { defineTail } from "../../src/cli/tail.ts";
import { checkToken } from "../../src/cli/token-file.ts";
import { answers } from "../../src/cli/transports.ts";
import { resolveWorkspace } from "../../src/cli/workspace.ts";
import { Problem } from "../../src/errors.ts";
import { limit } from "../../src/limits.ts";

const never = new AbortController().signal;
const ID = "01940000-0000-7000-8000-000000000000";

async function refusal(attempt: () => unknown): Promise<unknown> {
  try {
    await attempt();
  } catch (error) {
    return error instanceof Problem ? error.code : error;
  }
  return "accepted";
}

async function* pieces(...parts: (string | Uint8Array)[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield Buffer.from(part);
}

/** Pauses that do not last; gives how long each would have been. */
async function withoutPauses(work: () => Promise<unknown>): Promise<number[]> {
  const pauses: number[] = [];
  const waiting = spyOn(globalThis, "setTimeout").mockImplementation(((act: () => void, ms = 0) => {
    pauses.push(ms);
    queueMicrotask(act);
    return 0;
  }) as unknown as typeof setTimeout);
  try {
    await work();
  } finally {
    waiting.mockRestore();
  }
  return pauses;
}

/** The pauses between tries, each twice the one before. */
function doubled(first_ms: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) =>
    Math.min(first_ms * 2 ** index, limit("cli_longest_pause_ms")),
  );
}

describe("a token", () => {
  test("has token_min_characters at least and token_max_characters at most", async () => {
    for (const length of [limit("token_min_characters"), limit("token_max_characters")])
      expect(checkToken("t".repeat(length)).length).toBe(length);
    for (const length of [limit("token_min_characters") - 1, limit("token_max_characters") + 1])
      expect(await refusal(() => checkToken("t".repeat(length)))).toBe("usage");
  });
});

describe("a line", () => {
  test("of entries is entry_body_bytes and entry_envelope_bytes long at most", async () => {
    const most = limit("entry_body_bytes") + limit("entry_envelope_bytes");
    const read = (length: number): Promise<unknown> =>
      Array.fromAsync(groupEntries(pieces(Buffer.alloc(length, "x"), "\n"), { form: "entry" }, never));
    expect(await refusal(() => read(most))).toBe("accepted");
    expect(await refusal(() => read(most + 1))).toBe("too_large");
  });

  test("of a tail is cli_event_line_bytes long at most", async () => {
    const read = (length: number): Promise<{ data: string }[]> =>
      Array.fromAsync(readEvents(pieces("data:", Buffer.alloc(length - 5, "x"), "\n\n")));
    expect((await read(limit("cli_event_line_bytes")))[0]?.data.length).toBe(
      limit("cli_event_line_bytes") - 5,
    );
    expect(await refusal(() => read(limit("cli_event_line_bytes") + 1))).toBe("too_large");
  });
});

test("a text out of a file is resource_body_bytes long at most", async () => {
  const input = (length: number): Input => ({ chunks: pieces(Buffer.alloc(length, "x")), size_bytes: null });
  expect((await readText(input(limit("resource_body_bytes")))).length).toBe(limit("resource_body_bytes"));
  expect(await refusal(() => readText(input(limit("resource_body_bytes") + 1)))).toBe("too_large");
});

describe("an append request", () => {
  const groupsOf = async (lines: Uint8Array[]): Promise<number[]> =>
    (await Array.fromAsync(groupEntries(pieces(Buffer.concat(lines)), { form: "entry" }, never))).map(
      ({ length }) => length,
    );
  const line = (bytes: number): Uint8Array => Buffer.alloc(bytes, "x").fill("\n", bytes - 1);

  test("ends with the entry that reaches cli_append_request_bytes", async () => {
    const half = limit("cli_append_request_bytes") / 2;
    expect(await groupsOf([line(half), line(half), line(10)])).toEqual([2, 1]);
    expect(await groupsOf([line(half), line(half - 1), line(10)])).toEqual([3]);
  });

  test("ends with entries_per_append_count entries", async () => {
    const lines = Buffer.from("x\n".repeat(limit("entries_per_append_count") + 1));
    expect(await groupsOf([lines])).toEqual([limit("entries_per_append_count"), 1]);
  });

  test("is sent when nothing more comes for cli_append_idle_ms", async () => {
    const { promise: later, resolve } = Promise.withResolvers<void>();
    const source = (async function* () {
      yield Buffer.from("a\n");
      await later;
      yield Buffer.from("b\n");
    })();
    const groups = groupEntries(source, { form: "entry" }, never);
    const began = performance.now();
    expect((await groups.next()).value?.length).toBe(1);
    expect(performance.now() - began).toBeGreaterThan(limit("cli_append_idle_ms") * 0.9);
    resolve();
    expect((await groups.next()).value?.length).toBe(1);
  });
});

describe("appending", () => {
  const stateOf = (): AppendState => ({
    position: { seq: 0 },
    is_fixed: false,
    first_seq: null,
    head: null,
    entry_count: 0,
    replayed_count: 0,
  });
  /** A server that fails so often and then stores. */
  const send = (failures: number, failure: (done: number) => Problem): Promise<unknown> => {
    let done = 0;
    const json = async (): Promise<unknown> => {
      if (done < failures) throw failure((done += 1));
      return { first_seq: 1, last_seq: 1, head: "h", received_at_ms: 0, replayed: false };
    };
    const target = {
      client: { json } as unknown as Client,
      session_id: "s",
      signal: never,
      waits: () => undefined,
    };
    return refusal(() => appendRequest(target, Buffer.from("a\n"), 1, stateOf()));
  };

  test("is repeated cli_append_retries_count times, from cli_append_pause_ms to cli_longest_pause_ms apart", async () => {
    const most = limit("cli_append_retries_count");
    const busy = (): Problem => new Problem("busy", "b");
    const pauses = doubled(limit("cli_append_pause_ms"), most);
    expect(pauses.at(-1)).toBe(limit("cli_longest_pause_ms"));
    expect(await withoutPauses(async () => expect(await send(most, busy)).toBe("accepted"))).toEqual(pauses);
    expect(await withoutPauses(async () => expect(await send(most + 1, busy)).toBe("busy"))).toEqual(pauses);
  });

  test("waits as long as the server asks, up to cli_retry_after_ms", async () => {
    const most_s = limit("cli_retry_after_ms") / 1_000;
    for (const [asked_s, ms] of [
      [most_s - 1, (most_s - 1) * 1_000],
      [most_s, most_s * 1_000],
      [most_s + 1, most_s * 1_000],
    ]) {
      const busy = (): Problem => new Problem("busy", "b", { retry_after_s: asked_s! });
      expect(await withoutPauses(() => send(1, busy))).toEqual([ms!]);
    }
  });

  test("follows others who get in between cli_append_overtaken_count times", async () => {
    const overtaken = (done: number): Problem =>
      new Problem("conflict", "c", { members: { last_seq: done } });
    expect(await send(limit("cli_append_overtaken_count"), overtaken)).toBe("accepted");
    expect(await send(limit("cli_append_overtaken_count") + 1, overtaken)).toBe("conflict");
  });
});

const wireLine = '{"received_at_ms":1,"seq":1,"kind":"note","actor":"agent","at_ms":1,"body":1}';

test("a transcript is asked for cli_read_tries_count times in a row when nothing of it comes", async () => {
  const read = async (empty: number): Promise<unknown> => {
    let asked = 0;
    const request = async (): Promise<Response> => new Response((asked += 1) > empty ? `${wireLine}\n` : "");
    const session = { id: ID, last_seq: 1, dropped_through_seq: 0 };
    return refusal(() => Array.fromAsync(streamLines({ request } as unknown as Client, session, 0, never)));
  };
  expect(await read(limit("cli_read_tries_count") - 1)).toBe("accepted");
  expect(await read(limit("cli_read_tries_count"))).toBe("unreachable");
});

test("a tail is taken up cli_tail_retries_count times in a row, from cli_tail_pause_ms to cli_longest_pause_ms apart", async () => {
  const most = limit("cli_tail_retries_count");
  /** What follows a tail that breaks off so often before it brings an entry. */
  const follow = async (failures: number): Promise<unknown> => {
    const stop = new AbortController();
    let asked = 0;
    const client = {
      via: "server",
      json: async () => ({ id: ID, last_seq: 0, dropped_through_seq: 0 }),
      request: async (_request: ApiRequest) => {
        asked += 1;
        if (asked <= failures) throw new Problem("unreachable", "u");
        return new Response(`id: g.1\nevent: entry\ndata: ${wireLine}\n\n`);
      },
    };
    const terminal = { json: true, write: async () => stop.abort(), say: () => undefined };
    const cli = {
      client: async () => client,
      terminal,
      interruption: { signal: stop.signal },
    } as unknown as Cli;
    const act: Act =
      (perform) =>
      async (...given) =>
        void (await perform(cli, ...(given.slice(0, -1) as never)));
    const program = new Command();
    defineTail(program, act);
    return refusal(() => program.parseAsync(["tail", ID], { from: "user" }));
  };
  const pauses = doubled(limit("cli_tail_pause_ms"), most);
  expect(pauses.at(-1)).toBe(limit("cli_longest_pause_ms"));
  expect(
    (await withoutPauses(async () => expect(await follow(most)).toBe("accepted"))).slice(0, most),
  ).toEqual(pauses);
  expect(await withoutPauses(async () => expect(await follow(most + 1)).toBe("unreachable"))).toEqual(pauses);
});

test("a server that is silent for cli_probe_ms does not answer", async () => {
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: () => new Promise<Response>(() => undefined),
  });
  const asked_ms: number[] = [];
  const soon = AbortSignal.timeout(20);
  const timing = spyOn(AbortSignal, "timeout").mockImplementation((ms) => {
    asked_ms.push(ms);
    return soon;
  });
  try {
    expect(await answers(server.url.origin, never)).toBe(false);
  } finally {
    timing.mockRestore();
    await server.stop(true);
  }
  expect(asked_ms).toEqual([limit("cli_probe_ms")]);
});

describe("looking for what was named", () => {
  /** A list of so many rows, of which the last is the one that is meant. */
  const listOf = (count: number): Client => {
    const rows = Array.from({ length: count }, (_, index) => ({
      id: index === count - 1 ? ID : `${String(index).padStart(8, "0")}-0000-7000-8000-111111111111`,
      name: index === count - 1 ? "mine" : `mine ${index}`,
    }));
    const transport = {
      fetch: async (path: string) => {
        const query = new URLSearchParams(path.slice(path.indexOf("?")));
        const from = Number(query.get("cursor") ?? 0);
        const through = from + Number(query.get("limit"));
        const next_cursor = through < count ? String(through) : null;
        return Response.json({ items: rows.slice(from, through), next_cursor });
      },
    } as unknown as Transport;
    return createClient(transport, "t", never);
  };

  test("by a part of its id looks through cli_resolve_rows_count rows, and is not sure when there are more", async () => {
    const most = limit("cli_resolve_rows_count");
    expect(await resolveId(listOf(most), "/v1/sessions", "session", "019400")).toBe(ID);
    expect(await refusal(() => resolveId(listOf(most + 1), "/v1/sessions", "session", "019400"))).toBe(
      "usage",
    );
  });

  test("by the name of a workspace looks through cli_named_rows_count rows", async () => {
    const most = limit("cli_named_rows_count");
    expect(await resolveWorkspace(listOf(most), "Mine")).toBe(ID);
    expect(await refusal(() => resolveWorkspace(listOf(most + 1), "Mine"))).toBe("not_found");
  });
});
