/**
 * Artifacts beside the best that the machine has: downloads beside nginx with sendfile, a durable hashed upload beside
 * dd with fdatasync, on the same disk and with the same client.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureTools, findTool } from "../tools.ts";
import { load, requestBytes, type Target } from "./load.ts";
import { firstLine } from "./first-line.ts";
import { interleave, median, percentile, ratio, type Row, rounded } from "./measure.ts";
import { linesOfMean } from "./payload.ts";
import { steadyLoad } from "./steady.ts";

const ROOT = join(import.meta.dir, "../..");
const MIB = 1_048_576;
const UPLOAD_BYTES = 1_024 * MIB;
const CONNECTIONS = 8;

interface Side {
  port: number;
  /** Requests of the same bytes, by their length. */
  requests: Map<number, string>;
}

const DOWNLOADS: { bytes: number; name: string; count: number; floor: number }[] = [
  { bytes: 10 * 1_024, name: "10 KiB", count: 20_000, floor: 0.5 },
  { bytes: MIB, name: "1 MiB", count: 600, floor: 0.8 },
  { bytes: 100 * MIB, name: "100 MiB", count: 12, floor: 0.8 },
];

/** What no zstd makes smaller, so that both sides send the same file. */
function randomBytes(bytes: number): Uint8Array {
  const all = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at += 65_536)
    crypto.getRandomValues(all.subarray(at, Math.min(bytes, at + 65_536)));
  return all;
}

/** Bodies are counted and not kept; gives MiB a second. */
function download({ port, requests }: Side, bytes: number, count: number): Promise<number> {
  const request = requests.get(bytes) ?? "";
  const began = performance.now();
  let sent = 0;
  let done = 0;
  return new Promise((resolve, reject) => {
    const send = (socket: Bun.Socket<{ head: string | null; left: number }>): void => {
      if (sent >= count) return void socket.end();
      sent += 1;
      socket.data = { head: "", left: 0 };
      socket.write(request);
    };
    const take = (socket: Bun.Socket<{ head: string | null; left: number }>, data: Buffer): void => {
      const { data: state } = socket;
      let body = data.byteLength;
      if (state.head !== null) {
        state.head += data.toString("latin1");
        const end = state.head.indexOf("\r\n\r\n");
        if (end === -1) return;
        const length = Number(/content-length: (\d+)/i.exec(state.head)?.[1]);
        if (!state.head.startsWith("HTTP/1.1 200") || length !== bytes)
          return reject(new Error(state.head.slice(0, 400)));
        body = state.head.length - end - 4;
        state.left = length;
        state.head = null;
      }
      state.left -= body;
      if (state.left > 0) return;
      done += 1;
      if (done === count) resolve((bytes * count) / MIB / ((performance.now() - began) / 1_000));
      send(socket);
    };
    for (let connection = 0; connection < Math.min(CONNECTIONS, count); connection += 1)
      void Bun.connect<{ head: string | null; left: number }>({
        hostname: "127.0.0.1",
        port,
        data: { head: "", left: 0 },
        socket: { open: send, data: take, error: (_socket, error) => reject(error) },
      }).catch(reject);
  });
}

interface Running extends Side {
  url: string;
  token: string;
  pid: number;
  construct_id: string;
  stop(): Promise<void>;
}

async function startSynthetic(data_dir: string): Promise<Running> {
  const child = Bun.spawn(
    [join(ROOT, "dist/synthetic"), "serve", "--json", "--port", "0", "--data", data_dir],
    {
      stdout: "pipe",
      stderr: "ignore",
    },
  );
  const { url, pid } = JSON.parse(await firstLine(child.stdout)) as { url: string; pid: number };
  const token = readFileSync(join(data_dir, "token"), "utf8").trim();
  const answer = await fetch(new URL("/v1/constructs", url), {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: '{"title":"bench"}',
  });
  const { id } = (await answer.json()) as { id: string };
  return {
    url,
    token,
    pid,
    port: Number(new URL(url).port),
    construct_id: id,
    requests: new Map(),
    async stop() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

async function upload(server: Running, body: Bun.BodyInit): Promise<string> {
  const answer = await fetch(new URL(`/v1/artifacts?construct_id=${server.construct_id}`, server.url), {
    method: "POST",
    headers: { authorization: `Bearer ${server.token}` },
    body,
  });
  if (answer.status !== 201) throw new Error(await answer.text());
  return ((await answer.json()) as { id: string }).id;
}

function startNginx(folder: string): Side & { stop(): Promise<void> } {
  const nginx = findTool("nginx");
  if (nginx === null) throw new Error("nginx is needed and could not be installed");
  const port = 20_000 + (process.pid % 20_000);
  mkdirSync(join(folder, "logs"));
  writeFileSync(
    join(folder, "nginx.conf"),
    `daemon off; pid ${folder}/pid; error_log ${folder}/logs/error; worker_processes 1; user root;
     events { worker_connections 256; }
     http { access_log off; sendfile on; tcp_nopush on; client_body_temp_path ${folder}/a; proxy_temp_path ${folder}/b;
       fastcgi_temp_path ${folder}/c; uwsgi_temp_path ${folder}/d; scgi_temp_path ${folder}/e;
       server { listen 127.0.0.1:${port}; root ${folder}; keepalive_requests 100000; } }`,
  );
  const child = Bun.spawn([nginx, "-p", folder, "-c", join(folder, "nginx.conf")], { stderr: "ignore" });
  return {
    port,
    requests: new Map(),
    async stop() {
      child.kill("SIGTERM");
      await child.exited;
    },
  };
}

function peakMib(pid: number): number {
  return (
    Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? Number.NaN) / 1_024
  );
}

async function ddSeconds(from: string, to: string): Promise<number> {
  const began = performance.now();
  const child = Bun.spawn(["dd", `if=${from}`, `of=${to}`, "bs=1M", "conv=fdatasync"], { stderr: "ignore" });
  await child.exited;
  const seconds = (performance.now() - began) / 1_000;
  rmSync(to);
  return seconds;
}

export async function artifactRows(rounds: number, say: (line: string) => void): Promise<Row[]> {
  const { reason } = await ensureTools(["nginx"]);
  if (findTool("nginx") === null) throw new Error(`nginx is needed: ${reason}`);
  const folder = mkdtempSync(join(tmpdir(), "synthetic-bench-"));
  const server = await startSynthetic(join(folder, "data"));
  const nginx = startNginx(folder);
  const rows: Row[] = [];
  try {
    for (const { bytes } of DOWNLOADS) {
      const content = randomBytes(bytes);
      writeFileSync(join(folder, `f${bytes}`), content);
      const id = await upload(server, content);
      server.requests.set(
        bytes,
        `GET /v1/artifacts/${id}/content HTTP/1.1\r\nHost: 127.0.0.1:${server.port}\r\nAuthorization: Bearer ${server.token}\r\n\r\n`,
      );
      nginx.requests.set(bytes, `GET /f${bytes} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`);
    }
    const before_mib = peakMib(server.pid);
    for (const { bytes, name, count, floor } of DOWNLOADS) {
      await download(server, bytes, count);
      const found = await interleave(rounds, {
        ours: () => download(server, bytes, count),
        nginx: () => download(nginx, bytes, count),
      });
      rows.push({
        measure: `download of ${name} / nginx with sendfile`,
        value: ratio(found.ours, found.nginx),
        unit: "ratio",
        floor: { at_least: floor },
        detail: `${rounded(median(found.ours), 0)} / ${rounded(median(found.nginx), 0)} MiB/s`,
      });
    }
    rows.push({
      measure: "extra memory for the downloads",
      value: peakMib(server.pid) - before_mib,
      unit: "MiB",
      floor: { at_most: 64 },
      detail: "highest resident size",
    });
    rows.push(...(await uploadRows(rounds, folder, server)));
    rows.push(...(await besideUploadsRows(rounds, server)));
  } finally {
    await nginx.stop();
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  for (const row of rows) say(`${row.measure}: ${rounded(row.value)} ${row.unit} (${row.detail})`);
  return rows;
}

async function uploadRows(rounds: number, folder: string, server: Running): Promise<Row[]> {
  const source = join(folder, "large");
  const piece = randomBytes(16 * MIB);
  const writer = Bun.file(source).writer();
  for (let at = 0; at < UPLOAD_BYTES; at += piece.byteLength) {
    void writer.write(piece);
    await writer.flush();
  }
  await writer.end();
  const before_mib = peakMib(server.pid);
  let number = 0;
  const found = await interleave(rounds, {
    async ours() {
      // Other bytes each time, or it would only be compared with what is there.
      number += 1;
      const child = Bun.spawn(["dd", `of=${source}`, "bs=1", "conv=notrunc"], {
        stdin: "pipe",
        stderr: "ignore",
      });
      void child.stdin.write(String(number));
      await child.stdin.end();
      await child.exited;
      const began = performance.now();
      const id = await upload(server, Bun.file(source));
      const seconds = (performance.now() - began) / 1_000;
      await fetch(new URL(`/v1/artifacts/${id}`, server.url), {
        method: "DELETE",
        headers: { authorization: `Bearer ${server.token}`, "if-match": "*" },
      });
      await fetch(new URL("/v1/gc?grace_ms=0", server.url), {
        method: "POST",
        headers: { authorization: `Bearer ${server.token}` },
      });
      return seconds;
    },
    dd: () => ddSeconds(source, join(folder, "copy")),
  });
  return [
    {
      measure: "durable hashed upload of 1 GiB / dd with fdatasync, rate",
      value: ratio(found.dd, found.ours),
      unit: "ratio",
      floor: { at_least: 0.5 },
      detail: `${rounded(median(found.ours))} / ${rounded(median(found.dd))} s`,
    },
    {
      measure: "extra memory for the uploads",
      value: peakMib(server.pid) - before_mib,
      unit: "MiB",
      floor: { at_most: 64 },
      detail: "highest resident size",
    },
  ];
}

const SESSIONS = 64;
const STEADY_MS = 6_000;

/** Appends at half of the highest rate that was measured, alone and while four uploads run. */
async function besideUploadsRows(rounds: number, server: Running): Promise<Row[]> {
  const target: Target = { host: "127.0.0.1", port: server.port, token: server.token };
  const sessions: string[] = [];
  for (let session = 0; session < SESSIONS; session += 1) {
    const answer = await fetch(new URL("/v1/sessions", server.url), {
      method: "POST",
      headers: { authorization: `Bearer ${server.token}`, "content-type": "application/json" },
      body: JSON.stringify({ construct_id: server.construct_id }),
    });
    sessions.push(((await answer.json()) as { id: string }).id);
  }
  const lines = linesOfMean(2_800);
  const requests = Array.from({ length: 4_000 }, (_, index) =>
    requestBytes(
      target,
      "POST",
      `/v1/sessions/${sessions[index % SESSIONS]}/entries`,
      `{"entries":[{"kind":"message","at_ms":1700000000000,"body":${lines[index % lines.length]}}]}`,
    ),
  );
  const next = (index: number): Uint8Array => requests[index % requests.length] ?? new Uint8Array();
  await load(target, SESSIONS, 2_000, 201, next);
  const { rate } = await load(target, SESSIONS, 8_000, 201, next);
  const delivered: number[] = [];
  const steady = async (uploads: number): Promise<number> => {
    const uploaders = Array.from({ length: uploads }, () =>
      Bun.spawn(
        [
          process.execPath,
          join(import.meta.dir, "uploader.ts"),
          server.url,
          server.token,
          server.construct_id,
          String(64 * MIB),
        ],
        { stdout: "ignore", stderr: "inherit" },
      ),
    );
    if (uploads > 0) await Bun.sleep(2_000);
    // What the arm before left for the disk to do is not this one's.
    else await Bun.spawn(["sync"]).exited.then(() => Bun.sleep(1_500));
    const found = await steadyLoad(
      target,
      { rate: rate / 2, duration_ms: STEADY_MS, connections: 256 },
      next,
    );
    for (const uploader of uploaders) uploader.kill("SIGKILL");
    await Promise.all(uploaders.map((uploader) => uploader.exited));
    if (uploads > 0) {
      delivered.push(found.delivered);
      await fetch(new URL("/v1/gc?grace_ms=0", server.url), {
        method: "POST",
        headers: { authorization: `Bearer ${server.token}` },
      });
    }
    return percentile(found.latencies, 0.99);
  };
  const found = await interleave(rounds, { beside: () => steady(4), alone: () => steady(0) });
  return [
    {
      measure: "entries delivered at half of the highest rate while four uploads run",
      value: median(delivered),
      unit: "ratio",
      floor: { at_least: 0.95 },
      detail: `${rounded(rate / 2, 0)} entries/s are due`,
    },
    {
      measure: "their p99 / without uploads",
      value: ratio(found.beside, found.alone),
      unit: "ratio",
      floor: { at_most: 4 },
      detail: `${rounded(median(found.beside))} / ${rounded(median(found.alone))} ms`,
    },
  ];
}
