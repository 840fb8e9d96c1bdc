import { afterEach, beforeEach, describe, expect, spyOn, test } from "bun:test";
import { createTailBatches, openTail } from "../../src/core/tail.ts";
import { listen, type Listener } from "../../src/http/listen.ts";
import { limit } from "../../src/limits.ts";
import { openSse, type SseEvent, type SseStream } from "../support/sse.ts";
import {
  append,
  newSession,
  type OpenDoor,
  openDoor,
  problemIn,
  type ProblemJson,
  silent_log,
  TOKEN,
} from "./open-door.ts";

/** Reads a tail in the same process. */
class Reader {
  text = "";
  #reader: { read(): Promise<{ value?: Uint8Array; done: boolean }>; cancel(): Promise<void> };
  #decoder = new TextDecoder();
  ended = false;

  constructor(answer: Response) {
    if (answer.body === null) throw new Error("no body");
    this.#reader = answer.body.getReader();
  }

  /** Reads until the text has this, or to the end. */
  async until(part: string): Promise<string> {
    while (!this.text.includes(part) && !this.ended) await this.read();
    return this.text;
  }

  async read(): Promise<void> {
    const { value, done } = await this.#reader.read();
    if (done) this.ended = true;
    else this.text += this.#decoder.decode(value, { stream: true });
  }

  async toEnd(): Promise<string> {
    while (!this.ended) await this.read();
    return this.text;
  }

  cancel(): Promise<void> {
    return this.#reader.cancel();
  }

  get events(): SseEvent[] {
    const whole = this.text.slice(0, this.text.lastIndexOf("\n\n") + 1);
    return whole.split("\n\n").flatMap((block) => {
      const fields = new Map(
        block
          .split("\n")
          .map((line): [string, string] => [
            line.slice(0, line.indexOf(": ")),
            line.slice(line.indexOf(": ") + 2),
          ]),
      );
      const data = fields.get("data");
      return data === undefined
        ? []
        : [{ id: fields.get("id") ?? null, event: fields.get("event") ?? "message", data }];
    });
  }
}

async function tail(
  open: OpenDoor,
  path: string,
  query = "",
  headers: Record<string, string> = {},
): Promise<Reader> {
  const answer = await open.call("GET", `${path}/tail${query}`, { headers });
  expect({ status: answer.status, problem: answer.status === 200 ? "" : await answer.text() }).toEqual({
    status: 200,
    problem: "",
  });
  return new Reader(answer);
}

const seqsOf = (events: readonly SseEvent[]): number[] =>
  events
    .filter(({ event }) => event === "entry")
    .map(({ data }) => (JSON.parse(data) as { seq: number }).seq);
const range = (from: number, through: number): number[] =>
  Array.from({ length: through - from + 1 }, (_, index) => from + index);

describe("a tail", () => {
  const open = openDoor();

  test("says how to read it", async () => {
    const { path } = await newSession(open);
    const answer = await open.call("GET", `${path}/tail`, { headers: { "accept-encoding": "zstd, gzip" } });
    expect(answer.headers.get("content-type")).toBe("text/event-stream");
    expect(answer.headers.get("cache-control")).toBe("no-store");
    expect(answer.headers.get("x-accel-buffering")).toBe("no");
    expect(answer.headers.get("content-encoding")).toBeNull();
    const reader = new Reader(answer);
    expect(await reader.until("\n\n")).toBe(`retry: ${limit("tail_retry_ms")}\n\n`);
    await reader.cancel();
  });

  test("gives each entry with its id, as the stored line", async () => {
    const { path } = await newSession(open);
    await append(open, path, [{ a: "é\n" }, "two"]);
    const reader = await tail(open, path);
    await reader.until('"two"}\n\n');
    const line = await (await open.call("GET", `${path}/entries/1`)).text();
    expect(reader.text).toStartWith(
      `retry: 1000\n\nid: ${open.store.generation}.1\nevent: entry\ndata: ${line}\n\nid: ${open.store.generation}.2\n`,
    );
    await reader.cancel();
  });

  test("goes on with what is appended while it is open, once each and in order", async () => {
    const { path } = await newSession(open);
    await append(open, path, range(1, 50));
    const reader = await tail(open, path);
    const appending = (async () => {
      for (let index = 0; index < 40; index += 1) await append(open, path, ["x", "x".repeat(index * 1_000)]);
    })();
    await reader.until('"seq":130,');
    await appending;
    expect(seqsOf(reader.events)).toEqual(range(1, 130));
    await reader.cancel();
  });

  test("resumes behind Last-Event-ID, which wins, or behind after", async () => {
    const { path } = await newSession(open);
    await append(open, path, range(1, 9));
    const resumed = async (query: string, id?: string): Promise<number[]> => {
      const reader = await tail(open, path, query, id === undefined ? {} : { "last-event-id": id });
      await reader.until('"seq":9,');
      await reader.cancel();
      return seqsOf(reader.events);
    };
    expect(await resumed("?after=7")).toEqual([8, 9]);
    expect(await resumed(`?after=${open.store.generation}.8`)).toEqual([9]);
    expect(await resumed("?after=1", `${open.store.generation}.6`)).toEqual([7, 8, 9]);
    expect(await resumed("", "5")).toEqual([6, 7, 8, 9]);
  });

  test("refuses a position that is none or behind the end", async () => {
    const { path } = await newSession(open);
    for (const [query, id, pointer] of [
      ["?after=x", undefined, "after"],
      ["", "x", "Last-Event-ID"],
      ["", "", "Last-Event-ID"],
      ["", `${open.store.generation}.x`, "Last-Event-ID"],
      ["?after=1", undefined, "after"],
    ] as const) {
      const answer = await open.call("GET", `${path}/tail${query}`, { headers: { "last-event-id": id } });
      expect(answer.status).toBe(422);
      expect((await problemIn(answer)).errors?.[0]?.pointer).toBe(pointer);
    }
    expect(open.door.active_count).toBe(0);
  });

  test("tells a reader of another generation where the session stands now, and goes on from there", async () => {
    const { path } = await newSession(open);
    const { head } = await append(open, path, [1, 2, 3]);
    const reader = await tail(open, path, "", {
      "last-event-id": "01940000-0000-7000-8000-000000000000.900",
    });
    await reader.until("event: reset");
    await append(open, path, [4]);
    await reader.until('"seq":4,');
    expect(reader.events[0]).toEqual({
      id: `${open.store.generation}.3`,
      event: "reset",
      data: JSON.stringify({ generation: open.store.generation, last_seq: 3, head }),
    });
    expect(seqsOf(reader.events)).toEqual([4]);
    await reader.cancel();
  });

  test("shows a large entry as a preview", async () => {
    const { path } = await newSession(open);
    await append(open, path, ["small", "x".repeat(limit("inline_item_bytes")), "last"]);
    const reader = await tail(open, path);
    await reader.until('"last"}\n\n');
    expect(
      reader.events.map(
        ({ data }) => (JSON.parse(data) as { body: unknown; body_bytes?: number }).body_bytes,
      ),
    ).toEqual([undefined, limit("inline_item_bytes") + 2, undefined]);
    expect(seqsOf(reader.events)).toEqual([1, 2, 3]);
    await reader.cancel();
  });

  test("gives a large event in pieces, each of tail_piece_bytes at most", async () => {
    const { path } = await newSession(open);
    await append(open, path, ["x".repeat(limit("tail_piece_bytes") * 3)]);
    const reader = await tail(open, path);
    while (!reader.text.endsWith('"}\n\n')) {
      const before = reader.text.length;
      await reader.read();
      expect(reader.text.length - before).toBeLessThanOrEqual(limit("tail_piece_bytes"));
    }
    expect(seqsOf(reader.events)).toEqual([1]);
    await reader.cancel();
  });

  test("keeps of what it read no more than it sends", async () => {
    const { path } = await newSession(open);
    await append(
      open,
      path,
      Array.from({ length: 50 }, () => "x".repeat(2_000)),
    );
    const { read } = open.store.entries;
    const sizes: number[] = [];
    const batches = createTailBatches();
    open.store.entries.read = async (...args) => {
      const lines = await read(...args);
      const frame = Buffer.concat([Buffer.alloc(1 << 20), ...lines.pieces]);
      return { ...lines, pieces: [frame.subarray(1 << 20)] };
    };
    const follower = await openTail(open.context, path.split("/").at(-1) ?? "", { seq: 49 }, batches);
    const step = await follower.next(1);
    open.store.entries.read = read;
    if (step.step === "entries") sizes.push(step.lines.byteLength, step.lines.buffer.byteLength);
    expect(sizes[0]).toBeGreaterThan(2_000);
    expect(sizes[1]).toBe(sizes[0]);
    expect(batches.stats.bytes).toBe(2 * (sizes[0] ?? 0));
    follower.close();
  });

  test("reads for all that stand at one place once", async () => {
    const { path } = await newSession(open);
    const readers = await Promise.all(Array.from({ length: 20 }, () => tail(open, path)));
    for (const reader of readers) await reader.read();
    const reads = spyOn(open.context.store.entries, "read");
    await append(open, path, [1]);
    await Promise.all(readers.map((reader) => reader.until('"seq":1')));
    expect(reads).toHaveBeenCalledTimes(1);
    reads.mockRestore();
    for (const reader of readers) await reader.cancel();
  });

  test("has one line of data for each entry, whatever line breaks the request had", async () => {
    const { path } = await newSession(open);
    const type = (name: string) => ({ "content-type": name });
    const spaced = '{"entries":[\r\n{"kind":"note","body":{"a":\r1,\n"b":[2\r\n]}}]}';
    await open.call("POST", `${path}/entries`, { body: spaced, headers: type("application/json") });
    const lines = '{"kind":"note","body":{"c":\r3}}\r\n{"kind":"note","body":"\\r\\n"}\r\n';
    await open.call("POST", `${path}/entries`, { body: lines, headers: type("application/x-ndjson") });
    const reader = await tail(open, path);
    await reader.until('"seq":3,');
    expect(reader.text).not.toContain("\r");
    const bodies = reader.events.map(({ data }) => (JSON.parse(data) as { body: unknown }).body);
    expect(bodies).toEqual([{ a: 1, b: [2] }, { c: 3 }, "\r\n"]);
    await reader.cancel();
  });

  test("ends with `gone` when the session is deleted, and opens no more", async () => {
    const { path } = await newSession(open);
    const reader = await tail(open, path);
    await reader.until("retry");
    const end = reader.toEnd();
    await open.call("DELETE", path, { headers: { "if-match": "*" } });
    await end;
    expect(reader.events).toHaveLength(1);
    expect(JSON.parse(reader.events[0]?.data ?? "")).toMatchObject({
      code: "gone",
      status: 410,
      retryable: false,
    });
    expect((await open.call("GET", `${path}/tail`)).status).toBe(410);
    expect(open.door.active_count).toBe(0);
  });

  test("ends with an error without its words when reading fails, and the log has them", async () => {
    const { path } = await newSession(open);
    const reader = await tail(open, path);
    await reader.until("retry");
    const { head } = open.store.entries;
    open.store.entries.head = () => Promise.reject(new Error("SELECT broken"));
    await reader.toEnd();
    open.store.entries.head = head;
    expect(JSON.parse(reader.events[0]?.data ?? "")).toMatchObject({ code: "internal" });
    expect(reader.text).not.toContain("SELECT");
    expect(open.logged.some((line) => line.includes("stream_failed") && line.includes("SELECT broken"))).toBe(
      true,
    );
  });

  test("HEAD opens none", async () => {
    const { path } = await newSession(open);
    const answer = await open.call("HEAD", `${path}/tail`);
    expect(answer.status).toBe(200);
    expect(await answer.text()).toBe("");
    expect(open.door.active_count).toBe(0);
  });
});

describe("with short waits", () => {
  test("a quiet tail sends comments", async () => {
    const open = openDoor({ waits: { tail_heartbeat_ms: 5 } });
    const { path } = await newSession(open);
    const reader = await tail(open, path);
    await reader.until("\n\n:\n\n:\n\n:\n\n");
    await append(open, path, [1]);
    await reader.until('"seq":1,');
    expect(seqsOf(reader.events)).toEqual([1]);
    await reader.cancel();
    expect(open.door.active_count).toBe(0);
  });

  test("at most so many are open at once", async () => {
    const open = openDoor({ waits: { tails_count: 2 } });
    const { path } = await newSession(open);
    const readers = [await tail(open, path), await tail(open, path)];
    const refused = await open.call("GET", `${path}/tail`);
    expect(refused.headers.get("retry-after")).toBe("5");
    expect((await problemIn(refused)).code).toBe("busy");
    await readers[0]?.cancel();
    await (await tail(open, path)).cancel();
    await readers[1]?.cancel();
    expect(open.door.active_count).toBe(0);
  });

  test("a reader that takes nothing is given up with an error that lets it resume", async () => {
    const open = openDoor({ waits: { tail_stall_ms: 20 } });
    const { path } = await newSession(open);
    await append(open, path, [1]);
    const reader = await tail(open, path);
    await reader.read();
    await Bun.sleep(60);
    await reader.toEnd();
    expect(reader.events.map(({ event }) => event)).toEqual(["error"]);
    expect(JSON.parse(reader.events[0]?.data ?? "")).toMatchObject({ code: "busy", retryable: true });
    expect(open.door.active_count).toBe(0);
  });
});

describe("on sockets", () => {
  let open: OpenDoor;
  let listener: Listener;
  const follow = async (
    path: string,
    headers: Record<string, string> = {},
    cut_after_bytes?: number,
  ): Promise<{ events: SseEvent[]; stream: SseStream }> => {
    const events: SseEvent[] = [];
    const stream = await openSse(listener.port, {
      path,
      headers: { authorization: `Bearer ${TOKEN}`, ...headers },
      onEvent: (event) => events.push(event),
      ...(cut_after_bytes !== undefined && { cut_after_bytes }),
    });
    return { events, stream };
  };
  const until = async (condition: () => boolean): Promise<void> => {
    for (let turn = 0; !condition(); turn += 1) {
      if (turn > 2_000) throw new Error("it never came about");
      await Bun.sleep(5);
    }
  };

  beforeEach(() => {
    open = openDoor({ waits: { tail_heartbeat_ms: 50, tail_stall_ms: 300 } });
    listener = listen(open.door, { host: "127.0.0.1", port: 0, log: silent_log });
  });
  afterEach(() => listener.stop(0));

  test("a reader that is cut anywhere resumes without loss or repetition", async () => {
    const { path } = await newSession(open);
    const total = 200;
    const appending = (async () => {
      for (let index = 0; index < total / 4; index += 1)
        await append(open, path, ["a", { b: index }, "c".repeat(index * 20), null]);
    })();
    const seen: SseEvent[] = [];
    for (let round = 0; seen.length < total; round += 1) {
      const id = seen.at(-1)?.id;
      const { events, stream } = await follow(
        `${path}/tail`,
        id == null ? {} : { "last-event-id": id },
        500 + ((round * 7_919) % 9_000),
      );
      await Promise.race([stream.ended, until(() => seen.length + events.length >= total)]);
      stream.wire.cut();
      seen.push(...events);
    }
    await appending;
    expect(seqsOf(seen)).toEqual(range(1, total));
    expect(seen.every(({ id }, index) => id === `${open.store.generation}.${index + 1}`)).toBe(true);
    await until(() => open.door.active_count === 0);
  });

  test("a hundred readers get the same", async () => {
    const { path } = await newSession(open);
    const readers = await Promise.all(Array.from({ length: 100 }, () => follow(`${path}/tail`)));
    for (let index = 0; index < 20; index += 1) await append(open, path, [index, index]);
    await until(() => readers.every(({ events }) => events.length >= 40));
    for (const { events } of readers) expect(seqsOf(events)).toEqual(range(1, 40));
    for (const { stream } of readers) stream.wire.cut();
    await until(() => open.door.active_count === 0);
  });

  test("a reader that goes away frees its tail at once, also while nothing comes", async () => {
    const { path } = await newSession(open);
    const { stream } = await follow(`${path}/tail`);
    await until(() => open.door.active_count === 1);
    stream.wire.cut();
    await until(() => open.door.active_count === 0);
  });

  test("a reader that stops reading is closed and little was read for it; it resumes where it was", async () => {
    const { path } = await newSession(open);
    const { events, stream } = await follow(`${path}/tail`);
    await append(open, path, ["first"]);
    await until(() => events.length === 1);
    stream.wire.pause();
    let taken_bytes = 0;
    const { read } = open.store.entries;
    open.store.entries.read = async (...args) => {
      const lines = await read(...args);
      for (const piece of lines.pieces) taken_bytes += piece.byteLength;
      return lines;
    };
    for (let index = 0; index < 60; index += 1)
      await append(
        open,
        path,
        Array.from({ length: 8 }, () => "x".repeat(100_000)),
      );
    await until(() => open.door.active_count === 0);
    open.store.entries.read = read;
    // Of 48 MB only what the sockets' own buffers took.
    expect(taken_bytes).toBeLessThan(16_000_000);
    stream.wire.resume();
    await Promise.race([stream.ended, Bun.sleep(1_000)]);
    stream.wire.cut();
    const last = seqsOf(events).at(-1) ?? 0;
    expect(seqsOf(events)).toEqual(range(1, last));
    expect(last).toBeLessThan(481);
    const resumed = await follow(`${path}/tail`, { "last-event-id": `${open.store.generation}.${last}` });
    await until(() => seqsOf(resumed.events).at(-1) === 481);
    expect(seqsOf(resumed.events)).toEqual(range(last + 1, 481));
    resumed.stream.wire.cut();
  });

  test("a quiet tail outlives the idle time of connections", async () => {
    const { path } = await newSession(open);
    const { events, stream } = await follow(`${path}/tail`);
    await Bun.sleep(400);
    await append(open, path, [1]);
    await until(() => events.length === 1);
    stream.wire.cut();
  });

  test("a stop ends tails with an error that lets them resume, and refuses new requests", async () => {
    const { path } = await newSession(open);
    const { events, stream } = await follow(`${path}/tail`);
    await until(() => open.door.active_count === 1);
    const stopped = listener.stop(5_000);
    expect(await stream.ended).toBe(200);
    await stopped;
    expect(events.map(({ event }) => event)).toEqual(["error"]);
    expect(JSON.parse(events[0]?.data ?? "") as ProblemJson).toMatchObject({ code: "busy", retryable: true });
    const refused = await open.call("GET", path);
    expect(refused.status).toBe(503);
    expect(refused.headers.get("connection")).toBe("close");
    expect((await open.call("GET", "/healthz")).status).toBe(200);
    expect(await open.json(503, "GET", "/readyz")).toEqual({
      status: "unready",
      checks: { store: "ok", server: "stopping" },
    });
  });
});
