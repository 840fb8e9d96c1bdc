import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { zstdDecompressSync } from "node:zlib";
import { listen, type Listener } from "../../src/http/listen.ts";
import { limit } from "../../src/limits.ts";
import { AnswerReader, connect } from "../support/wire.ts";
import { append, newSession, type OpenDoor, openDoor, silent_log, TOKEN } from "./open-door.ts";

let open: OpenDoor;
let listener: Listener;

beforeEach(() => {
  open = openDoor({ waits: { tail_stall_ms: 300 } });
  listener = listen(open.door, { host: "127.0.0.1", port: 0, log: silent_log });
});
afterEach(() => listener.stop(0));

const headers = { authorization: `Bearer ${TOKEN}` };
const url = (path: string): string => `${listener.url}${path}`;

/** Sends raw text and reads the answer to its end, or to the end of the connection. */
async function raw(
  text: string | Uint8Array,
): Promise<{ status: number; headers: Map<string, string>; body: Buffer; whole: boolean; closed: boolean }> {
  const reader = new AnswerReader();
  const parts: Uint8Array[] = [];
  let closed = false;
  const { promise, resolve } = Promise.withResolvers<void>();
  const wire = await connect(listener.port, {
    data(bytes) {
      parts.push(...reader.push(bytes.slice()));
      if (reader.done) setTimeout(resolve, 20);
    },
    close() {
      closed = true;
      resolve();
    },
  });
  wire.send(text);
  await promise;
  wire.cut();
  return {
    status: reader.head?.status ?? 0,
    headers: reader.head?.headers ?? new Map(),
    body: Buffer.concat(parts),
    whole: reader.done,
    closed,
  };
}

const until = async (condition: () => boolean): Promise<void> => {
  for (let turn = 0; !condition(); turn += 1) {
    if (turn > 2_000) throw new Error("it never came about");
    await Bun.sleep(5);
  }
};

describe("a listener", () => {
  test("says where it is, with brackets around an address of IPv6", async () => {
    expect(listener.url).toBe(`http://127.0.0.1:${listener.port}`);
    const six = listen(open.door, { host: "::1", port: 0, log: silent_log });
    expect(six.url).toBe(`http://[::1]:${six.port}`);
    expect((await fetch(`${six.url}/healthz`)).status).toBe(200);
    await six.stop(0);
  });

  test("serves a whole round with a real client", async () => {
    const created = await fetch(url("/v1/constructs"), {
      method: "POST",
      headers: { ...headers, "content-type": "application/json" },
      body: '{"title":"x"}',
    });
    expect(created.status).toBe(201);
    const { id } = (await created.json()) as { id: string };
    const read = await fetch(url(`/v1/constructs/${id}`), {
      headers: { ...headers, "if-none-match": created.headers.get("etag") ?? "" },
    });
    expect(read.status).toBe(304);
  });

  test("answers HEAD with the length of the body and without it", async () => {
    const answer = await raw(
      `HEAD /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer ${TOKEN}\r\n\r\n`,
    );
    const whole = await (
      await fetch(url("/version"), { headers: { "accept-encoding": "identity" } })
    ).bytes();
    expect(answer.headers.get("content-length")).toBe(String(whole.byteLength));
    expect(answer.body.byteLength).toBe(0);
  });

  test("answers a body over the limit with our 413, announced or not", async () => {
    const { path } = await newSession(open);
    const announced = await raw(
      `POST ${path}/entries HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${TOKEN}\r\nContent-Type: application/json\r\nContent-Length: ${limit("json_body_bytes") + 1}\r\n\r\n`,
    );
    expect(JSON.parse(announced.body.toString())).toMatchObject({ code: "too_large", status: 413 });
    const piece = "x".repeat(1 << 20);
    const chunked = `POST /v1/constructs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${TOKEN}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n${`100000\r\n${piece}\r\n`.repeat(3)}0\r\n\r\n`;
    expect(JSON.parse((await raw(chunked)).body.toString())).toMatchObject({
      code: "too_large",
      status: 413,
    });
  });

  test("takes an append as large as the limit", async () => {
    const { path } = await newSession(open);
    const line = `{"kind":"note","body":"${"x".repeat((1 << 20) - '{"kind":"note","body":""}\n'.length)}"}\n`;
    const body = line.repeat(limit("ndjson_body_bytes") / line.length);
    expect(body.length).toBe(limit("ndjson_body_bytes"));
    const answer = await fetch(url(`${path}/entries`), {
      method: "POST",
      headers: { ...headers, "content-type": "application/x-ndjson" },
      body,
    });
    expect(answer.status).toBe(201);
    expect(await answer.json()).toMatchObject({ last_seq: 64 });
  });

  test("keeps the connection in step when it answers without reading the body", async () => {
    const body = '{"title":"x"}';
    const answer = await raw(
      `POST /v1/constructs HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    expect(answer.status).toBe(401);
    expect(answer.whole).toBe(true);
  });

  test("a body that is cut off makes no entry and no noise", async () => {
    const { path } = await newSession(open);
    const wire = await connect(listener.port, { data: () => undefined });
    wire.send(
      `POST ${path}/entries HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${TOKEN}\r\nContent-Type: application/x-ndjson\r\nContent-Length: 1000\r\n\r\n{"kind":"note","body":1}\n`,
    );
    await until(() => open.door.active_count === 1);
    wire.cut();
    await until(() => open.door.active_count === 0);
    expect(await open.json(200, "GET", path)).toMatchObject({ last_seq: 0 });
    expect(open.logged.some((line) => line.includes('"level":"error"'))).toBe(false);
  });
});

describe("a stream", () => {
  const ask = (path: string, more = ""): string =>
    `GET ${path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${TOKEN}\r\n${more}\r\n`;
  const fill = async (): Promise<string> => {
    const { path } = await newSession(open);
    for (let index = 0; index < 20; index += 1)
      await append(
        open,
        path,
        Array.from({ length: 5 }, () => "x".repeat(100_000)),
      );
    return path;
  };

  test("comes whole, plain and as frames", async () => {
    const path = await fill();
    const plain = await raw(ask(`${path}/transcript`));
    expect(plain.whole).toBe(true);
    const frames = await raw(ask(`${path}/transcript`, "Accept-Encoding: zstd\r\n"));
    expect(frames.headers.get("content-encoding")).toBe("zstd");
    expect(zstdDecompressSync(frames.body).equals(plain.body)).toBe(true);
    expect(plain.body.toString().split("\n")).toHaveLength(101);
    await until(() => open.door.active_count === 0);
  });

  test("that fails midway breaks the connection", async () => {
    const path = await fill();
    const { chunk } = open.store.entries;
    let left = 3;
    open.store.entries.chunk = (...args) => {
      left -= 1;
      return left > 0 ? chunk(...args) : Promise.reject(new Error("the disk is gone"));
    };
    const answer = await raw(ask(`${path}/transcript`));
    open.store.entries.chunk = chunk;
    expect(answer.status).toBe(200);
    expect(answer.whole).toBe(false);
    expect(answer.closed).toBe(true);
    expect(
      open.logged.some((line) => line.includes("stream_failed") && line.includes("the disk is gone")),
    ).toBe(true);
    expect(open.door.active_count).toBe(0);
  });

  test("whose reader stops reading is cut, and nothing is held for it", async () => {
    const path = await fill();
    let read_bytes = 0;
    const wire = await connect(listener.port, { data: (bytes) => void (read_bytes += bytes.byteLength) });
    wire.pause();
    wire.send(ask(`${path}/transcript`));
    await until(() => open.door.active_count === 1);
    await until(() => open.door.active_count === 0);
    wire.resume();
    await wire.closed;
    expect(read_bytes).toBeLessThan(10_000_000);
  });

  test("whose reader leaves is over at once", async () => {
    const path = await fill();
    const wire = await connect(listener.port, { data: () => wire.cut() });
    wire.send(ask(`${path}/transcript`));
    await wire.closed;
    await until(() => open.door.active_count === 0);
  });
});

describe("stopping", () => {
  test("lets a request under way finish, and closes its connection", async () => {
    const { path } = await newSession(open);
    const { find } = open.store.sessions;
    const { promise: held, resolve: free } = Promise.withResolvers<void>();
    open.store.sessions.find = async (id) => {
      await held;
      return find(id);
    };
    const answered = fetch(url(path), { headers });
    await until(() => open.door.active_count === 1);
    const stopped = listener.stop(5_000);
    await Bun.sleep(20);
    free();
    const answer = await answered;
    expect(answer.status).toBe(200);
    expect(answer.headers.get("connection")).toBe("close");
    await stopped;
    expect(fetch(url(path), { headers })).rejects.toThrow();
  });

  test("cuts what is left when its time is over", async () => {
    const { path } = await newSession(open);
    open.store.sessions.find = () => new Promise(() => undefined);
    const answered = fetch(url(path), { headers }).then(
      () => "answered",
      () => "cut",
    );
    await until(() => open.door.active_count === 1);
    const began = performance.now();
    await listener.stop(50);
    expect(performance.now() - began).toBeLessThan(2_000);
    expect(await answered).toBe("cut");
  });

  test("twice is harmless", async () => {
    await listener.stop(10);
    await listener.stop(10);
  });
});
