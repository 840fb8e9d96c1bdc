/** The rows of the benchmark that need no server: transcripts in the store, in process. */
import { statSync } from "node:fs";
import { linesOfMean, kilobyteLines, totalBytes } from "./payload.ts";
import { createBlobs } from "../../src/blob/blobs.ts";
import { createDoor, type Door } from "../../src/http/door.ts";
import { system_ids } from "../../src/lib/ids.ts";
import { createBell } from "../../src/lib/wake.ts";
import type { Store } from "../../src/store/contract.ts";
import { type Arm, log, openArm } from "./arms.ts";
import { interleave, median, percentile, ratio, type Row, rounded } from "./measure.ts";
import type { NewEntry } from "../../src/store/contract.ts";
import { system_clock } from "../../src/lib/clock.ts";

const SESSIONS = 200;
const CLIENTS = 64;

/** What session i of n writes next: each has a stretch of real transcript of its own, as real sessions have. */
function sessionLines(lines: readonly string[], sessions: number): (session: number, turn: number) => string {
  const stretch = lines.length / sessions;
  return (session, turn) => lines[Math.floor(session * stretch + turn) % lines.length] ?? "";
}

const entryOf = (body: string): NewEntry => ({
  kind: "message",
  actor: "agent",
  at_ms: 1_700_000_000_000,
  body,
});
const options = () => ({ received_at_ms: system_clock.now_ms() });

const TOKEN = "benchmark-token-of-sufficient-length";

/** The real handlers over the appending part of an arm, called in process. */
function doorOf(arm: Arm): Door {
  const entries = { append: arm.append } as unknown as Store["entries"];
  const store = { generation: "", entries } as unknown as Store;
  const context = {
    store,
    blobs: createBlobs({ root: "", clock: system_clock, ids: system_ids, noteFailure: () => undefined }),
    clock: system_clock,
    ids: system_ids,
    bell: createBell(),
  };
  return createDoor({
    context,
    token: TOKEN,
    hosts: [],
    version: "bench",
    commit: "",
    log,
    started_at_ms: 0,
  });
}

function appendRequest(session: string, body: string): Request {
  return new Request(`http://localhost/v1/sessions/${session}/entries`, {
    method: "POST",
    headers: { host: "localhost", authorization: `Bearer ${TOKEN}`, "content-type": "application/json" },
    body: `{"entries":[{"kind":"message","at_ms":1700000000000,"body":${body}}]}`,
  });
}

/** 64 clients append one entry at a time through the handlers; gives entries a second and each append's milliseconds. */
async function appendLoad(
  arm: Arm,
  sessions: readonly string[],
  lines: readonly string[],
  count: number,
): Promise<{ rate: number; latencies: number[] }> {
  const door = doorOf(arm);
  const latencies: number[] = [];
  const line = sessionLines(lines, sessions.length);
  let next = 0;
  const began = performance.now();
  await Promise.all(
    Array.from({ length: CLIENTS }, async () => {
      while (next < count) {
        const index = next;
        next += 1;
        const start = performance.now();
        const session = index % sessions.length;
        const body = line(session, Math.floor(index / sessions.length));
        const answer = await door.fetch(appendRequest(sessions[session] ?? "", body));
        if (answer.status !== 201) throw new Error(await answer.text());
        latencies.push(performance.now() - start);
      }
    }),
  );
  return { rate: (count / (performance.now() - began)) * 1_000, latencies };
}

/** Without checkpoints in the way, which both arms would pay alike. */
function withoutCheckpoints(arm: Arm): void {
  arm.db.run("PRAGMA wal_autocheckpoint = 0");
}

async function sealingRows(rounds: number, count: number): Promise<Row[]> {
  const lines = linesOfMean(2_800);
  const p99: Record<string, number[]> = { sealing: [], plain: [] };
  const arm = (name: "sealing" | "plain") => async (): Promise<number> => {
    const { arm, sessions } = await openArm(name === "sealing", SESSIONS);
    withoutCheckpoints(arm);
    await appendLoad(arm, sessions, lines, 2_000);
    const { rate, latencies } = await appendLoad(arm, sessions, lines, count);
    p99[name]?.push(percentile(latencies, 0.99));
    await arm.close();
    return rate;
  };
  const found = await interleave(rounds, { sealing: arm("sealing"), plain: arm("plain") });
  return [
    {
      measure: "sealing arm / plain rows, 64 clients through the handlers, rate",
      value: ratio(found.sealing, found.plain),
      unit: "ratio",
      floor: { at_least: 0.85 },
      detail: `${rounded(median(found.sealing), 0)} / ${rounded(median(found.plain), 0)} entries/s`,
    },
    {
      measure: "append p99 with sealing / without, checkpoints apart",
      value: ratio(p99["sealing"] ?? [], p99["plain"] ?? []),
      unit: "ratio",
      floor: { at_most: 2 },
      detail: `${rounded(median(p99["sealing"] ?? []))} / ${rounded(median(p99["plain"] ?? []))} ms`,
    },
  ];
}

/** Bytes of WAL for each byte of payload, sealing and trimming included, until nothing is left to seal; exact. */
async function walBytes(lines: readonly string[], count: number): Promise<{ wal: number; database: number }> {
  const { arm, sessions } = await openArm(true, SESSIONS);
  arm.db.run("PRAGMA wal_checkpoint(TRUNCATE)");
  withoutCheckpoints(arm);
  const line = sessionLines(lines, SESSIONS);
  let payload = 0;
  for (let first = 0; first < count; first += CLIENTS) {
    const places = Array.from({ length: CLIENTS }, (_, index) => ({
      session: (first + index) % SESSIONS,
      turn: Math.floor((first + index) / SESSIONS),
    }));
    const bodies = places.map(({ session, turn }) => line(session, turn));
    payload += totalBytes(bodies);
    await Promise.all(
      places.map(({ session }, index) =>
        arm.append(sessions[session] ?? "", [entryOf(bodies[index] ?? "")], options()),
      ),
    );
  }
  await arm.sealer.sealAll();
  const wal = statSync(`${arm.path}-wal`).size / payload;
  arm.db.run("PRAGMA wal_checkpoint(TRUNCATE)");
  const database = statSync(arm.path).size / payload;
  await arm.close();
  return { wal, database };
}

async function sizeRows(count: number): Promise<Row[]> {
  const real = await walBytes(linesOfMean(2_800), count);
  const small = await walBytes(kilobyteLines(), count);
  const exact = "exact";
  return [
    {
      measure: "WAL bytes / payload, groups of 64, real entries",
      value: real.wal,
      unit: "ratio",
      floor: { at_most: 2.8 },
      detail: exact,
    },
    {
      measure: "WAL bytes / payload, groups of 64, 1 KB",
      value: small.wal,
      unit: "ratio",
      floor: { at_most: 7.2 },
      detail: exact,
    },
    {
      measure: "database / payload after sealing",
      value: real.database,
      unit: "ratio",
      floor: { at_most: 0.25 },
      detail: exact,
    },
  ];
}

const REPEAT_MS = 250;

/** How often a second something can be done. */
async function rateOf(work: () => unknown): Promise<number> {
  for (let warm = 0; warm < 20; warm += 1) await work();
  const began = performance.now();
  let count = 0;
  for (; performance.now() - began < REPEAT_MS; count += 1) await work();
  return (count / (performance.now() - began)) * 1_000;
}

async function drain(
  arm: Arm,
  session: string,
  last_seq: number,
  encoding: "identity" | "zstd",
): Promise<void> {
  for (let from = 1; from <= last_seq;) {
    const chunk = await arm.transcripts.chunk(session, from, last_seq, encoding);
    if (chunk === null) return;
    from = chunk.last_seq + 1;
  }
}

async function readRows(rounds: number, count: number): Promise<Row[]> {
  const lines = linesOfMean(2_100);
  const bodies = Array.from({ length: count }, (_, index) => lines[index % lines.length] ?? "");
  const fill = async (sealing: boolean) => {
    const { arm, sessions } = await openArm(sealing, 1);
    const session = sessions[0] ?? "";
    for (let from = 0; from < count; from += 50)
      await arm.append(session, bodies.slice(from, from + 50).map(entryOf), options());
    await arm.sealer.sealAll();
    return { arm, session };
  };
  const frames = await fill(true);
  const rows = await fill(false);
  let at = 0;
  const page = async ({ arm, session }: typeof rows) => {
    at = (at + 137) % (count - 200);
    const found = await arm.transcripts.read(session, {
      from_seq: at + 1,
      through_seq: count,
      direction: "forward",
      limit: 100,
      max_bytes: 8 << 20,
    });
    if (found.count !== 100) throw new Error("a page of 100 has 100 entries");
    return found.pieces;
  };
  const found = await interleave(rounds, {
    sealed_page: () => rateOf(() => page(frames)),
    row_page: () => rateOf(() => page(rows)),
    parsed_page: () =>
      rateOf(async () =>
        JSON.stringify({
          items: Buffer.concat(await page(frames))
            .toString()
            .trimEnd()
            .split("\n")
            .map((line) => JSON.parse(line) as unknown),
        }),
      ),
    decoded: () => rateOf(() => drain(frames.arm, frames.session, count, "identity")),
    untouched: () => rateOf(() => drain(frames.arm, frames.session, count, "zstd")),
    rows: () => rateOf(() => drain(rows.arm, rows.session, count, "identity")),
  });
  await frames.arm.close();
  await rows.arm.close();
  const per_s = (values: readonly number[]): string => `${rounded(median(values), 0)}/s`;
  return [
    {
      measure: "sealed page of 100 as bytes / rows, time",
      value: ratio(found.row_page, found.sealed_page),
      unit: "ratio",
      floor: { at_most: 1.4 },
      detail: `${per_s(found.sealed_page)} / ${per_s(found.row_page)}`,
    },
    {
      measure: "page of 100 / parse and stringify",
      value: ratio(found.sealed_page, found.parsed_page),
      unit: "ratio",
      floor: { at_least: 2.3 },
      detail: `${per_s(found.sealed_page)} / ${per_s(found.parsed_page)}`,
    },
    {
      measure: "whole transcript decoded / rows",
      value: ratio(found.decoded, found.rows),
      unit: "ratio",
      floor: { at_least: 1.2 },
      detail: `${per_s(found.decoded)} / ${per_s(found.rows)}`,
    },
    {
      measure: "whole transcript, frames untouched / rows",
      value: ratio(found.untouched, found.rows),
      unit: "ratio",
      floor: { at_least: 6 },
      detail: `${per_s(found.untouched)} / ${per_s(found.rows)}`,
    },
  ];
}

async function bulkRows(rounds: number, count: number): Promise<Row[]> {
  const lines = linesOfMean(2_800);
  const batches: NewEntry[][] = [];
  for (let from = 0; from < count; from += 400)
    batches.push(
      Array.from({ length: 400 }, (_, index) => entryOf(lines[(from + index) % lines.length] ?? "")),
    );
  const arm = (bulk: boolean) => async (): Promise<number> => {
    const { arm, sessions } = await openArm(false, 8);
    const began = performance.now();
    await Promise.all(
      sessions.map(async (session, lane) => {
        for (let index = lane; index < batches.length; index += sessions.length) {
          const batch = batches[index] ?? [];
          if (bulk) await arm.append(session, batch, options());
          else
            for (let from = 0; from < batch.length; from += 50)
              await arm.append(session, batch.slice(from, from + 50), options());
        }
      }),
    );
    const rate = (count / (performance.now() - began)) * 1_000;
    await arm.close();
    return rate;
  };
  const found = await interleave(rounds, { frames: arm(true), rows: arm(false) });
  return [
    {
      measure: "bulk straight to frames / plain rows",
      value: ratio(found.frames, found.rows),
      unit: "ratio",
      floor: { at_least: 1.2 },
      detail: `${rounded(median(found.frames), 0)} / ${rounded(median(found.rows), 0)} entries/s`,
    },
  ];
}

export async function storeRows(rounds: number, say: (line: string) => void): Promise<Row[]> {
  const rows: Row[] = [];
  const add = (more: Row[]): void => {
    for (const row of more) say(`${row.measure}: ${rounded(row.value)} (${row.detail})`);
    rows.push(...more);
  };
  add(await sizeRows(19_200));
  add(await sealingRows(rounds, 40_000));
  add(await readRows(rounds, 6_000));
  add(await bulkRows(rounds, 16_000));
  return rows;
}
