/**
 * A mixed load on a running server, and the exact record of what it acknowledged, for campaigns that end the server in
 * the middle of it. Afterwards nothing acknowledged may be lost, doubled, reordered or changed, and what was under way
 * is there as a whole or not at all; then every writer repeats what it has no answer for. Heads are computed here, by
 * the documented rule, from what was sent. It knows HTTP and nothing of the store.
 */
import { createHash } from "node:crypto";
import { createRandom, type Random } from "./campaign.ts";
import type { Server } from "./server.ts";
import { tool } from "./tools.ts";
import { readTranscript, type Transcript, transcriptFaults } from "./transcript.ts";

/** Words before a command that let it end with its parent: an interrupted campaign leaves no server behind. */
export const WITH_PARENT: readonly string[] = ((setpriv) =>
  setpriv === null ? [] : [setpriv, "--pdeathsig", "KILL", "--"])(tool("setpriv"));

/** An entry as it is sent; `body` is the text of the value. */
export interface Sent {
  at_ms: number;
  key?: string;
  body: string;
}

/** The head before the first entry. */
export const NO_HEAD = "0".repeat(64);

/** From `"kind"` or behind it: the members in the order of the wire line. */
function endOfLine({ at_ms, key, body }: Sent): string {
  return `"at_ms":${at_ms}${key === undefined ? "" : `,"key":${JSON.stringify(key)}`},"body":${body}}`;
}

/** The running head behind one more entry, from what was sent alone (transcripts.md). */
export function headBehind(head: string, seq: number, sent: Sent): string {
  const text = `"seq":${seq},"kind":"message","actor":"agent",${endOfLine(sent)}`;
  return createHash("sha256").update(Buffer.from(head, "hex")).update(text).digest("hex");
}

/** An append as NDJSON, or as JSON with all entries in a list. */
export function appendBody(sent: readonly Sent[], ndjson: boolean): { body: string; type: string } {
  const lines = sent.map((one) => `{"kind":"message",${endOfLine(one)}`);
  return ndjson
    ? { body: lines.join("\n"), type: "application/x-ndjson" }
    : { body: `{"entries":[${lines.join(",")}]}`, type: "application/json" };
}

// ---------------------------------------------------------------- what is sent

const WORDS = [
  "fix",
  "the login",
  "äöü",
  "修复",
  "🙂",
  "src/main.ts",
  "\n",
  "npm test",
  '{"a":1}',
  "\t",
  "\\",
];
/** Texts are pieces of this one: it compresses about as agents' words do, and costs nothing to make. */
const TEXT_CHARACTERS = 2 << 20;
let text_pool = "";

function textOf(random: Random, characters: number): string {
  if (text_pool === "") {
    const words = createRandom(1);
    const parts: string[] = [];
    for (let length = 0; length < TEXT_CHARACTERS; length += parts.at(-1)?.length ?? 0)
      parts.push(words.chance(0.4) ? `${words.int(2 ** 31).toString(36)} ` : `${words.pick(WORDS)} `);
    text_pool = parts.join("");
  }
  // A character may be cut in two: then its half is sent as an escape, which is a valid body, too.
  const from = random.int(text_pool.length - characters);
  return text_pool.slice(from, from + characters);
}

/** Most entries are small, a few are too large for a row (transcripts.md). */
function newSent(random: Random, number: number, large_share: number, key?: string): Sent {
  const characters = random.chance(large_share) ? 200_000 + random.int(800_000) : 20 + random.int(4_000);
  return {
    at_ms: 1_700_000_000_000 + number,
    ...(key !== undefined && { key }),
    body: JSON.stringify({ number, text: textOf(random, characters) }),
  };
}

// ---------------------------------------------------------------- the record

/** A request of a writer that says where its session ends. */
interface OwnRequest {
  after: number;
  sent: Sent[];
  ndjson: boolean;
  /** The head behind each of its entries. */
  heads: string[];
}

/** A session with one writer. Equal heads mean equal entries, so the heads are the whole record. */
interface OwnSession {
  id: string;
  /** By seq, from what was sent and is known to be stored. */
  heads: string[];
  /** What has no answer yet; it is stored when `heads` goes beyond its `after`. */
  pending: OwnRequest | null;
}

/** A session with two writers, who name their entries by keys. */
interface SharedSession {
  id: string;
  places: Map<string, { seq: number; digest: string }>;
  /** Some of what was acknowledged, to be sent again. */
  recent: Sent[];
  /** Of each writer, what has no answer yet. */
  pending: (Sent[] | null)[];
  promises: { seq: number; head: string }[];
}

/** A number that is written into a title, and the next one that may be there already. */
interface Counter {
  path: string;
  acknowledged: number;
}

interface Accepted {
  first_seq: number;
  last_seq: number;
  head: string;
  replayed: boolean;
  items?: { seq: number; replayed: boolean }[];
}

export interface WorkloadStats {
  requests: number;
  entries: number;
  bytes: number;
  /** Requests without an answer that were found to be stored, and not. */
  found: number;
  not_found: number;
}

export interface Workload {
  /** Writes until the server ends or `stop` is called. What is answered wrongly is told by `verify`. */
  run(server: Server, random: Random): Promise<void>;
  stop(): void;
  /** From now on answers of 5xx are to be expected: nothing is known of such a request. */
  expectTrouble(): void;
  /** What is lost, doubled, reordered or changed. When nothing is, the record is what the server has. */
  verify(server: Server): Promise<string[]>;
  readonly stats: WorkloadStats;
  /** Ids of the sessions with one writer. */
  readonly session_ids: readonly string[];
}

function digestOf(body: string): string {
  return createHash("sha256").update(body).digest("base64");
}

function isStored({ heads, pending }: OwnSession): boolean {
  return pending !== null && heads.length - 1 > pending.after;
}

function ownFaults(session: OwnSession, { heads }: Transcript): string[] {
  const { pending } = session;
  const known = session.heads;
  const possible = pending === null || isStored(session) ? known : [...known, ...pending.heads];
  if (heads.length !== known.length && heads.length !== possible.length)
    return [
      `${heads.length - 1} entries; ${known.length - 1} were acknowledged, ${possible.length - 1} were sent`,
    ];
  const differing = heads.findIndex((head, seq) => head !== possible[seq]);
  return differing === -1 ? [] : [`entry ${differing} is not what was sent there`];
}

/** A request without an answer is there with all of its new keys, in its order and in one piece, or with none. */
function wholeFaults(
  sent: readonly Sent[],
  places: SharedSession["places"],
  seqs: Map<string, number>,
): string[] {
  const fresh = sent.filter(({ key = "" }) => !places.has(key)).map(({ key = "" }) => seqs.get(key));
  const first = fresh[0];
  const is_whole = fresh.every((seq, index) => seq === (first === undefined ? undefined : first + index));
  return is_whole ? [] : [`a request of ${fresh.length} keys is stored in part: ${fresh.join(", ")}`];
}

function sharedFaults({ places, pending, promises }: SharedSession, { lines, heads }: Transcript): string[] {
  const faults: string[] = [];
  const seqs = new Map(lines.map(({ key = "", seq }) => [key, seq]));
  if (seqs.size !== lines.length) faults.push(`${lines.length - seqs.size} keys are there twice`);
  const sent = new Map(pending.flatMap((request) => request ?? []).map(({ key = "", body }) => [key, body]));
  for (const { key = "", seq, body } of lines) {
    const place = places.get(key);
    if (place === undefined ? sent.get(key) !== body : place.digest !== digestOf(body))
      faults.push(`key ${key} has another body than was sent`);
    if (place !== undefined && place.seq !== seq) faults.push(`key ${key} is at ${seq}, not at ${place.seq}`);
  }
  for (const [key, { seq }] of places) if (!seqs.has(key)) faults.push(`key ${key} at ${seq} is lost`);
  for (const request of pending) faults.push(...wholeFaults(request ?? [], places, seqs));
  for (const { seq, head } of promises)
    if (heads[seq] !== head) faults.push(`the head at ${seq} is not the acknowledged one`);
  return faults;
}

// ---------------------------------------------------------------- the load

/** Null when the connection ended before the answer did: whether it was carried out is not known. */
async function ask(
  server: Server,
  ...call: Parameters<Server["call"]>
): Promise<{ status: number; text: string } | null> {
  try {
    const answer = await server.call(...call);
    return { status: answer.status, text: await answer.text() };
  } catch {
    return null;
  }
}

async function expectJson<T>(server: Server, path: string): Promise<T> {
  const answer = await server.call("GET", path);
  const text = await answer.text();
  if (answer.status !== 200) throw new Error(`${path}: ${answer.status} ${text.slice(0, 300)}`);
  return JSON.parse(text) as T;
}

const SINGLE_WRITERS = 4;
const BATCH_WRITERS = 2;
const SHARED_WRITERS = 2;
/** Of single entries; fewer in batches, which are large by their number. */
const LARGE_SHARE = 0.015;
/** Sent again by either of the shared session's writers. */
const RECENT_COUNT = 20;
/** How long a server whose connection broke may still be there. */
const END_MS = 10_000;

class MixedLoad implements Workload {
  readonly stats: WorkloadStats = { requests: 0, entries: 0, bytes: 0, found: 0, not_found: 0 };
  readonly #own: OwnSession[];
  readonly #shared: SharedSession;
  readonly #counters: Counter[];
  readonly #constructs: { acknowledged: string[]; pending: string | null } = {
    acknowledged: [],
    pending: null,
  };
  #faults: string[] = [];
  #running = false;
  #trouble = false;
  #number = 0;

  constructor(construct_id: string, [shared_id = "", ...own_ids]: readonly string[]) {
    this.#own = own_ids.map((id) => ({ id, heads: [NO_HEAD], pending: null }));
    this.#shared = {
      id: shared_id,
      places: new Map(),
      recent: [],
      pending: Array.from({ length: SHARED_WRITERS }, () => null),
      promises: [],
    };
    this.#counters = [`/v1/constructs/${construct_id}`, `/v1/sessions/${shared_id}`].map((path) => ({
      path,
      acknowledged: 0,
    }));
  }

  get session_ids(): string[] {
    return this.#own.map(({ id }) => id);
  }

  stop(): void {
    this.#running = false;
  }

  expectTrouble(): void {
    this.#trouble = true;
  }

  async run(server: Server, random: Random): Promise<void> {
    this.#running = true;
    this.#trouble = false;
    const writers = [
      ...this.#own.map(
        (session, index) => (own: Random) => this.#writeOwn(server, own, session, index >= SINGLE_WRITERS),
      ),
      ...this.#shared.pending.map((_, index) => (own: Random) => this.#writeShared(server, own, index)),
      ...this.#counters.map((counter) => (own: Random) => this.#count(server, own, counter)),
      (own: Random) => this.#create(server, own),
    ];
    await Promise.all(writers.map((write) => this.#repeat(createRandom(random.int(2 ** 32)), write)));
  }

  /** Writes, with a rest now and then, so that quiet tails are sealed and short frames merged. */
  async #repeat(random: Random, write: (random: Random) => Promise<boolean>): Promise<void> {
    while (this.#running && (await write(random))) {
      this.stats.requests += 1;
      if (random.chance(0.03)) await Bun.sleep(random.int(1_500));
    }
  }

  /** The answer's text, or null when there is none to go by. Any other status than these is a fault. */
  async #send(
    server: Server,
    statuses: readonly number[],
    ...call: Parameters<Server["call"]>
  ): Promise<string | null> {
    const where = `${call[0]} ${call[1]}`;
    const answer = await ask(server, ...call);
    if (answer === null) {
      if (!this.#trouble && !(await isEnding(server)))
        this.#faults.push(`${where}: no answer from a server that lives`);
      return null;
    }
    if (statuses.includes(answer.status)) return answer.text;
    if (!this.#trouble || answer.status < 500)
      this.#faults.push(`${where}: ${answer.status} ${answer.text.slice(0, 300)}`);
    return null;
  }

  async #append(
    server: Server,
    status: number,
    path: string,
    sent: readonly Sent[],
    ndjson: boolean,
  ): Promise<Accepted | null> {
    const { body, type } = appendBody(sent, ndjson);
    const text = await this.#send(server, [status], "POST", path, body, { "content-type": type });
    if (text === null) return null;
    this.stats.entries += sent.length;
    this.stats.bytes += Buffer.byteLength(body);
    return JSON.parse(text) as Accepted;
  }

  #newOwnRequest(random: Random, { heads }: OwnSession, batches: boolean): OwnRequest {
    const after = heads.length - 1;
    const count = batches ? (random.chance(0.06) ? 130 + random.int(270) : 1 + random.int(30)) : 1;
    const sent = Array.from({ length: count }, () =>
      newSent(random, (this.#number += 1), batches ? LARGE_SHARE / 20 : LARGE_SHARE),
    );
    const own: string[] = [];
    for (const [index, one] of sent.entries())
      own.push(headBehind(own.at(-1) ?? heads[after] ?? "", after + 1 + index, one));
    return { after, sent, ndjson: batches, heads: own };
  }

  /** What had no answer is sent again as it was: that it is stored already is said, and is no error. */
  async #writeOwn(server: Server, random: Random, session: OwnSession, batches: boolean): Promise<boolean> {
    const request = session.pending ?? this.#newOwnRequest(random, session, batches);
    session.pending = request;
    const { after, sent, ndjson, heads } = request;
    const replayed = isStored(session);
    const path = `/v1/sessions/${session.id}/entries?after=${after}`;
    const accepted = await this.#append(server, replayed ? 200 : 201, path, sent, ndjson);
    if (accepted === null) return false;
    const { first_seq, last_seq, head } = accepted;
    const wanted = [after + 1, after + sent.length, heads.at(-1), replayed];
    if ([first_seq, last_seq, head, accepted.replayed].some((value, index) => value !== wanted[index]))
      this.#faults.push(`${path}: answered ${JSON.stringify(accepted)} instead of ${wanted.join(", ")}`);
    if (!replayed) session.heads.push(...heads);
    session.pending = null;
    return true;
  }

  #newSharedRequest(random: Random): Sent[] {
    const sent = Array.from({ length: 1 + random.int(random.chance(0.02) ? 200 : 4) }, () => {
      this.#number += 1;
      return newSent(random, this.#number, LARGE_SHARE / 4, `key ${this.#number} "é\\`);
    });
    const { recent } = this.#shared;
    if (recent.length > 0 && random.chance(0.2))
      sent.splice(random.int(sent.length + 1), 0, random.pick(recent));
    return sent;
  }

  async #writeShared(server: Server, random: Random, writer: number): Promise<boolean> {
    const { id, places, recent, pending, promises } = this.#shared;
    const sent = pending[writer] ?? this.#newSharedRequest(random);
    pending[writer] = sent;
    const known = sent.map(({ key = "" }) => places.get(key));
    const fresh_count = known.filter((place) => place === undefined).length;
    const path = `/v1/sessions/${id}/entries`;
    const accepted = await this.#append(server, fresh_count > 0 ? 201 : 200, path, sent, random.chance(0.5));
    if (accepted === null) return false;
    let next_seq = accepted.first_seq;
    const items = known.map((place) =>
      place === undefined ? { seq: next_seq++, replayed: false } : { seq: place.seq, replayed: true },
    );
    if (!Bun.deepEquals(items, accepted.items))
      this.#faults.push(
        `${path}: items ${JSON.stringify(accepted.items)} instead of ${JSON.stringify(items)}`,
      );
    for (const [index, { key = "", body }] of sent.entries())
      places.set(key, { seq: items[index]?.seq ?? 0, digest: digestOf(body) });
    if (fresh_count > 0) promises.push({ seq: accepted.last_seq, head: accepted.head });
    recent.push(...sent);
    recent.splice(0, recent.length - RECENT_COUNT);
    pending[writer] = null;
    return true;
  }

  async #count(server: Server, random: Random, counter: Counter): Promise<boolean> {
    await Bun.sleep(random.int(20));
    const next = counter.acknowledged + 1;
    const status = counter.path.includes("constructs") && { status: next % 2 === 1 ? "active" : "parked" };
    const change = { title: String(next), ...status };
    if ((await this.#send(server, [200], "PATCH", counter.path, change, { "if-match": "*" })) === null)
      return false;
    counter.acknowledged = next;
    return true;
  }

  async #create(server: Server, random: Random): Promise<boolean> {
    await Bun.sleep(random.int(40));
    const constructs = this.#constructs;
    const id = constructs.pending ?? newId(random);
    constructs.pending = id;
    // 200 when it was made before the answer was lost.
    if ((await this.#send(server, [201, 200], "POST", "/v1/constructs", { id, title: id })) === null)
      return false;
    constructs.acknowledged.push(id);
    constructs.pending = null;
    return true;
  }

  async verify(server: Server): Promise<string[]> {
    const faults = this.#faults.splice(0);
    const transcripts = new Map<string, Transcript>();
    for (const session of [...this.#own, this.#shared]) {
      const { transcript, faults: found } = await readSession(server, session.id);
      transcripts.set(session.id, transcript);
      found.push(
        ...("heads" in session ? ownFaults(session, transcript) : sharedFaults(session, transcript)),
      );
      faults.push(...found.map((fault) => `session ${session.id}: ${fault}`));
    }
    const counts: number[] = [];
    for (const counter of this.#counters) counts.push(await checkCounter(server, counter, faults));
    for (const id of this.#constructs.acknowledged) {
      const answer = await server.call("GET", `/v1/constructs/${id}`);
      if (answer.status !== 200) faults.push(`construct ${id}: ${answer.status}`);
      await answer.arrayBuffer();
    }
    if (faults.length === 0) this.#adopt(transcripts, counts);
    return faults;
  }

  /** What was under way and is there counts as known from now on. */
  #adopt(transcripts: ReadonlyMap<string, Transcript>, counts: readonly number[]): void {
    for (const session of this.#own) {
      if (session.pending !== null && !isStored(session)) {
        const found = transcripts.get(session.id)?.heads.length !== session.heads.length;
        this.stats[found ? "found" : "not_found"] += 1;
        if (found) session.heads.push(...session.pending.heads);
      }
    }
    const { id, places } = this.#shared;
    for (const { key = "", seq, body } of transcripts.get(id)?.lines ?? [])
      if (!places.has(key)) places.set(key, { seq, digest: digestOf(body) });
    for (const [index, count] of counts.entries()) {
      const counter = this.#counters[index];
      if (counter !== undefined) counter.acknowledged = count;
    }
    // The older ones were looked for often enough.
    this.#constructs.acknowledged.splice(0, this.#constructs.acknowledged.length - RECENT_COUNT);
  }
}

/** Whether the process ends within a moment. */
async function isEnding(server: Server): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), END_MS);
  void server.process.exited.then(() => resolve(true));
  const ended = await promise;
  clearTimeout(timer);
  return ended;
}

/** A whole transcript, as stored frames and as text in turn, with its own faults. */
async function readSession(
  server: Server,
  id: string,
): Promise<{ transcript: Transcript; faults: string[] }> {
  const path = `/v1/sessions/${id}`;
  const texts: string[] = [];
  for (const coding of ["zstd", "identity"]) {
    const answer = await server.call("GET", `${path}/transcript`, undefined, { "accept-encoding": coding });
    texts.push(await answer.text());
    if (answer.status !== 200) throw new Error(`${path}: ${answer.status} ${texts.at(-1)?.slice(0, 300)}`);
  }
  const [text = ""] = texts;
  const transcript = readTranscript(text);
  const faults = transcriptFaults(transcript, await expectJson(server, path));
  if (text !== texts[1]) faults.push("the transcript of stored frames is another one");
  return { transcript, faults };
}

/** The count that is stored: the acknowledged one, or the one that was under way. A status was noted for each. */
async function checkCounter(
  server: Server,
  { path, acknowledged }: Counter,
  faults: string[],
): Promise<number> {
  const { title } = await expectJson<{ title: string }>(server, path);
  const found = Number(title);
  if (found !== acknowledged && found !== acknowledged + 1)
    faults.push(`${path} is at change ${title}, acknowledged was ${acknowledged}`);
  if (path.includes("constructs")) {
    const { items } = await expectJson<{ items: unknown[] }>(server, `${path}/statuses`);
    if (items.length !== found + 1)
      faults.push(`${path} has ${items.length} statuses after ${found} changes`);
  }
  return found;
}

function newId(random: Random): string {
  const hex = (digits: number): string =>
    random
      .int(16 ** digits)
      .toString(16)
      .padStart(digits, "0");
  return `${hex(8)}-${hex(4)}-7${hex(3)}-8${hex(3)}-${hex(6)}${hex(6)}`;
}

/** A load with a construct and sessions of its own on this server. */
export async function createWorkload(server: Server): Promise<Workload> {
  const create = async (path: string, value: object): Promise<string> => {
    const answer = await server.call("POST", path, value);
    if (answer.status !== 201) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return ((await answer.json()) as { id: string }).id;
  };
  const construct_id = await create("/v1/constructs", { title: "0" });
  const session_ids: string[] = [];
  for (let index = 0; index < 1 + SINGLE_WRITERS + BATCH_WRITERS; index += 1)
    session_ids.push(await create("/v1/sessions", { construct_id, title: "0" }));
  return new MixedLoad(construct_id, session_ids);
}
