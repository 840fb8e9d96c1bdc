/**
 * Tails: two hundred readers who are cut off at random and resume, twenty of whom stop reading for a while, and
 * writers that do not wait for them. Everyone sees every entry once and in order, and the server holds next to
 * nothing for those who are slow.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { limit } from "../../src/limits.ts";
import { type CampaignOptions, type CampaignResult, createRandom, type Random } from "../support/campaign.ts";
import { json, makeSession, type Server, startServer } from "../support/server.ts";
import { openSse, type SseEvent } from "../support/sse.ts";
import { fetchTranscript } from "../support/transcript.ts";

const MEMORY_BOUND_MIB = 64;
/**
 * The allocator gives freed pages back at once instead of keeping them for the next allocation, so that the resident
 * size is what the server holds: kept pages alone were up to 20 MiB of the growth.
 */
const ENV = { MIMALLOC_PURGE_DELAY: "0" };
const READERS = 200;
const STALLED = 20;
/** Sessions of ordinary traffic, and one that brings more than a socket buffers while somebody stalls. */
const LIGHT_SESSIONS = 4;

interface Plan {
  light: { requests: number; pause_ms: number };
  heavy: { requests: number; pause_ms: number };
  /** How much of it is written for a few readers at first. */
  few_share: number;
  /** Some stall shorter, some longer than the server's patience. */
  stall_ms: readonly number[];
  deadline_ms: number;
}

const PLANS: Record<"short" | "full", Plan> = {
  short: {
    few_share: 1,
    light: { requests: 40, pause_ms: 40 },
    heavy: { requests: 40, pause_ms: 50 },
    stall_ms: [2_000, 2_500],
    deadline_ms: 25_000,
  },
  full: {
    few_share: 0.4,
    light: { requests: 500, pause_ms: 80 },
    heavy: { requests: 160, pause_ms: 250 },
    stall_ms: [5_000, 15_000, limit("tail_stall_ms") + 6_000],
    deadline_ms: 180_000,
  },
};

interface Stream {
  session_id: string;
  /** Fingerprint of what was shown at each seq, as the first reader saw it. */
  shown: Map<number, number>;
  /** Set when the writers are done. */
  last_seq: number | null;
}

class Campaign {
  readonly failures: string[] = [];
  readonly server: Server;
  readonly port: number;
  readonly generations = new Set<string>();
  /** Set at the end, or when it takes too long. */
  over = false;
  events = 0;
  connections = 0;
  resumes = 0;
  previews = 0;
  closed_for_slowness = 0;
  stalls = 0;
  /** The control: whoever resumes asks for a place that is off by this. */
  readonly off_by: number;

  constructor(server: Server, off_by: number) {
    this.server = server;
    this.port = Number(new URL(server.url).port);
    this.off_by = off_by;
  }

  fail(what: string): void {
    if (this.failures.length < 100) this.failures.push(what);
  }
}

// ---------------------------------------------------------------- readers

interface Reader {
  name: string;
  stream: Stream;
  seen: number;
  last_id: string | null;
  /** Milliseconds to stop reading for, once. */
  stall_ms: number | null;
  done: boolean;
}

function noteEvent(campaign: Campaign, reader: Reader, { id, event, data }: SseEvent): void {
  if (event === "error") {
    campaign.closed_for_slowness += 1;
    if (reader.stall_ms === null && !data.includes('"busy"'))
      campaign.fail(`${reader.name}: an error: ${data.slice(0, 200)}`);
    return;
  }
  if (event !== "entry") return campaign.fail(`${reader.name}: an event \`${event}\`: ${data.slice(0, 200)}`);
  const item = JSON.parse(data) as { seq: number; body: unknown; preview?: string };
  if (item.preview !== undefined) campaign.previews += 1;
  const [generation, seq] = id?.split(".") ?? [];
  campaign.generations.add(generation ?? "");
  if (Number(seq) !== item.seq) campaign.fail(`${reader.name}: entry ${item.seq} has the id ${id}`);
  if (item.seq !== reader.seen + 1) campaign.fail(`${reader.name}: entry ${item.seq} behind ${reader.seen}`);
  reader.seen = item.seq;
  reader.last_id = id;
  campaign.events += 1;
  const print = Bun.hash.crc32(data);
  const before = reader.stream.shown.get(item.seq);
  if (before === undefined) reader.stream.shown.set(item.seq, print);
  else if (before !== print)
    campaign.fail(`${reader.name}: entry ${item.seq} is not what another reader saw`);
}

/** Where a reader goes on, said in one of the three ways that there are. */
function resumption(
  campaign: Campaign,
  reader: Reader,
  random: Random,
): { path: string; headers: Record<string, string> } {
  const base = `/v1/sessions/${reader.stream.session_id}/tail`;
  const headers = { authorization: `Bearer ${campaign.server.token}` };
  if (reader.last_id === null) return { path: random.chance(0.5) ? base : `${base}?after=0`, headers };
  campaign.resumes += 1;
  const generation = reader.last_id.split(".")[0] ?? "";
  const seq = Math.max(0, reader.seen + campaign.off_by);
  const roll = random.int(10);
  if (roll < 7) return { path: base, headers: { ...headers, "last-event-id": `${generation}.${seq}` } };
  return { path: `${base}?after=${roll < 9 ? `${generation}.` : ""}${seq}`, headers };
}

/** One connection, until it ends. */
async function connectOnce(campaign: Campaign, reader: Reader, random: Random): Promise<void> {
  // The last bytes of a stream are read in peace, or nobody would ever be done.
  const restless = random.chance(0.75) && reader.stall_ms === null;
  campaign.connections += 1;
  const stream = await openSse(campaign.port, {
    ...resumption(campaign, reader, random),
    ...(restless && { cut_after_bytes: 300 + random.int(random.chance(0.3) ? 3_000 : 1_500_000) }),
    onEvent(event) {
      noteEvent(campaign, reader, event);
      const { last_seq } = reader.stream;
      if ((last_seq !== null && reader.seen >= last_seq) || campaign.over || campaign.failures.length >= 50)
        stream.wire.cut();
    },
  });
  const finished = (): boolean => reader.stream.last_seq !== null && reader.seen >= reader.stream.last_seq;
  let ended = false;
  void stream.ended.then(() => {
    ended = true;
  });
  if (reader.stall_ms !== null) {
    await stall(campaign, reader, random, stream.wire);
    reader.stall_ms = null;
  }
  // The writers may end while this reader has everything and waits.
  while (!ended) {
    if (finished() || campaign.over) stream.wire.cut();
    await Promise.race([stream.ended, Bun.sleep(100)]);
  }
  const status = await stream.ended;
  if (status !== 200 && status !== null && status !== 503)
    campaign.fail(`${reader.name}: a tail is answered with ${status}`);
}

/** Stops taking bytes for a while, then goes on reading, or gives up and comes back. */
async function stall(
  campaign: Campaign,
  reader: Reader,
  random: Random,
  wire: { pause(): void; resume(): void; cut(): void },
): Promise<void> {
  await Bun.sleep(random.int(400));
  wire.pause();
  campaign.stalls += 1;
  await Bun.sleep(reader.stall_ms ?? 0);
  if (random.chance(0.5)) wire.resume();
  else wire.cut();
}

async function follow(campaign: Campaign, reader: Reader, random: Random): Promise<void> {
  await Bun.sleep(random.int(800));
  while (!campaign.over && campaign.failures.length < 50) {
    const { last_seq } = reader.stream;
    if (last_seq !== null && reader.seen >= last_seq) {
      reader.done = true;
      return;
    }
    await connectOnce(campaign, reader, random);
    await Bun.sleep(random.int(120));
  }
}

// ---------------------------------------------------------------- writers

function text(random: Random, bytes: number): string {
  const word = random.int(2 ** 31).toString(36);
  return `${word}é `.repeat(Math.ceil(bytes / (word.length + 3))).slice(0, bytes);
}

function makeRequest(random: Random, heavy: boolean): string[] {
  const roll = random.int(100);
  if (heavy || roll < 5)
    return Array.from({ length: 80 + random.int(60) }, () =>
      JSON.stringify({ text: text(random, 3_000 + random.int(3_000)) }),
    );
  if (roll < 8) return [JSON.stringify(text(random, 270_000 + random.int(200_000)))];
  if (roll < 10) return [JSON.stringify(text(random, 140_000)), JSON.stringify(text(random, 20))];
  return Array.from({ length: 1 + random.int(5) }, () =>
    JSON.stringify({ text: text(random, random.int(3_000)), n: random.int(1_000) }),
  );
}

async function writeStream(
  campaign: Campaign,
  stream: Stream,
  random: Random,
  { requests, pause_ms }: Plan["light"],
  heavy: boolean,
): Promise<void> {
  for (let number = 0; number < requests && !campaign.over; number += 1) {
    // The first large one comes early, so that also a short run has a preview.
    const bodies = number === 5 ? [JSON.stringify(text(random, 300_000))] : makeRequest(random, heavy);
    const answer = await campaign.server.call(
      "POST",
      `/v1/sessions/${stream.session_id}/entries`,
      bodies.map((body) => `{"kind":"message","body":${body}}\n`).join(""),
      { "content-type": "application/x-ndjson" },
    );
    const told = await answer.text();
    if (answer.status === 503) number -= 1;
    else if (answer.status !== 201) campaign.fail(`an append: ${answer.status} ${told.slice(0, 200)}`);
    await Bun.sleep(random.int(pause_ms * 2));
  }
}

// ---------------------------------------------------------------- memory

function memoryMib(pid: number, name: "VmRSS" | "VmHWM"): number {
  const found = new RegExp(`${name}:\\s+(\\d+) kB`).exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return Number(found?.[1] ?? 0) / 1_024;
}

/** Forgets the highest memory so far (proc(5), clear_refs). */
function forgetPeak(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/clear_refs`, "5");
  } catch {
    // Where that is not allowed VmHWM is never lower than before: what grows is still seen.
  }
}

interface Memory {
  peak_mib: number;
  /** The most that was there for a whole second: garbage that is about to be collected is not held. */
  held_mib: number;
}

const SAMPLE_MS = 25;
const HELD_SAMPLES = 1_000 / SAMPLE_MS;

/** Memory of the server while something goes on. */
async function watchMemory(pid: number, doing: () => Promise<void>): Promise<Memory> {
  forgetPeak(pid);
  const samples: number[] = [];
  const sampling = setInterval(() => samples.push(memoryMib(pid, "VmRSS")), SAMPLE_MS);
  try {
    await doing();
  } finally {
    clearInterval(sampling);
  }
  const windows = samples
    .map((_, index) => Math.min(...samples.slice(index, index + HELD_SAMPLES)))
    .slice(0, Math.max(1, samples.length - HELD_SAMPLES));
  return { peak_mib: Math.max(memoryMib(pid, "VmHWM"), ...samples), held_mib: Math.max(...windows) };
}

// ---------------------------------------------------------------- the whole

async function checkStream(campaign: Campaign, stream: Stream): Promise<void> {
  const { lines, faults } = await fetchTranscript(campaign.server, stream.session_id);
  for (const fault of faults) campaign.fail(fault);
  if (stream.shown.size !== lines.length)
    campaign.fail(`${stream.shown.size} entries were shown, the transcript has ${lines.length}`);
  for (const line of lines) {
    const large = Buffer.byteLength(line.text) + 1 > limit("inline_item_bytes");
    if (!large && stream.shown.get(line.seq) !== Bun.hash.crc32(line.text))
      campaign.fail(`entry ${line.seq} was shown otherwise than it is stored`);
  }
}

/** Large entries are shown as previews; asked for once more, since only fingerprints were kept. */
async function checkPreviews(campaign: Campaign, stream: Stream): Promise<void> {
  const { lines } = await fetchTranscript(campaign.server, stream.session_id);
  const large = lines.find(({ text: line }) => Buffer.byteLength(line) + 1 > limit("inline_item_bytes"));
  if (large === undefined) return;
  const events: SseEvent[] = [];
  const sse = await openSse(campaign.port, {
    path: `/v1/sessions/${stream.session_id}/tail?after=${large.seq - 1}`,
    headers: { authorization: `Bearer ${campaign.server.token}` },
    onEvent(event) {
      events.push(event);
      sse.wire.cut();
    },
  });
  await Promise.race([sse.ended, Bun.sleep(10_000)]);
  const data = events[0]?.data ?? "{}";
  const item = JSON.parse(data) as { seq?: number; body?: unknown; body_bytes?: number; preview?: string };
  const preview_is_right =
    item.preview !== undefined && item.preview.length > 0 && large.body.startsWith(item.preview);
  if (
    item.seq !== large.seq ||
    item.body !== null ||
    item.body_bytes !== Buffer.byteLength(large.body) ||
    !preview_is_right
  )
    campaign.fail(`the preview of entry ${large.seq} is not right: ${data.slice(0, 200)}`);
  if (stream.shown.get(large.seq) !== Bun.hash.crc32(data))
    campaign.fail(`the preview of entry ${large.seq} is not what was shown`);
}

interface Streams {
  light: Stream[];
  heavy: Stream;
}

async function makeStreams(server: Server): Promise<Streams> {
  const makeStream = async (): Promise<Stream> => ({
    session_id: await makeSession(server),
    shown: new Map(),
    last_seq: null,
  });
  const light: Stream[] = [];
  for (let index = 0; index < LIGHT_SESSIONS; index += 1) light.push(await makeStream());
  return { light, heavy: await makeStream() };
}

/** All writers at once, two to each light session. `share` of what the plan says. */
async function writeAll(
  campaign: Campaign,
  { light, heavy }: Streams,
  plan: Plan,
  seed: number,
  share: number,
): Promise<void> {
  const light_plan = { ...plan.light, requests: Math.round((plan.light.requests / 2) * share) };
  const heavy_plan = { ...plan.heavy, requests: Math.round(plan.heavy.requests * share) };
  await Promise.all([
    ...light.flatMap((stream, index) =>
      [0, 1].map((writer) =>
        writeStream(campaign, stream, createRandom(seed * 100 + index * 2 + writer), light_plan, false),
      ),
    ),
    writeStream(campaign, heavy, createRandom(seed * 100 + 50), heavy_plan, true),
  ]);
}

/** One reader to a session, none of whom stalls. */
function makeFewReaders({ light, heavy }: Streams): Reader[] {
  return [...light, heavy].map((stream, index) => ({
    name: `first reader ${index}`,
    stream,
    seen: 0,
    last_id: null,
    stall_ms: null,
    done: false,
  }));
}

function makeReaders(count: number, { light, heavy }: Streams, plan: Plan): Reader[] {
  const stalled = Math.round((count * STALLED) / READERS);
  return Array.from({ length: count }, (_, index): Reader => {
    const stalls = index < stalled;
    const stall_ms = stalls ? plan.stall_ms[index % plan.stall_ms.length]! : null;
    return {
      name: `reader ${index}`,
      stream: stalls ? heavy : light[index % light.length]!,
      seen: 0,
      last_id: null,
      stall_ms,
      done: false,
    };
  });
}

/** Readers and writers together, until everyone has seen everything or the time is up. */
async function followAll(
  campaign: Campaign,
  streams: Streams,
  readers: readonly Reader[],
  plan: Plan,
  seed: number,
  share: number,
): Promise<void> {
  const deadline = setTimeout(() => {
    campaign.over = true;
  }, plan.deadline_ms);
  const following = readers.map((reader, index) =>
    follow(campaign, reader, createRandom(seed * 10_000 + index)),
  );
  await writeAll(campaign, streams, plan, seed, share);
  for (const stream of [...streams.light, streams.heavy])
    stream.last_seq = (
      await json<{ last_seq: number }>(campaign.server.call("GET", `/v1/sessions/${stream.session_id}`))
    ).last_seq;
  await Promise.all(following);
  clearTimeout(deadline);
}

async function tail(
  { seed, size, log }: CampaignOptions,
  readers_count: number,
  off_by: number,
): Promise<CampaignResult> {
  const began = performance.now();
  const plan = PLANS[size];
  const data_dir = mkdtempSync(join(tmpdir(), "synthetic-tail-"));
  let server: Server | null = null;
  try {
    server = await startServer({ data_dir, env: ENV });
    const { pid } = server;
    const campaign = new Campaign(server, off_by);
    // The writers with a reader each: caches are warm then, and what is left is what the other readers cost.
    const first = await makeStreams(server);
    const few = await watchMemory(pid, () =>
      followAll(campaign, first, makeFewReaders(first), plan, seed + 1, plan.few_share),
    );
    const streams = await makeStreams(server);
    const readers = makeReaders(readers_count, streams, plan);
    const followed = await watchMemory(pid, () => followAll(campaign, streams, readers, plan, seed, 1));
    const grown_mib = followed.held_mib - few.held_mib;

    for (const { name, done, seen, stream } of readers)
      if (!done && campaign.failures.length < 50)
        campaign.fail(`${name} saw ${seen} of ${stream.last_seq} entries when the time was up`);
    if (campaign.generations.size !== 1) campaign.fail(`ids of ${campaign.generations.size} generations`);
    const all = [...streams.light, streams.heavy];
    if (campaign.failures.length === 0) {
      for (const stream of all) await checkStream(campaign, stream);
      for (const stream of all) await checkPreviews(campaign, stream);
    }
    if (grown_mib >= MEMORY_BOUND_MIB)
      campaign.fail(
        `the other readers took ${grown_mib.toFixed(1)} MiB of the server's memory (${few.held_mib.toFixed(1)} with one to a session, ${followed.held_mib.toFixed(1)} with all)`,
      );
    log(
      `tail: ${readers_count} readers, ${campaign.connections} connections, ${campaign.events} events, memory ${few.held_mib.toFixed(0)} → ${followed.held_mib.toFixed(0)} MiB`,
    );
    return {
      cases: campaign.events,
      failures: campaign.failures,
      notes: {
        seed,
        readers: readers_count,
        connections: campaign.connections,
        resumes: campaign.resumes,
        stalled: campaign.stalls,
        closed_for_slowness: campaign.closed_for_slowness,
        previews: campaign.previews,
        entries: all.reduce((sum, { last_seq }) => sum + (last_seq ?? 0), 0),
        memory_few_readers_mib: Number(few.held_mib.toFixed(1)),
        memory_mib: Number(followed.held_mib.toFixed(1)),
        memory_peak_few_readers_mib: Number(few.peak_mib.toFixed(1)),
        memory_peak_mib: Number(followed.peak_mib.toFixed(1)),
        memory_growth_mib: Number(grown_mib.toFixed(1)),
        seconds: Number(((performance.now() - began) / 1_000).toFixed(1)),
      },
    };
  } finally {
    await server?.stop("SIGKILL");
    rmSync(data_dir, { recursive: true, force: true });
  }
}

/** 200 readers in both sizes; the full one writes for a minute and has readers that stall beyond the server's patience. */
export function run(options: CampaignOptions): Promise<CampaignResult> {
  return tail(options, READERS, 0);
}

/** Readers that resume one entry too early: a check that does not notice is blind. */
export function control(options: CampaignOptions): Promise<CampaignResult> {
  return tail({ ...options, size: "short" }, 20, -1);
}
