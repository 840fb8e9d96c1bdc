/**
 * Retries: requests whose answers are lost, cut, delayed or doubled on the way, by single writers that say `after`
 * and by pairs of writers that name entries by `key`. Everything has to be there exactly once, every promised head
 * has to be the head, and a conflict has to say where the session stands.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CampaignOptions, type CampaignResult, createRandom, type Random } from "../support/campaign.ts";
import { FAULT_HEADER, type Fault, type Faulty, type Proxy, startProxy } from "../support/proxy.ts";
import { makeSession, type Server, startServer } from "../support/server.ts";
import { fetchTranscript, type Transcript } from "../support/transcript.ts";
import { type Answer, exchange, requestBytes } from "../support/wire.ts";

/** How writers make their requests repeatable; `nothing` is the control. */
type Naming = "after" | "key" | "nothing";

interface Intended {
  kind: string;
  actor?: string;
  at_ms?: number;
  key?: string;
  /** Text of the value. */
  body: string;
}

interface Accepted {
  first_seq: number;
  last_seq: number;
  head: string;
  received_at_ms: number;
  replayed: boolean;
  items?: { seq: number; replayed: boolean }[];
}

interface Conflict {
  code: string;
  last_seq?: number;
  head?: string;
}

const KINDS = ["message", "reasoning", "tool_call", "tool_result", "command", "note"] as const;
const ACTORS = ["user", "agent", "system", "tool"] as const;
/** Values whose spelling a careless server would change. */
const SPELLINGS = [
  "1.0",
  "1e2",
  "-0",
  "12345678901234567890",
  '"\\u00e9\\/"',
  '"é\u{1F600}"',
  "[ 1 , 2 ]",
  '{ "b" : 1, "a" : null }',
  "true",
  '""',
] as const;

const MAX_ATTEMPTS = 40;
/** After this many attempts nothing is put in the way any more. */
const FAULTY_ATTEMPTS = 6;

/** What a campaign shares: where to send, what was found, how much was done. */
class Campaign {
  readonly failures: string[] = [];
  requests = 0;
  attempts = 0;
  conflicts = 0;
  replays = 0;
  busy = 0;
  bytes = 0;
  server: Server;
  readonly proxy: Proxy;

  constructor(server: Server, proxy: Proxy) {
    this.server = server;
    this.proxy = proxy;
  }

  fail(what: string): void {
    if (this.failures.length < 100) this.failures.push(what);
  }
}

function makeBody(random: Random, name: string, bytes: number): string {
  const filling = bytes < 400 ? "x".repeat(bytes) : fill(random, bytes);
  return `{"name":"${name}","odd":${random.pick(SPELLINGS)}, "text":"${filling}"}`;
}

/** Text that compresses about as well as a log does. */
function fill(random: Random, bytes: number): string {
  const words = Array.from({ length: 40 }, () => random.int(1 << 30).toString(36));
  const parts: string[] = [];
  for (let length = 0; length < bytes;) {
    const word = `${random.pick(words)} ${random.int(1_000)} `;
    parts.push(word);
    length += word.length;
  }
  return parts.join("").slice(0, bytes);
}

function makeEntry(random: Random, name: string, bytes: number): Intended {
  return {
    kind: random.pick(KINDS),
    ...(random.chance(0.6) && { actor: random.pick(ACTORS) }),
    ...(random.chance(0.6) && { at_ms: 1_700_000_000_000 + random.int(1_000_000) }),
    body: makeBody(random, name, bytes),
  };
}

/** The entries of one request: mostly small, sometimes one that is larger than a frame, sometimes bulk. */
function makeEntries(random: Random, name: string): Intended[] {
  if (random.chance(0.015))
    return Array.from({ length: 60 + random.int(60) }, (_, index) =>
      makeEntry(random, `${name}.${index}`, 3_000 + random.int(4_000)),
    );
  const count = random.chance(0.5) ? 1 : 1 + random.int(6);
  const large = random.chance(0.015) ? random.int(count) : -1;
  return Array.from({ length: count }, (_, index) =>
    makeEntry(
      random,
      `${name}.${index}`,
      index === large ? 132_000 + random.int(200_000) : random.int(2_000),
    ),
  );
}

function entryText({ body, ...members }: Intended): string {
  const text = JSON.stringify(members);
  return `${text.slice(0, -1)},"body":${body}}`;
}

function makeFault(random: Random): Fault {
  const roll = random.int(100);
  if (roll < 45) return { fault: "none" };
  if (roll < 53) return { fault: "cut_request", fraction: random.next() };
  if (roll < 68) return { fault: "drop_answer" };
  if (roll < 80) return { fault: "cut_answer", fraction: random.next() };
  if (roll < 88) return { fault: "abandon" };
  return { fault: "twice", together: random.chance(0.6) };
}

interface Sent {
  name: string;
  answer: Answer;
  /** Whether an earlier attempt, or a doubled one, may have been the first. */
  attempts: number;
}

/** Sends the same request until it is answered. Null when that never happens. */
async function sendUntilAnswered(
  campaign: Campaign,
  random: Random,
  name: string,
  session_id: string,
  query: string,
  entries: readonly Intended[],
): Promise<Sent | null> {
  const ndjson = random.chance(0.5);
  const texts = entries.map(entryText);
  const body = Buffer.from(
    ndjson
      ? `${texts.join("\n")}${random.chance(0.5) ? "\n" : ""}`
      : `{"entries":[${texts.join(random.chance(0.2) ? " ,\n" : ",")}]}`,
  );
  campaign.requests += 1;
  campaign.bytes += body.byteLength;
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt += 1) {
    const faulty: Faulty = {
      fault: attempt > FAULTY_ATTEMPTS ? { fault: "none" } : makeFault(random),
      delay_ms: [random.chance(0.05) ? random.int(15) : 0, random.chance(0.05) ? random.int(15) : 0],
      name,
    };
    const request = requestBytes(
      "POST",
      `/v1/sessions/${session_id}/entries${query}`,
      {
        authorization: `Bearer ${campaign.server.token}`,
        "content-type": ndjson ? "application/x-ndjson" : "application/json",
        [FAULT_HEADER]: JSON.stringify(faulty),
      },
      body,
    );
    campaign.attempts += 1;
    const answer = await exchange(campaign.proxy.port, request);
    if (answer === null || !answer.whole) continue;
    if (answer.status !== 503) return { name, answer, attempts: attempt };
    campaign.busy += 1;
    await Bun.sleep(50);
  }
  campaign.fail(`${name}: no answer after ${MAX_ATTEMPTS} attempts`);
  return null;
}

function isSame(intended: Intended, line: Transcript["lines"][number]): boolean {
  return (
    intended.body === line.body &&
    intended.kind === line.kind &&
    intended.key === line.key &&
    line.actor === (intended.actor ?? "agent") &&
    (intended.at_ms === undefined || intended.at_ms === line.at_ms)
  );
}

/** Every answer of the server to one name: at most one may say that it was new, and all must say the same place. */
function checkAnswers(campaign: Campaign, name: string): void {
  const answers = campaign.proxy.answers.get(name) ?? [];
  const accepted = answers
    .filter(({ status }) => status === 200 || status === 201)
    .map(({ status, text }) => ({ status, ...(JSON.parse(text) as Accepted) }));
  if (accepted.filter(({ replayed }) => !replayed).length > 1)
    campaign.fail(`${name}: accepted as new more than once`);
  if (accepted.some(({ status, replayed }) => (status === 200) !== replayed))
    campaign.fail(`${name}: 200 and \`replayed\` disagree`);
  const places = new Set(accepted.map(({ first_seq, last_seq, head }) => `${first_seq}-${last_seq} ${head}`));
  if (places.size > 1) campaign.fail(`${name}: its answers differ: ${[...places].join(", ")}`);
  for (const { status, text } of answers)
    if (status >= 500 && status !== 503) campaign.fail(`${name}: ${status} ${text.slice(0, 300)}`);
}

function requireConflict(campaign: Campaign, name: string, answer: Answer): Conflict | null {
  campaign.conflicts += 1;
  const body = JSON.parse(answer.text) as Conflict;
  if (
    answer.status === 409 &&
    body.code === "conflict" &&
    answer.headers.get("content-type") === "application/problem+json"
  )
    return body;
  campaign.fail(`${name}: a conflict was answered with ${answer.status} ${answer.text.slice(0, 200)}`);
  return null;
}

/** A promise of the server: at this seq the head is this. */
interface Promised {
  name: string;
  seq: number;
  head: string;
}

function checkPromises(campaign: Campaign, promises: readonly Promised[], { heads }: Transcript): void {
  for (const { name, seq, head } of promises)
    if (heads[seq] !== head)
      campaign.fail(`${name}: the promised head at ${seq} is not the head of the transcript`);
}

interface Written {
  session_id: string;
  intended: Intended[];
  promises: Promised[];
}

/** One writer of its own session: what it repeats, it repeats until it is answered. */
async function writeAlone(
  campaign: Campaign,
  random: Random,
  label: string,
  naming: Naming,
  requests: number,
): Promise<Written> {
  const session_id = await makeSession(campaign.server);
  const written: Written = { session_id, intended: [], promises: [] };
  const done: { name: string; after: number; entries: Intended[]; accepted: Accepted }[] = [];
  for (let number = 0; number < requests; number += 1) {
    const name = `${label}.${number}`;
    const after = written.intended.length;
    const earlier = done.length === 0 ? undefined : random.pick(done);
    if (naming === "after" && earlier !== undefined && random.chance(0.05)) {
      await repeatOld(campaign, random, name, session_id, earlier);
      continue;
    }
    if (
      naming === "after" &&
      random.chance(0.05) &&
      (await provoke(campaign, random, name, session_id, written))
    )
      continue;
    const entries = makeEntries(random, name);
    const sent = await sendUntilAnswered(
      campaign,
      random,
      name,
      session_id,
      naming === "after" ? `?after=${after}` : "",
      entries,
    );
    if (sent === null) return written;
    if (sent.answer.status !== 201 && sent.answer.status !== 200) {
      campaign.fail(`${name}: ${sent.answer.status} ${sent.answer.text.slice(0, 300)}`);
      return written;
    }
    const accepted = JSON.parse(sent.answer.text) as Accepted;
    if (
      naming === "after" &&
      (accepted.first_seq !== after + 1 || accepted.last_seq !== after + entries.length)
    )
      campaign.fail(`${name}: ${accepted.first_seq}-${accepted.last_seq} instead of behind ${after}`);
    if (accepted.replayed) campaign.replays += 1;
    written.intended.push(...entries);
    written.promises.push({ name, seq: accepted.last_seq, head: accepted.head });
    done.push({ name, after, entries, accepted });
  }
  return written;
}

/** A request of long ago, once more: the same answer, and nothing new. */
async function repeatOld(
  campaign: Campaign,
  random: Random,
  name: string,
  session_id: string,
  earlier: { name: string; after: number; entries: Intended[]; accepted: Accepted },
): Promise<void> {
  const sent = await sendUntilAnswered(
    campaign,
    random,
    name,
    session_id,
    `?after=${earlier.after}`,
    earlier.entries,
  );
  if (sent === null) return;
  const again = JSON.parse(sent.answer.text) as Accepted;
  const { first_seq, last_seq, head } = earlier.accepted;
  campaign.replays += 1;
  if (
    sent.answer.status === 200 &&
    again.replayed &&
    again.first_seq === first_seq &&
    again.last_seq === last_seq &&
    again.head === head
  )
    return;
  campaign.fail(
    `${name}: repeating ${earlier.name} gave ${sent.answer.status} ${sent.answer.text.slice(0, 200)}`,
  );
}

/** Something else at a place that is taken, beyond the end, or half repeated: 409 that says where the session stands. False when there is no such place. */
async function provoke(
  campaign: Campaign,
  random: Random,
  name: string,
  session_id: string,
  written: Written,
): Promise<boolean> {
  const last_seq = written.intended.length;
  const other = makeEntry(random, `${name}.other`, 50);
  const kept = random.int(Math.max(1, Math.min(3, last_seq)));
  const [after, entries] = random.chance(0.2)
    ? [last_seq + 1 + random.int(5), [other]]
    : random.chance(0.5)
      ? [
          Math.max(0, last_seq - 1 - kept),
          [...written.intended.slice(Math.max(0, last_seq - 1 - kept), last_seq - 1), other],
        ]
      : [last_seq - kept, [...written.intended.slice(last_seq - kept), other]];
  if (after === last_seq) return false;
  const sent = await sendUntilAnswered(campaign, random, name, session_id, `?after=${after}`, entries);
  if (sent === null) return true;
  const conflict = requireConflict(campaign, name, sent.answer);
  if (conflict === null) return true;
  const head = written.promises.at(-1)?.head ?? "0".repeat(64);
  if (conflict.last_seq !== last_seq || conflict.head !== head)
    campaign.fail(
      `${name}: the conflict says ${conflict.last_seq} ${conflict.head}, the session ends at ${last_seq} ${head}`,
    );
  return true;
}

interface Shared {
  session_id: string;
  /** What both writers want to be there. */
  pool: Intended[];
  /** Where each key was said to be. */
  places: Map<string, number>;
  promises: Promised[];
  names: { name: string; keys: string[] }[];
  /** Keys that came only in refused requests. */
  refused: string[];
}

function makePool(random: Random, label: string, count: number): Intended[] {
  return Array.from({ length: count }, (_, index) => {
    const key = random.chance(0.2) ? `${label} "${index}" \\ é 😀` : `${label}-${index}`;
    const bytes = random.chance(0.01) ? 132_000 + random.int(100_000) : random.int(2_500);
    return { ...makeEntry(random, key.replaceAll(/[^a-z0-9.-]/g, "_"), bytes), key };
  });
}

/** Notes where an answer says that each key is; two answers must not differ. */
function notePlaces(
  campaign: Campaign,
  shared: Shared,
  name: string,
  keys: readonly string[],
  accepted: Accepted,
): void {
  if (accepted.items?.length !== keys.length)
    return campaign.fail(`${name}: ${accepted.items?.length} items for ${keys.length} entries`);
  for (const [index, key] of keys.entries()) {
    const seq = accepted.items[index]?.seq ?? 0;
    const before = shared.places.get(key);
    if (before !== undefined && before !== seq)
      campaign.fail(`${name}: key ${key} is at ${seq} and at ${before}`);
    shared.places.set(key, seq);
  }
  shared.promises.push({ name, seq: accepted.last_seq, head: accepted.head });
}

/** One of several writers that go through the same pool, each in its own steps and with its own repetitions. */
async function writeShared(
  campaign: Campaign,
  random: Random,
  label: string,
  naming: Naming,
  shared: Shared,
  requests: number,
): Promise<void> {
  const step = Math.ceil(shared.pool.length / requests) + 1;
  let at = 0;
  for (let number = 0; at < shared.pool.length || number < requests; number += 1) {
    const name = `${label}.${number}`;
    if (naming === "key" && random.chance(0.06) && (await provokeKey(campaign, random, name, shared)))
      continue;
    const bulk = random.chance(0.01);
    const batch = shared.pool.slice(at, at + (bulk ? 150 : 1 + random.int(2 * step)));
    at += batch.length;
    // Some that were sent before, some twice in one request.
    if (batch.length === 0 || random.chance(0.2))
      batch.push(random.pick(shared.pool.slice(0, Math.max(1, at))));
    if (random.chance(0.05)) batch.push(random.pick(batch));
    const plain = naming === "nothing" ? batch.map(({ key: _key, ...entry }) => entry) : batch;
    const sent = await sendUntilAnswered(campaign, random, name, shared.session_id, "", plain);
    if (sent === null) return;
    if (sent.answer.status !== 201 && sent.answer.status !== 200)
      return campaign.fail(`${name}: ${sent.answer.status} ${sent.answer.text.slice(0, 300)}`);
    const accepted = JSON.parse(sent.answer.text) as Accepted;
    if (accepted.replayed) campaign.replays += 1;
    if (naming === "nothing") continue;
    const keys = batch.map(({ key }) => key ?? "");
    shared.names.push({ name, keys });
    notePlaces(campaign, shared, name, keys, accepted);
  }
}

/** A key that is taken, with another content, among new ones: 409, and none of the new ones is stored. */
async function provokeKey(
  campaign: Campaign,
  random: Random,
  name: string,
  shared: Shared,
): Promise<boolean> {
  const taken = [...shared.places.keys()];
  if (taken.length === 0) return false;
  const key = random.pick(taken);
  const fresh = { ...makeEntry(random, `${name}.fresh`, 20), key: `${name}.fresh` };
  const other = { ...makeEntry(random, `${name}.other`, 20), key };
  shared.refused.push(fresh.key);
  const sent = await sendUntilAnswered(
    campaign,
    random,
    name,
    shared.session_id,
    "",
    random.chance(0.5) ? [fresh, other] : [other, fresh],
  );
  const conflict = sent === null ? null : requireConflict(campaign, name, sent.answer);
  if (conflict === null) return true;
  if (conflict.last_seq === undefined || conflict.head === undefined)
    campaign.fail(`${name}: the conflict does not say where the session stands`);
  else shared.promises.push({ name, seq: conflict.last_seq, head: conflict.head });
  if ((conflict.last_seq ?? 0) < (shared.places.get(key) ?? 0))
    campaign.fail(`${name}: the conflict says ${conflict.last_seq}, before the key's own place`);
  return true;
}

/** The transcript is exactly the list that the writer meant. */
async function checkAlone(
  campaign: Campaign,
  label: string,
  { session_id, intended, promises }: Written,
): Promise<void> {
  const transcript = await fetchTranscript(campaign.server, session_id);
  for (const fault of transcript.faults) campaign.fail(`${label}: ${fault}`);
  if (transcript.lines.length !== intended.length)
    campaign.fail(`${label}: ${transcript.lines.length} entries instead of ${intended.length}`);
  const differing = intended.findIndex(
    (entry, index) => transcript.lines[index] === undefined || !isSame(entry, transcript.lines[index]),
  );
  if (differing !== -1)
    campaign.fail(
      `${label}: entry ${differing + 1} is not the one that was meant: ${transcript.lines[differing]?.text.slice(0, 150)}`,
    );
  checkPromises(campaign, promises, transcript);
}

/** The transcript holds each key of the pool once, where the answers said, and nothing else. */
async function checkShared(
  campaign: Campaign,
  label: string,
  naming: Naming,
  { session_id, pool, places, promises, refused }: Shared,
): Promise<void> {
  const transcript = await fetchTranscript(campaign.server, session_id);
  for (const fault of transcript.faults) campaign.fail(`${label}: ${fault}`);
  if (transcript.lines.length !== pool.length)
    campaign.fail(`${label}: ${transcript.lines.length} entries instead of ${pool.length}`);
  if (naming === "nothing") return;
  const by_key = Map.groupBy(transcript.lines, ({ key }) => key ?? "");
  for (const entry of pool) {
    const found = by_key.get(entry.key ?? "") ?? [];
    const [line] = found;
    if (line === undefined || found.length !== 1)
      campaign.fail(`${label}: key ${entry.key} is there ${found.length} times`);
    else if (!isSame(entry, line))
      campaign.fail(`${label}: key ${entry.key} has another content: ${line.text.slice(0, 150)}`);
    else if (places.get(entry.key ?? "") !== line.seq)
      campaign.fail(`${label}: key ${entry.key} is at ${line.seq}, not at ${places.get(entry.key ?? "")}`);
  }
  for (const key of refused)
    if (by_key.has(key)) campaign.fail(`${label}: key ${key} of a refused request is stored`);
  checkPromises(campaign, promises, transcript);
}

/** Answers of keyed requests that nobody saw say the same as those that were seen; a key is new at most once. */
function checkSharedAnswers(campaign: Campaign, label: string, shared: Shared): void {
  const fresh = new Map<string, number>();
  for (const { name, keys } of shared.names) {
    for (const { status, text } of campaign.proxy.answers.get(name) ?? []) {
      if (status !== 200 && status !== 201) continue;
      const accepted = JSON.parse(text) as Accepted;
      notePlaces(campaign, shared, name, keys, accepted);
      for (const [index, key] of keys.entries())
        if (accepted.items?.[index]?.replayed === false) fresh.set(key, (fresh.get(key) ?? 0) + 1);
    }
  }
  for (const [key, count] of fresh)
    if (count > 1) campaign.fail(`${label}: key ${key} was new ${count} times`);
}

interface Plan {
  alone: number;
  pairs: number;
  /** Of each writer. */
  requests: number;
  naming: { alone: Naming; shared: Naming };
}

async function campaignOf({ seed, log }: CampaignOptions, plan: Plan): Promise<CampaignResult> {
  const began = performance.now();
  const data_dir = mkdtempSync(join(tmpdir(), "synthetic-retry-"));
  let server: Server | null = null;
  let proxy: Proxy | null = null;
  try {
    server = await startServer({ data_dir });
    proxy = startProxy(Number(new URL(server.url).port));
    const campaign = new Campaign(server, proxy);
    const alone = Array.from({ length: plan.alone }, (_, index) =>
      writeAlone(
        campaign,
        createRandom(seed * 1_000 + index),
        `alone${index}`,
        plan.naming.alone,
        plan.requests,
      ),
    );
    const pairs: { shared: Shared; done: Promise<void> }[] = [];
    for (let index = 0; index < plan.pairs; index += 1) {
      const random = createRandom(seed * 1_000 + 500 + index);
      const shared: Shared = {
        session_id: await makeSession(server),
        pool: makePool(random, `pair${index}`, plan.requests * 2),
        places: new Map(),
        promises: [],
        names: [],
        refused: [],
      };
      const writers = [0, 1].map((writer) =>
        writeShared(
          campaign,
          createRandom(seed * 1_000 + 600 + index * 2 + writer),
          `pair${index}${"ab"[writer]}`,
          plan.naming.shared,
          shared,
          plan.requests,
        ),
      );
      pairs.push({ shared, done: Promise.all(writers).then(() => undefined) });
    }
    const written = await Promise.all(alone);
    await Promise.all(pairs.map(({ done }) => done));
    await proxy.quiet();
    log(
      `retry: ${campaign.requests} requests in ${campaign.attempts} attempts, ${(campaign.bytes / 2 ** 20).toFixed(1)} MiB`,
    );

    if (plan.naming.alone === "after")
      for (const name of proxy.answers.keys()) if (name.startsWith("alone")) checkAnswers(campaign, name);
    if (plan.naming.shared === "key")
      for (const [index, { shared }] of pairs.entries()) checkSharedAnswers(campaign, `pair${index}`, shared);
    const checkAll = async (when: string): Promise<void> => {
      for (const [index, one] of written.entries()) await checkAlone(campaign, `alone${index} ${when}`, one);
      for (const [index, { shared }] of pairs.entries())
        await checkShared(campaign, `pair${index} ${when}`, plan.naming.shared, shared);
    };
    await checkAll("before a restart");
    await server.stop("SIGKILL");
    server = await startServer({ data_dir });
    campaign.server = server;
    await checkAll("after a kill and a restart");
    return {
      cases: campaign.requests,
      failures: campaign.failures,
      notes: {
        seed,
        attempts: campaign.attempts,
        dropped_answers: proxy.counts.drop_answer,
        cut_answers: proxy.counts.cut_answer,
        cut_requests: proxy.counts.cut_request,
        abandoned: proxy.counts.abandon,
        doubled: proxy.counts.twice,
        replays_seen: campaign.replays,
        conflicts: campaign.conflicts,
        busy: campaign.busy,
        mebibytes: Number((campaign.bytes / 2 ** 20).toFixed(1)),
        entries:
          written.reduce((sum, { intended }) => sum + intended.length, 0) +
          pairs.reduce((sum, { shared }) => sum + shared.pool.length, 0),
        seconds: Number(((performance.now() - began) / 1_000).toFixed(1)),
      },
    };
  } finally {
    proxy?.stop();
    await server?.stop("SIGKILL");
    rmSync(data_dir, { recursive: true, force: true });
  }
}

/** 5,000 requests in full size, 400 in short. */
export function run(options: CampaignOptions): Promise<CampaignResult> {
  return campaignOf(options, {
    alone: 4,
    pairs: 3,
    requests: options.size === "full" ? 500 : 40,
    naming: { alone: "after", shared: "key" },
  });
}

/** The same faults without `after` and `key`: failures are expected, or the campaign is blind. */
export function control(options: CampaignOptions): Promise<CampaignResult> {
  return campaignOf(options, {
    alone: 1,
    pairs: 1,
    requests: 40,
    naming: { alone: "nothing", shared: "nothing" },
  });
}
