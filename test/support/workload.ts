/**
 * A mixed load on a running server and the exact record of what it acknowledged, for campaigns that kill the server:
 * single entries, NDJSON, bulk and large entries by writers that own a session (`after`), two writers with keys on one
 * session, and changes of a construct. Afterwards everything acknowledged is looked for.
 */
import type { Random } from "./campaign.ts";
import { json, type Server } from "./server.ts";
import { fetchTranscript, type Transcript } from "./transcript.ts";

interface Sent {
  body: string;
  key?: string;
}

interface Acknowledged {
  last_seq: number;
  head: string;
}

/** A session with one writer, who says where it ends: its transcript must be exactly `entries`, or those and `pending`. */
interface OwnedSession {
  id: string;
  entries: Sent[];
  /** The request that was under way when the server ended. */
  pending: Sent[];
  newest: Acknowledged | null;
}

/** A session with two writers: each key that was acknowledged must be there once, at its seq. */
interface SharedSession {
  id: string;
  acknowledged: Map<string, { seq: number; body: string }>;
  pending: Map<string, string>;
}

export interface Workload {
  /** Writes until the server ends or `stop` is called. */
  run(server: Server, random: Random): Promise<void>;
  stop(): void;
  /** What is lost, doubled, reordered or changed; afterwards the record is what the server has. */
  verify(server: Server): Promise<string[]>;
  /** Requests that were acknowledged so far. */
  readonly acknowledged_count: number;
}

const SINGLE_WRITERS = 4;
const BATCH_WRITERS = 2;
const WORDS = [
  "fix",
  "the",
  "login",
  "bug",
  "äöü",
  "修复",
  "🙂",
  "src/main.ts",
  "\\n",
  "npm test",
  "{}",
  "\t",
];

function text(random: Random, bytes: number): string {
  let out = "";
  while (out.length < bytes) out += `${random.pick(WORDS)} `;
  return out;
}

function newBody(random: Random, number: number): string {
  const bytes = random.chance(0.03) ? 150_000 + random.int(400_000) : 50 + random.int(4_000);
  return JSON.stringify({ number, text: text(random, bytes) });
}

const entry = ({ body, key }: Sent): string =>
  `{"kind":"message","at_ms":1,${key === undefined ? "" : `"key":${JSON.stringify(key)},`}"body":${body}}`;

async function append(
  server: Server,
  session: string,
  sent: readonly Sent[],
  after: number | null,
  ndjson: boolean,
): Promise<{ last_seq: number; head: string; items?: { seq: number }[] }> {
  const path = `/v1/sessions/${session}/entries${after === null ? "" : `?after=${after}`}`;
  const body = ndjson ? sent.map(entry).join("\n") : `{"entries":[${sent.map(entry).join(",")}]}`;
  return json(
    server.call("POST", path, body, { "content-type": ndjson ? "application/x-ndjson" : "application/json" }),
  );
}

function checkOwned(session: OwnedSession, { lines, heads }: Transcript): string[] {
  const where = `session ${session.id}`;
  const with_pending = [...session.entries, ...session.pending];
  if (lines.length !== session.entries.length && lines.length !== with_pending.length) {
    return [
      `${where}: ${lines.length} entries; ${session.entries.length} were acknowledged and ${session.pending.length} more were under way`,
    ];
  }
  const differing = lines.findIndex((line, index) => line.body !== with_pending[index]?.body);
  if (differing !== -1) return [`${where}: entry ${differing + 1} is not what was sent`];
  const { newest } = session;
  if (newest !== null && heads[newest.last_seq] !== newest.head)
    return [`${where}: the head at ${newest.last_seq} is not the acknowledged one`];
  session.entries = with_pending.slice(0, lines.length);
  session.pending = [];
  return [];
}

function checkShared(session: SharedSession, { lines }: Transcript): string[] {
  const failures: string[] = [];
  const where = `shared session ${session.id}`;
  const seen = new Set<string>();
  for (const { key = "", seq, body } of lines) {
    if (seen.has(key)) failures.push(`${where}: key ${key} is there twice`);
    seen.add(key);
    const known = session.acknowledged.get(key);
    if (known !== undefined && (known.seq !== seq || known.body !== body))
      failures.push(`${where}: key ${key} is another entry than the acknowledged one`);
    if (known === undefined && session.pending.get(key) !== body)
      failures.push(`${where}: key ${key} was never sent so`);
    session.acknowledged.set(key, { seq, body });
  }
  for (const key of session.acknowledged.keys())
    if (!seen.has(key)) failures.push(`${where}: key ${key} is lost`);
  session.pending.clear();
  return failures;
}

/** A load with sessions of its own on this server. */
export async function createWorkload(server: Server): Promise<Workload> {
  const construct = await json<{ id: string }>(server.call("POST", "/v1/constructs", { title: "0" }));
  const newSession = async (): Promise<string> =>
    (await json<{ id: string }>(server.call("POST", "/v1/sessions", { construct_id: construct.id }))).id;
  const owned: OwnedSession[] = [];
  for (let index = 0; index < SINGLE_WRITERS + BATCH_WRITERS; index += 1)
    owned.push({ id: await newSession(), entries: [], pending: [], newest: null });
  const shared: SharedSession = { id: await newSession(), acknowledged: new Map(), pending: new Map() };
  let running = false;
  let number = 0;
  let title = 0;
  let acknowledged_count = 0;

  async function writeOwned(
    target: Server,
    random: Random,
    session: OwnedSession,
    batches: boolean,
  ): Promise<void> {
    const count = batches ? 1 + random.int(random.chance(0.1) ? 400 : 40) : 1;
    const sent = Array.from({ length: count }, () => ({ body: newBody(random, (number += 1)) }));
    session.pending = sent;
    const { last_seq, head } = await append(target, session.id, sent, session.entries.length, batches);
    session.entries.push(...sent);
    session.pending = [];
    session.newest = { last_seq, head };
  }

  async function writeShared(target: Server, random: Random): Promise<void> {
    const sent = Array.from({ length: 1 + random.int(4) }, () => {
      number += 1;
      return { body: newBody(random, number), key: `key ${number} "\\` };
    });
    for (const { key, body } of sent) shared.pending.set(key, body);
    const { items } = await append(target, shared.id, sent, null, random.chance(0.5));
    for (const [index, { key, body }] of sent.entries())
      shared.acknowledged.set(key, { seq: items?.[index]?.seq ?? 0, body });
  }

  async function changeConstruct(target: Server): Promise<void> {
    const next = title + 1;
    await json(
      target.call("PATCH", `/v1/constructs/${construct.id}`, { title: String(next) }, { "if-match": "*" }),
    );
    title = next;
  }

  /** Repeats until the server is gone; an answer that is no success ends the writer and is a failure of its own. */
  async function repeat(work: () => Promise<void>): Promise<void> {
    while (running) {
      try {
        await work();
        acknowledged_count += 1;
      } catch (error) {
        if (error instanceof Error && /: \d{3} /.test(error.message)) throw error;
        return;
      }
    }
  }

  return {
    get acknowledged_count() {
      return acknowledged_count;
    },
    async run(target, random) {
      running = true;
      await Promise.all([
        ...owned.map((session, index) =>
          repeat(() => writeOwned(target, random, session, index >= SINGLE_WRITERS)),
        ),
        repeat(() => writeShared(target, random)),
        repeat(() => writeShared(target, random)),
        repeat(() => changeConstruct(target)),
      ]);
    },
    stop() {
      running = false;
    },
    async verify(target) {
      const failures: string[] = [];
      for (const session of owned) {
        const transcript = await fetchTranscript(target, session.id);
        failures.push(...transcript.faults, ...checkOwned(session, transcript));
      }
      const transcript = await fetchTranscript(target, shared.id);
      failures.push(...transcript.faults, ...checkShared(shared, transcript));
      const found = Number(
        (await json<{ title: string }>(target.call("GET", `/v1/constructs/${construct.id}`))).title,
      );
      if (found !== title && found !== title + 1)
        failures.push(`the construct is at change ${found}, acknowledged was ${title}`);
      title = found;
      return failures;
    },
  };
}
