/** The rows of the benchmark that go over HTTP: the real handlers in a process of their own, loaded by 64 clients. */
import { join } from "node:path";
import { openArm } from "./arms.ts";
import { load, requestBytes, type Target } from "./load.ts";
import { firstLine } from "./first-line.ts";
import { interleave, median, percentile, ratio, type Row, rounded } from "./measure.ts";
import { kilobyteLines, linesOfMean } from "./payload.ts";

const CLIENTS = 64;
const SESSIONS = 200;

interface BenchServer extends Target {
  sessions: string[];
  stop(): Promise<void>;
}

async function startBenchServer(arm: "sqlite" | "forgetting", sessions = SESSIONS): Promise<BenchServer> {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "server.ts"), arm, String(sessions)], {
    stdout: "pipe",
    stderr: "inherit",
  });
  const started = JSON.parse(await firstLine(child.stdout)) as {
    url: string;
    token: string;
    sessions: string[];
  };
  const { hostname, port } = new URL(started.url);
  return {
    host: hostname,
    port: Number(port),
    token: started.token,
    sessions: started.sessions,
    async stop() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

/** Requests that append one entry each; made before the clock starts. */
function singleAppends(server: BenchServer, lines: readonly string[], count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, index) => {
    const session = index % server.sessions.length;
    const stretch = lines.length / server.sessions.length;
    const body = lines[Math.floor(session * stretch + index / server.sessions.length) % lines.length] ?? "";
    return requestBytes(
      server,
      "POST",
      `/v1/sessions/${server.sessions[session]}/entries`,
      `{"entries":[{"kind":"message","at_ms":1700000000000,"body":${body}}]}`,
    );
  });
}

async function appendRate(
  arm: "sqlite" | "forgetting",
  clients: number,
  lines: readonly string[],
  count: number,
): Promise<number> {
  const server = await startBenchServer(arm);
  const requests = singleAppends(server, lines, count);
  await load(server, clients, Math.ceil(count / 5), 201, (index) => requests[index] ?? new Uint8Array());
  const { rate } = await load(server, clients, count, 201, (index) => requests[index] ?? new Uint8Array());
  await server.stop();
  return rate;
}

async function appendRows(rounds: number): Promise<Row[]> {
  const real = linesOfMean(2_800);
  const small = kilobyteLines();
  const found = await interleave(rounds, {
    real: () => appendRate("sqlite", CLIENTS, real, 8_000),
    real_forgetting: () => appendRate("forgetting", CLIENTS, real, 8_000),
    small: () => appendRate("sqlite", CLIENTS, small, 8_000),
    small_forgetting: () => appendRate("forgetting", CLIENTS, small, 8_000),
    one_by_one: () => appendRate("sqlite", 1, real, 600),
  });
  const per_s = (values: readonly number[]): string => rounded(median(values), 0);
  return [
    {
      measure: "append, 64 clients, real entries / the same handler without a database",
      value: ratio(found.real, found.real_forgetting),
      unit: "ratio",
      floor: { at_least: 0.25 },
      detail: `${per_s(found.real)} / ${per_s(found.real_forgetting)} entries/s`,
    },
    {
      measure: "append, 64 clients, 1 KB / the same handler without a database",
      value: ratio(found.small, found.small_forgetting),
      unit: "ratio",
      floor: { at_least: 0.25 },
      detail: `${per_s(found.small)} / ${per_s(found.small_forgetting)} entries/s`,
    },
    {
      measure: "append, 64 clients / one transaction a request",
      value: ratio(found.real, found.one_by_one),
      unit: "ratio",
      floor: { at_least: 4 },
      detail: `${per_s(found.real)} / ${per_s(found.one_by_one)} entries/s`,
    },
  ];
}

/** NDJSON requests of 400 lines beside inserts of the same lines in process, 50 to a transaction. */
async function bulkRows(rounds: number): Promise<Row[]> {
  const lines = linesOfMean(2_800);
  const count = 16_000;
  const batch = 400;
  const over_http = async (): Promise<number> => {
    const server = await startBenchServer("sqlite", 8);
    const requests = Array.from({ length: count / batch }, (_, index) => {
      const body = Array.from(
        { length: batch },
        (__, line) =>
          `{"kind":"message","at_ms":1700000000000,"body":${lines[(index * batch + line) % lines.length]}}`,
      ).join("\n");
      return requestBytes(
        server,
        "POST",
        `/v1/sessions/${server.sessions[index % 8]}/entries`,
        body,
        "application/x-ndjson",
      );
    });
    const { rate } = await load(
      server,
      8,
      requests.length,
      201,
      (index) => requests[index] ?? new Uint8Array(),
    );
    await server.stop();
    return rate * batch;
  };
  const raw = async (): Promise<number> => {
    const { arm } = await openArm(false, 1);
    const insert = arm.db.prepare(
      "INSERT INTO entry (session, seq, kind, actor, at_ms, received_at_ms, key, body) VALUES (1, ?, 'message', 'agent', 1, 1, NULL, ?)",
    );
    const began = performance.now();
    for (let from = 0; from < count; from += batch) {
      arm.db.run("BEGIN IMMEDIATE");
      for (let index = from; index < from + batch; index += 1)
        insert.run(index + 1, lines[index % lines.length] ?? "");
      arm.db.run("COMMIT");
    }
    const rate = (count / (performance.now() - began)) * 1_000;
    insert.finalize();
    await arm.close();
    return rate;
  };
  const found = await interleave(rounds, { over_http, raw });
  return [
    {
      measure: "NDJSON bulk over HTTP / raw inserts in process",
      value: ratio(found.over_http, found.raw),
      unit: "ratio",
      floor: { at_least: 0.4 },
      detail: `${rounded(median(found.over_http), 0)} / ${rounded(median(found.raw), 0)} entries/s`,
    },
  ];
}

/** Asks /healthz every 5 ms from a process of its own: one that also makes the load would measure itself. */
function startProbe({ host, port }: Target): { stop(): Promise<number[]> } {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "probe.ts"), `http://${host}:${port}`], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  return {
    async stop() {
      await child.stdin.end();
      return JSON.parse(await new Response(child.stdout).text()) as number[];
    },
  };
}

/** /healthz asked every 5 ms while 64 clients append. */
async function healthRows(rounds: number): Promise<Row[]> {
  const lines = linesOfMean(2_800);
  const p99s: number[] = [];
  const p50s: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const server = await startBenchServer("sqlite");
    const requests = singleAppends(server, lines, 15_000);
    const write = (count: number): Promise<unknown> =>
      load(server, CLIENTS, count, 201, (index) => requests[index] ?? new Uint8Array());
    await write(requests.length / 5);
    const probe = startProbe(server);
    await write(requests.length);
    const latencies = await probe.stop();
    await server.stop();
    p99s.push(percentile(latencies, 0.99));
    p50s.push(percentile(latencies, 0.5));
  }
  return [
    {
      measure: "/healthz p99 while 64 clients append",
      value: median(p99s),
      unit: "ms",
      floor: { at_most: 10 },
      detail: `p50 ${rounded(median(p50s))} ms`,
    },
  ];
}

export async function httpRows(rounds: number, say: (line: string) => void): Promise<Row[]> {
  const rows: Row[] = [];
  for (const measure of [appendRows, bulkRows, healthRows]) {
    for (const row of await measure(rounds)) {
      say(`${row.measure}: ${rounded(row.value)} ${row.unit} (${row.detail})`);
      rows.push(row);
    }
  }
  return rows;
}
