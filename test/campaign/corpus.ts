/**
 * The real corpus over HTTP to the compiled binary, by 16 clients at once, half with single entries and half with
 * NDJSON. Every body is compared byte for byte through page, single entry, stream and zstd stream: after the writing,
 * after sealing, and after SIGKILL and a new start; and every acknowledged head with the one that the client computes.
 * Then the size of the database is taken. The control expects one other byte and has to fail on every road.
 */
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { zstdDecompressSync } from "node:zlib";
import { type CampaignOptions, type CampaignResult, createRandom, type Random } from "../support/campaign.ts";
import { corpusTranscripts, sampleTranscripts, type TranscriptFile } from "../support/corpus.ts";
import { json, makeSession, type Server, startServer } from "../support/server.ts";
import { readTranscript, transcriptFaults } from "../support/transcript.ts";
import { appendBody, headBehind, NO_HEAD, type Sent } from "../support/verify.ts";

const CLIENTS = 16;
const NDJSON_LINES = 400;
const NDJSON_BYTES = 4 << 20;
const READERS = 8;
/** An item over this comes as a preview in a page (contract §2). */
const INLINE_BYTES = 256 * 1024;
const PREVIEW_CHARACTERS = 1_000;
/** Of a page; the default, the most, and some that cut in the middle of a frame. */
const PAGE_LIMITS = [500, 173, 50] as const;
const PAGE_BYTES = [1 << 20, 8 << 20, 100_000] as const;
/** Of the bytes sent. Small samples have no full frame and little in common, so only the whole corpus is held to it. */
const SIZE_SHARE = 0.27;
const SEALED_MS = 120_000;
const ENV = { SYNTHETIC_SEAL_IDLE_MS: "200" };

interface Work {
  file: TranscriptFile;
  session: string;
  sent: Sent[];
  /** By seq, as a client computes them from what it sends. */
  heads: string[];
}

function workOf(file: TranscriptFile, session: string): Work {
  const sent = file.bodies.map((body, index) => ({ at_ms: 1_700_000_000_000 + index * 997, body }));
  const heads = [NO_HEAD];
  for (const [index, one] of sent.entries()) heads.push(headBehind(heads[index] ?? "", index + 1, one));
  return { file, session, sent, heads };
}

/** Does the work of a list with as many workers, which take items in the list's order. */
async function inParallel<T>(
  items: readonly T[],
  workers: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const rest = items.values();
  const one = async (): Promise<void> => {
    for (const item of rest) await work(item);
  };
  await Promise.all(Array.from({ length: workers }, one));
}

// ---------------------------------------------------------------- writing

/** Where a request that begins at an entry ends: behind it, or behind a random number of them. */
function endOf({ sent }: Work, from: number, ndjson: boolean, random: Random): number {
  const most = Math.min(sent.length, from + (ndjson ? 1 + random.int(NDJSON_LINES) : 1));
  let bytes = 0;
  for (let end = from; end < most; end += 1) {
    bytes += Buffer.byteLength(sent[end]?.body ?? "");
    if (bytes > NDJSON_BYTES && end > from) return end;
  }
  return most;
}

interface Written {
  requests: number;
  bytes: number;
  failures: string[];
}

async function write(
  server: Server,
  work: Work,
  ndjson: boolean,
  random: Random,
  written: Written,
): Promise<void> {
  for (let from = 0; from < work.sent.length;) {
    const end = endOf(work, from, ndjson, random);
    const { body, type } = appendBody(work.sent.slice(from, end), ndjson);
    const path = `/v1/sessions/${work.session}/entries?after=${from}`;
    const answer = server.call("POST", path, body, { "content-type": type });
    const { first_seq, last_seq, head } = await json<{ first_seq: number; last_seq: number; head: string }>(
      answer,
      201,
    );
    if (first_seq !== from + 1 || last_seq !== end || head !== work.heads[end])
      written.failures.push(
        `${work.file.name}: ${from + 1} to ${end} were acknowledged as ${first_seq} to ${last_seq}, ${head}`,
      );
    written.requests += 1;
    written.bytes += Buffer.byteLength(body);
    from = end;
  }
}

/** Half of the files by half of the clients as single entries, the others as NDJSON, at the same time. */
async function writeAll(server: Server, works: readonly Work[], random: Random): Promise<Written> {
  const written: Written = { requests: 0, bytes: 0, failures: [] };
  const half = (ndjson: boolean): Promise<void> => {
    const own = createRandom(random.int(2 ** 32));
    const files = works.filter((_, index) => (index % 2 === 1) === ndjson);
    return inParallel(files, CLIENTS / 2, (work) => write(server, work, ndjson, own, written));
  };
  await Promise.all([half(false), half(true)]);
  return written;
}

// ---------------------------------------------------------------- reading

interface Item {
  received_at_ms: number;
  seq: number;
  body_bytes?: number;
  preview?: string;
}

/** The text of an item as it has to be, from what was sent; only the time of receipt is the server's. */
function itemText(
  { sent }: Work,
  { received_at_ms, seq }: Pick<Item, "received_at_ms" | "seq">,
  inline: boolean,
): string {
  const { at_ms, body } = sent[seq - 1] ?? { at_ms: 0, body: "" };
  const text = `{"received_at_ms":${received_at_ms},"seq":${seq},"kind":"message","actor":"agent","at_ms":${at_ms},"body":`;
  // A line is stored with its newline, and so is its size.
  if (!inline || Buffer.byteLength(text) + Buffer.byteLength(body) + 2 <= INLINE_BYTES)
    return `${text}${body}}`;
  const preview = JSON.stringify(body.slice(0, PREVIEW_CHARACTERS).toWellFormed());
  return `${text}null,"body_bytes":${Buffer.byteLength(body)},"preview":${preview}}`;
}

/** Walks all pages; each has to be, character for character, what it would be if it were made here. */
async function pageFaults(server: Server, work: Work, random: Random): Promise<string[]> {
  const path = `/v1/sessions/${work.session}/entries`;
  const size = `limit=${random.pick(PAGE_LIMITS)}&max_bytes=${random.pick(PAGE_BYTES)}`;
  let next_seq = 1;
  for (let cursor: string | null = ""; cursor !== null;) {
    const text = await (await server.call("GET", `${path}?${size}${cursor}`)).text();
    const page = JSON.parse(text) as { items: Item[]; next_cursor: string | null };
    const seqs = page.items.map(({ seq }) => seq);
    if (seqs.some((seq, index) => seq !== next_seq + index))
      return [`page: seqs ${seqs.join(" ")} from ${next_seq} on`];
    const wanted = `{"items":[${page.items.map((item) => itemText(work, item, true)).join(",")}],"first_seq":`;
    if (!text.startsWith(wanted))
      return [`page: differs between ${next_seq} and ${next_seq + seqs.length - 1}`];
    next_seq += seqs.length;
    cursor = page.next_cursor === null ? null : `&cursor=${page.next_cursor}`;
  }
  return next_seq === work.sent.length + 1 ? [] : [`page: ended before ${next_seq}`];
}

async function singleFaults(server: Server, work: Work): Promise<string[]> {
  for (let seq = 1; seq <= work.sent.length; seq += 1) {
    const text = await (await server.call("GET", `/v1/sessions/${work.session}/entries/${seq}`)).text();
    const received_at_ms = Number(/^\{"received_at_ms":(\d+)/.exec(text)?.[1]);
    if (text !== itemText(work, { received_at_ms, seq }, false)) return [`single entry: ${seq} differs`];
  }
  return [];
}

/** The bytes of an answer as they came; Bun's fetch would decode them. */
async function rawBytes(
  server: Server,
  path: string,
  headers: Record<string, string>,
): Promise<{ coding: string | null; bytes: Buffer }> {
  const answer = await fetch(new URL(path, server.url), {
    headers: { authorization: `Bearer ${server.token}`, ...headers },
    decompress: false,
  });
  if (answer.status !== 200) throw new Error(`${path}: ${answer.status}`);
  return { coding: answer.headers.get("content-encoding"), bytes: Buffer.from(await answer.arrayBuffer()) };
}

async function streamFaults(server: Server, work: Work): Promise<string[]> {
  const path = `/v1/sessions/${work.session}`;
  const whole = await rawBytes(server, `${path}/transcript`, { "accept-encoding": "identity" });
  const range = await rawBytes(server, `${path}/entries`, {
    accept: "application/x-ndjson",
    "accept-encoding": "identity",
  });
  const frames = await rawBytes(server, `${path}/transcript`, { "accept-encoding": "zstd" });
  const transcript = readTranscript(whole.bytes.toString("utf8"));
  const faults = transcriptFaults(transcript, await json(server.call("GET", path)));
  const differing = transcript.heads.findIndex((head, seq) => head !== work.heads[seq]);
  if (differing !== -1 || transcript.heads.length !== work.heads.length)
    faults.push(`stream: ${transcript.lines.length} entries, ${differing} differs`);
  const line = transcript.lines.findIndex(({ body }, index) => body !== work.sent[index]?.body);
  if (line !== -1) faults.push(`stream: the body of ${line + 1} differs`);
  if (!range.bytes.equals(whole.bytes)) faults.push("stream of a range: differs");
  if (frames.coding !== "zstd") return [...faults, `zstd stream: its coding is ${frames.coding}`];
  const decoded = readTranscript(zstdDecompressSync(frames.bytes).toString("utf8"));
  if (
    decoded.lines.some(({ body }, index) => body !== work.sent[index]?.body) ||
    decoded.heads.at(-1) !== work.heads.at(-1)
  )
    faults.push("zstd stream: differs");
  return faults;
}

/** Every body through every road. */
async function compareAll(server: Server, works: readonly Work[], random: Random): Promise<string[]> {
  const failures: string[] = [];
  await inParallel(works, READERS, async (work) => {
    const faults = [
      ...(await pageFaults(server, work, random)),
      ...(await singleFaults(server, work)),
      ...(await streamFaults(server, work)),
    ];
    failures.push(...faults.map((fault) => `${work.file.name}: ${fault}`));
  });
  return failures;
}

// ---------------------------------------------------------------- sealing

async function metric(server: Server, name: string): Promise<number> {
  const text = await (await server.call("GET", "/metrics")).text();
  return Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1] ?? Number.NaN);
}

/** Waits until nothing is left as rows and no more than a step of free pages is left to give back. */
async function untilSealed(server: Server): Promise<void> {
  const deadline = performance.now() + SEALED_MS;
  while (performance.now() < deadline) {
    const rows = await metric(server, "synthetic_store_hot_rows_bytes");
    const free = await metric(server, "synthetic_store_freelist_bytes");
    if (rows === 0 && free < 2 << 20) return;
    await Bun.sleep(200);
  }
  throw new Error(`the rows were not sealed in ${SEALED_MS} ms`);
}

/** The database of a stopped server, with its log if there is one. */
function databaseBytes(data_dir: string): number {
  return ["synthetic.db", "synthetic.db-wal"]
    .map((name) => statSync(join(data_dir, name), { throwIfNoEntry: false })?.size ?? 0)
    .reduce((sum, bytes) => sum + bytes, 0);
}

// ---------------------------------------------------------------- the campaign

function rounded(value: number, digits = 3): number {
  return Number(value.toFixed(digits));
}

async function compareThrice(
  files: readonly TranscriptFile[],
  { seed, log }: CampaignOptions,
  data_dir: string,
  expected: (works: readonly Work[]) => readonly Work[],
): Promise<CampaignResult & { share: number }> {
  const random = createRandom(seed);
  const options = { data_dir, env: ENV };
  let server = await startServer(options);
  try {
    const works: Work[] = [];
    for (const file of files) works.push(workOf(file, await makeSession(server)));
    const entries = works.reduce((sum, { sent }) => sum + sent.length, 0);
    const began = performance.now();
    const { requests, bytes, failures } = await writeAll(server, works, random);
    const write_s = (performance.now() - began) / 1_000;
    log(`${entries} entries of ${works.length} transcripts in ${requests} requests, ${rounded(write_s)} s`);
    const compare = async (when: string): Promise<void> => {
      const found = await compareAll(server, expected(works), random);
      failures.push(...found.map((failure) => `${when}: ${failure}`));
      log(`${when}: ${found.length} failures`);
    };
    await compare("after writing");
    await untilSealed(server);
    await compare("after sealing");
    await server.stop("SIGKILL");
    server = await startServer(options);
    await compare("after SIGKILL and a new start");
    await untilSealed(server);
    await server.stop("SIGTERM");
    const share = databaseBytes(data_dir) / bytes;
    const body_bytes = works
      .flatMap(({ sent }) => sent)
      .reduce((sum, { body }) => sum + Buffer.byteLength(body), 0);
    const notes = {
      transcripts: works.length,
      entries,
      requests,
      sent_bytes: bytes,
      body_bytes,
      write_s: rounded(write_s, 1),
      database_share: rounded(share),
    };
    return { cases: entries * 3, failures, notes, share };
  } finally {
    await server.stop("SIGKILL");
  }
}

export async function run(options: CampaignOptions): Promise<CampaignResult> {
  const files = options.size === "full" ? corpusTranscripts() : sampleTranscripts();
  const data_dir = mkdtempSync(join(tmpdir(), "synthetic-corpus-"));
  try {
    const { cases, failures, notes, share } = await compareThrice(files, options, data_dir, (works) => works);
    if (options.size === "full" && share > SIZE_SHARE)
      failures.push(`the database is ${rounded(share)} of what was sent, more than ${SIZE_SHARE}`);
    return { cases, failures, notes };
  } finally {
    rmSync(data_dir, { recursive: true, force: true });
  }
}

/** The last body of one transcript with one other byte. */
function altered(works: readonly Work[]): Work[] {
  return works.slice(0, 1).map((work) => {
    const { file, session, sent } = work;
    const bodies = sent.map(({ body }) => body);
    const last = bodies.pop() ?? "";
    bodies.push(`${last.slice(0, -2)}${last.at(-2) === "x" ? "y" : "x"}${last.at(-1)}`);
    return workOf({ ...file, bodies }, session);
  });
}

/** Something else than was sent is expected: each road has to say so. */
export async function control(options: CampaignOptions): Promise<CampaignResult> {
  const data_dir = mkdtempSync(join(tmpdir(), "synthetic-corpus-"));
  try {
    const { cases, failures, notes } = await compareThrice(
      sampleTranscripts().slice(0, 1),
      options,
      data_dir,
      altered,
    );
    return { cases, failures, notes };
  } finally {
    rmSync(data_dir, { recursive: true, force: true });
  }
}
