/** The life of the compiled server: start, second start, stop, being killed, and what is left behind. */
import { afterEach, beforeEach, describe, expect, test, setDefaultTimeout } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { json, makeSession, type Server, startServer } from "../support/server.ts";
import { newPlace, type Place, until } from "./binary.ts";

// The longest wait of a command for a directory or a server is five seconds.
setDefaultTimeout(30_000);

let place: Place;
const servers: Server[] = [];
beforeEach(() => {
  place = newPlace();
});
afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop("SIGKILL");
  place.remove();
});

async function start(args: string[] = [], env: Record<string, string> = {}): Promise<Server> {
  const server = await startServer({ data_dir: place.data_dir, args, env });
  servers.push(server);
  return server;
}

const recordPath = (): string => join(place.data_dir, "server.json");

describe("a start", () => {
  test("says where it listens, leaves a record, and everything is for its owner only", async () => {
    const server = await start();
    expect(server.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect(server.pid).toBe(server.process.pid);
    expect(JSON.parse(readFileSync(recordPath(), "utf8"))).toMatchObject({
      pid: server.pid,
      url: server.url,
    });
    expect(statSync(place.data_dir).mode & 0o777).toBe(0o700);
    for (const name of readdirSync(place.data_dir))
      expect([name, statSync(join(place.data_dir, name)).mode & 0o077]).toEqual([name, 0]);
    expect(await place.json<object>(["status"])).toMatchObject({
      running: true,
      url: server.url,
      pid: server.pid,
    });
    expect(await json<object>(server.call("GET", "/v1/constructs"))).toEqual({
      items: [],
      next_cursor: null,
    });
  });

  test("logs JSON lines when no terminal is there, and never the token", async () => {
    const server = await start(["--log-level", "debug"]);
    await json(server.call("POST", "/v1/constructs", { title: "a secret title" }));
    await server.stop();
    const lines = server
      .log()
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { event: string });
    expect(lines.map(({ event }) => event)).toEqual(expect.arrayContaining(["listening", "stopped"]));
    expect(server.log()).not.toContain(server.token);
    expect(server.log()).not.toContain("a secret title");
  });

  test("of a second server on the directory is refused with 4 and says who holds it", async () => {
    const server = await start();
    const second = await place.run(["serve", "--port", "0"]);
    expect(second.code).toBe(4);
    expect(second.stdout).toBe("");
    expect(second.stderr).toContain(String(server.pid));
    expect(second.stderr).toContain(server.url);
    expect((await server.call("GET", "/healthz")).status).toBe(200);
    expect(existsSync(recordPath())).toBe(true);
  });

  test("on a port that is taken is refused with 1, says so, and leaves the directory free", async () => {
    const other = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
    const refused = await place.run(["serve", "--port", String(other.port)]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain("another program listens there");
    expect(existsSync(recordPath())).toBe(false);
    await other.stop(true);
    await start();
  });

  test("on all addresses is allowed, warned of, and reached by commands", async () => {
    const server = await start(["--host", "0.0.0.0"]);
    expect(server.url).toMatch(/^http:\/\/127\.0\.0\.1:/);
    expect(server.log()).toContain("Other machines");
    expect((await place.run(["construct", "list"])).code).toBe(0);
  });

  test("after being killed needs nothing from anybody", async () => {
    const first = await start();
    const session = await makeSession(first);
    await json(
      first.call("POST", `/v1/sessions/${session}/entries`, { entries: [{ kind: "note", body: 1 }] }),
    );
    await first.stop("SIGKILL");
    expect(existsSync(recordPath())).toBe(true);
    // The record names a process that is gone, so the directory is opened instead.
    expect(await place.json<object>(["session", "show", session])).toMatchObject({ last_seq: 1 });
    await start();
    expect(await place.json<object>(["session", "show", session])).toMatchObject({ last_seq: 1 });
  });

  test("with a token of the environment leaves no file, and commands need it", async () => {
    const token = "e".repeat(48);
    const server = await start([], { SYNTHETIC_TOKEN: token });
    expect(existsSync(join(place.data_dir, "token"))).toBe(false);
    expect((await server.call("GET", "/v1/constructs")).status).toBe(200);
    expect((await place.run(["construct", "list"])).code).toBe(1);
    expect((await place.run(["token"])).code).toBe(3);
    expect(await place.run(["status", "--json"])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('"running":true') as string,
    });
    expect((await place.run(["construct", "list"], { env: { SYNTHETIC_TOKEN: token } })).code).toBe(0);
  });

  test("with a weak token is refused", async () => {
    expect((await place.run(["serve", "--port", "0"], { env: { SYNTHETIC_TOKEN: "hunter2" } })).code).toBe(2);
  });
});

describe("a stop", () => {
  test.each(["SIGTERM", "SIGINT"] as const)(
    "by %s is clean: 0, no record, the directory free",
    async (signal) => {
      const server = await start();
      expect(await server.stop(signal)).toBe(0);
      expect(existsSync(recordPath())).toBe(false);
      expect((await place.run(["construct", "list"])).code).toBe(0);
    },
  );

  test("does not come from a closing terminal when nohup was asked for", async () => {
    const server = await startServer({
      data_dir: place.data_dir,
      wrapper: ["sh", "-c", 'trap "" HUP; exec "$@"', "sh"],
    });
    servers.push(server);
    process.kill(server.pid, "SIGHUP");
    await Bun.sleep(200);
    expect((await server.call("GET", "/healthz")).status).toBe(200);
  });

  test("under load loses nothing that was acknowledged", async () => {
    const server = await start();
    const writers = await Promise.all(
      Array.from({ length: 16 }, async () => ({
        session: await makeSession(server),
        acknowledged: 0,
        failed: 0,
      })),
    );
    const write = async (writer: (typeof writers)[number]): Promise<void> => {
      for (let seq = 1; ; seq += 1) {
        try {
          const response = await server.call(
            "POST",
            `/v1/sessions/${writer.session}/entries?after=${seq - 1}`,
            { entries: [{ kind: "note", body: { seq, padding: "x".repeat(2_000) } }] },
          );
          if (response.status !== 201) return void (writer.failed = response.status);
          await response.body?.cancel();
          writer.acknowledged = seq;
        } catch {
          return;
        }
      }
    };
    const writing = Promise.all(writers.map(write));
    await until(() => writers.every(({ acknowledged }) => acknowledged > 20), "some load");
    expect(await server.stop("SIGTERM")).toBe(0);
    await writing;
    // Refused writes were refused in words, as something that may be tried again.
    for (const { failed } of writers) expect([0, 503]).toContain(failed);
    for (const { session, acknowledged } of writers) {
      const lines = (await place.output(["transcript", session, "--json"]))
        .split("\n")
        .map((line) => JSON.parse(line) as { seq: number; body: { seq: number } });
      expect(lines.length).toBeGreaterThanOrEqual(acknowledged);
      expect(lines.length).toBeLessThanOrEqual(acknowledged + 1);
      expect(lines.every(({ seq, body }, index) => seq === index + 1 && body.seq === seq)).toBe(true);
    }
  });

  test("waits for a request under way", async () => {
    const server = await start();
    const session = await makeSession(server);
    const halves = [`{"kind":"note","body":"`, `late"}\n`];
    const body = new ReadableStream({
      async pull(controller) {
        const half = halves.shift();
        if (half === undefined) return controller.close();
        controller.enqueue(Buffer.from(half));
        if (halves.length === 1) await Bun.sleep(600);
      },
    });
    const sent = fetch(`${server.url}/v1/sessions/${session}/entries`, {
      method: "POST",
      body,
      headers: { authorization: `Bearer ${server.token}`, "content-type": "application/x-ndjson" },
    });
    await Bun.sleep(200);
    const stopped = server.stop("SIGTERM");
    expect((await sent).status).toBe(201);
    expect(await stopped).toBe(0);
    expect(await place.json<object>(["session", "show", session])).toMatchObject({ last_seq: 1 });
  });

  test("by a second signal is immediate", async () => {
    const server = await start();
    const session = await makeSession(server);
    // A request that never ends keeps the first signal waiting.
    const body = new ReadableStream({ start: (controller) => controller.enqueue(Buffer.from("{")) });
    const sent = fetch(`${server.url}/v1/sessions/${session}/entries`, {
      method: "POST",
      body,
      headers: { authorization: `Bearer ${server.token}`, "content-type": "application/x-ndjson" },
    }).catch(() => null);
    await Bun.sleep(200);
    process.kill(server.pid, "SIGTERM");
    await Bun.sleep(300);
    expect(server.process.exitCode).toBeNull();
    const began = performance.now();
    expect(await server.stop("SIGINT")).toBe(130);
    expect(performance.now() - began).toBeLessThan(1_000);
    await sent;
    await start();
  });
});

describe("commands and the server", () => {
  test("a server that hangs is unreachable, and nobody opens its directory", async () => {
    const server = await start();
    process.kill(server.pid, "SIGSTOP");
    try {
      expect(await place.run(["construct", "list"])).toMatchObject({ code: 6, stdout: "" });
      expect((await place.run(["doctor"])).code).toBe(1);
      expect(await place.run(["status"])).toMatchObject({
        code: 6,
        stdout: expect.stringContaining("does not answer") as string,
      });
    } finally {
      process.kill(server.pid, "SIGCONT");
    }
    expect((await place.run(["construct", "list"])).code).toBe(0);
  });

  test("a record of a process that is another by now is not believed", async () => {
    const server = await start();
    const record = JSON.parse(readFileSync(recordPath(), "utf8")) as { process_start: number | null };
    await server.stop();
    if (record.process_start === null) return;
    writeFileSync(recordPath(), JSON.stringify({ ...record, pid: process.pid, url: "http://127.0.0.1:1" }));
    expect((await place.run(["construct", "list"])).code).toBe(0);
  });

  test("a token is not rotated under a server", async () => {
    const server = await start();
    expect((await place.run(["token", "rotate"])).code).toBe(4);
    expect(await place.output(["token"])).toBe(server.token);
    await server.stop();
    const rotated = await place.output(["token", "rotate"]);
    expect(rotated).not.toBe(server.token);
    expect((await start()).token).toBe(rotated);
  });

  test("a tail shows every entry once and in order, also over a restart", async () => {
    const first = await start();
    const session = await makeSession(first);
    const port = new URL(first.url).port;
    const tail = place.start(["tail", session, "--json", "--after", "0"]);
    const seqs: number[] = [];
    const reading = (async () => {
      let text = "";
      for await (const piece of tail.stdout) {
        text += new TextDecoder().decode(piece);
        const lines = text.split("\n");
        text = lines.pop() ?? "";
        for (const line of lines) seqs.push((JSON.parse(line) as { seq: number }).seq);
      }
    })();
    const append = (count: number): Promise<string> =>
      place.output(["append", session, "--text"], { stdin: "x\n".repeat(count) });
    await append(20);
    await until(() => seqs.length === 20, "the first entries");
    await first.stop();
    await start(["--port", port]);
    await append(20);
    await until(() => seqs.length === 40, "the entries after the restart");
    tail.kill("SIGINT");
    expect(await tail.exited).toBe(130);
    await reading;
    expect(seqs).toEqual(Array.from({ length: 40 }, (_, index) => index + 1));
  });

  test("an append that loses its server finds the next one and stores everything once", async () => {
    const first = await start();
    const session = await makeSession(first);
    const port = new URL(first.url).port;
    const child = place.start(["append", session, "--text", "--json"]);
    let sent = 0;
    const feed = async (until_ms: number): Promise<void> => {
      for (const end = performance.now() + until_ms; performance.now() < end; sent += 1) {
        void child.stdin.write(`line ${sent + 1}\n`);
        void child.stdin.flush();
        await Bun.sleep(2);
      }
    };
    await feed(500);
    const killed = first.stop("SIGKILL");
    await feed(300);
    await killed;
    await start(["--port", port]);
    await feed(300);
    void child.stdin.end();
    const [result, code] = await Promise.all([
      new Response(child.stdout).json() as Promise<{ entry_count: number; last_seq: number }>,
      child.exited,
    ]);
    expect(code).toBe(0);
    expect(result).toMatchObject({ entry_count: sent, last_seq: sent });
    const bodies = (await place.output(["transcript", session, "--json"]))
      .split("\n")
      .map((line) => (JSON.parse(line) as { body: string }).body);
    expect(bodies).toEqual(Array.from({ length: sent }, (_, index) => `line ${index + 1}`));
  });

  test("two appends to one session at once keep every line of both", async () => {
    const server = await start();
    const session = await makeSession(server);
    const lines = (name: string): string =>
      Array.from({ length: 400 }, (_, index) => `${name} ${index}\n`).join("");
    await Promise.all(
      ["a", "b"].map((name) => place.output(["append", session, "--text"], { stdin: lines(name) })),
    );
    await Promise.all(
      ["same", "same"].map((line) => place.output(["append", session, "--text"], { stdin: `${line}\n` })),
    );
    const bodies = (await place.output(["transcript", session, "--json"]))
      .split("\n")
      .map((line) => (JSON.parse(line) as { body: string }).body);
    expect(bodies).toHaveLength(802);
    for (const name of ["a", "b"])
      expect(bodies.filter((body) => body.startsWith(`${name} `)).join("\n")).toBe(lines(name).trimEnd());
  });
});
