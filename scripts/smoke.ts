/**
 * The smoke test that a user's CI runs: create, append, tail, restart, read back, in ten seconds at most.
 *
 *   bun scripts/smoke.ts [--binary dist/synthetic]      a server of its own in a temporary directory
 *   bun scripts/smoke.ts --url http://127.0.0.1:8420    a running one (token in SYNTHETIC_TOKEN; no restart)
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

const { values } = parseArgs({ options: { url: { type: "string" }, binary: { type: "string" } } });
const began = performance.now();
const TIME_MS = 10_000;
const ENTRIES = 25;

interface Server {
  url: string;
  token: string;
  stop(): Promise<void>;
}

function check(condition: boolean, what: string): void {
  if (!condition) throw new Error(`not so: ${what}`);
  console.log(`  ok  ${what}`);
}

/** Starts the binary on a data directory and waits for its first line. */
async function start(binary: string, data_dir: string): Promise<Server> {
  const child = Bun.spawn([binary, "serve", "--json", "--port", "0", "--data", data_dir], {
    stdout: "pipe",
    stderr: "pipe",
  });
  const reader = child.stdout.getReader();
  let text = "";
  while (!text.includes("\n")) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`the server did not start: ${await new Response(child.stderr).text()}`);
    text += new TextDecoder().decode(value);
  }
  const { url } = JSON.parse(text.slice(0, text.indexOf("\n"))) as { url: string };
  const token = (await Bun.file(join(data_dir, "token")).text()).trim();
  return {
    url,
    token,
    async stop() {
      child.kill("SIGTERM");
      await child.exited;
    },
  };
}

async function call(server: Server, method: string, path: string, body?: unknown): Promise<Response> {
  const response = await fetch(new URL(path, server.url), {
    method,
    headers: {
      authorization: `Bearer ${server.token}`,
      ...(body !== undefined && { "content-type": "application/json" }),
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  return response;
}

const entry = (index: number) => ({
  kind: "message",
  actor: "agent",
  at_ms: 1_000 + index,
  body: { index, text: `entry ${index} ✓` },
});

/** Follows the session until it has seen `count` entries; gives their seqs. */
async function follow(server: Server, session: string, count: number, ready: () => void): Promise<number[]> {
  const response = await call(server, "GET", `/v1/sessions/${session}/tail`);
  ready();
  const seqs: number[] = [];
  let text = "";
  for await (const part of response.body ?? []) {
    text += new TextDecoder().decode(part);
    seqs.splice(0, seqs.length, ...[...text.matchAll(/^id: \S+\.(\d+)$/gm)].map((found) => Number(found[1])));
    if (seqs.length >= count) break;
  }
  return seqs;
}

async function readBack(server: Server, session: string, head: string): Promise<void> {
  const transcript = await (await call(server, "GET", `/v1/sessions/${session}/transcript`)).text();
  const lines = transcript
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { seq: number; body: unknown });
  check(lines.length === ENTRIES, `${ENTRIES} entries are read back`);
  check(
    lines.every((line, index) => line.seq === index + 1 && Bun.deepEquals(line.body, entry(index).body)),
    "each is what was sent, in order",
  );
  const found = (await (await call(server, "GET", `/v1/sessions/${session}`)).json()) as { head: string };
  check(found.head === head, "the running head is the acknowledged one");
}

async function smoke(server: Server, restart: (() => Promise<Server>) | null): Promise<void> {
  check((await fetch(new URL("/readyz", server.url))).ok, "the server is ready");
  const construct = (await (
    await call(server, "POST", "/v1/constructs", { title: "smoke test" })
  ).json()) as { id: string };
  const session = (await (
    await call(server, "POST", "/v1/sessions", { construct_id: construct.id, agent: "smoke" })
  ).json()) as { id: string };
  check(session.id.length === 36, "a construct and a session are made");
  const { promise: listening, resolve: ready } = Promise.withResolvers<void>();
  const tail = follow(server, session.id, ENTRIES, ready);
  await listening;
  let head = "";
  for (let index = 0; index < ENTRIES; index += 1) {
    const answer = await call(server, "POST", `/v1/sessions/${session.id}/entries?after=${index}`, {
      entries: [entry(index)],
    });
    head = ((await answer.json()) as { head: string }).head;
  }
  check(
    (await tail).every((seq, index) => seq === index + 1),
    "the tail sees every entry once and in order",
  );
  await readBack(server, session.id, head);
  if (restart !== null) await readBack(await restart(), session.id, head);
}

async function smokeBinary(binary: string): Promise<void> {
  const data_dir = mkdtempSync(join(tmpdir(), "synthetic-smoke-"));
  let server = await start(binary, data_dir);
  try {
    await smoke(server, async () => {
      await server.stop();
      server = await start(binary, data_dir);
      check(true, "the server stopped and started again");
      return server;
    });
  } finally {
    await server.stop();
    rmSync(data_dir, { recursive: true, force: true });
  }
}

if (values.url === undefined) await smokeBinary(resolve(values.binary ?? "dist/synthetic"));
else
  await smoke({ url: values.url, token: process.env["SYNTHETIC_TOKEN"] ?? "", stop: async () => {} }, null);
const seconds = (performance.now() - began) / 1_000;
check(seconds * 1_000 < TIME_MS, `all of it took ${seconds.toFixed(1)} s`);
