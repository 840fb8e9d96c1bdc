/**
 * The real corpus over HTTP to the compiled binary, by 16 clients at once, half as single entries and half as NDJSON.
 * Every body is compared byte for byte through page, single entry, stream and zstd stream: after the writing, after
 * sealing, and after SIGKILL and a new start. Then the size of the database is taken.
 */
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CampaignOptions, type CampaignResult, createRandom, type Random } from "../support/campaign.ts";
import { corpusTranscripts, sampleTranscripts, type TranscriptFile } from "../support/corpus.ts";
import { json, type Server, startServer } from "../support/server.ts";
import { readLine, readTranscript, transcriptFaults } from "../support/transcript.ts";

const CLIENTS = 16;
const NDJSON_LINES = 400;
const NDJSON_BYTES = 4 << 20;
const INLINE_BYTES = 256 * 1024;
/** Of the bytes sent. Small samples have no second frame and little in common, so only the whole corpus is held to it. */
const SIZE_SHARE = 0.27;

interface Work {
  file: TranscriptFile;
  session: string;
  /** The head that was acknowledged last. */
  head: string;
}

const entryLine = (body: string): string => `{"kind":"message","at_ms":1700000000000,"body":${body}}`;

/** Where each request of a file ends: one entry each, or a seeded number of them. */
function cuts({ bodies }: TranscriptFile, single: boolean, random: Random): number[] {
  const ends: number[] = [];
  for (let from = 0; from < bodies.length;) {
    const most = single ? 1 : 1 + random.int(NDJSON_LINES);
    let end = from + 1;
    for (let bytes = bodies[from]?.length ?? 0; end < bodies.length && end - from < most; end += 1) {
      bytes += bodies[end]?.length ?? 0;
      if (bytes > NDJSON_BYTES) break;
    }
    ends.push(end);
    from = end;
  }
  return ends;
}

async function send(server: Server, work: Work, single: boolean, random: Random): Promise<number> {
  let from = 0;
  let bytes = 0;
  for (const end of cuts(work.file, single, random)) {
    const lines = work.file.bodies.slice(from, end).map(entryLine);
    const path = `/v1/sessions/${work.session}/entries?after=${from}`;
    const answer = single
      ? server.call("POST", path, `{"entries":[${lines.join(",")}]}`)
      : server.call("POST", path, lines.join("\n"), { "content-type": "application/x-ndjson" });
    const { last_seq, head } = await json<{ last_seq: number; head: string }>(answer, 201);
    if (last_seq !== end) throw new Error(`${work.file.name}: ends at ${last_seq}, not ${end}`);
    work.head = head;
    bytes += lines.reduce((sum, line) => sum + Buffer.byteLength(line), 0);
    from = end;
  }
  return bytes;
}

/** Does the work of a list with as many workers; the order in which items are taken is the list's. */
async function inParallel<T>(
  items: readonly T[],
  workers: number,
  work: (item: T, index: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: workers }, async () => {
      while (next < items.length) {
        const index = next;
        next += 1;
        await work(items[index] as T, index);
      }
    }),
  );
}

function differing(bodies: readonly string[], found: readonly (string | null)[]): string | null {
  if (bodies.length !== found.length) return `${found.length} entries instead of ${bodies.length}`;
  const index = bodies.findIndex((body, place) => found[place] !== null && found[place] !== body);
  return index === -1 ? null : `entry ${index + 1} differs`;
}

/** Bodies by pages; null for one that came as a preview, whose length and beginning are compared here. */
async function bodiesByPages(server: Server, { session, file }: Work): Promise<(string | null)[]> {
  const bodies: (string | null)[] = [];
  for (let query = "limit=500"; ;) {
    const text = await (await server.call("GET", `/v1/sessions/${session}/entries?${query}`)).text();
    const page = JSON.parse(text) as {
      items: { seq: number; body_bytes?: number; preview?: string }[];
      next_cursor: string | null;
    };
    // Cut the items' texts out of the page as they stand: each begins with the same member.
    const starts = [...text.matchAll(/\{"received_at_ms":\d+,"seq":/g)].map(({ index }) => index);
    const ends = [...starts.slice(1).map((start) => start - 1), text.lastIndexOf('],"first_seq"')];
    let at = 0;
    for (const item of page.items) {
      const sent = file.bodies[item.seq - 1] ?? "";
      while (at < starts.length && !text.startsWith(`"seq":${item.seq},`, text.indexOf('"seq":', starts[at])))
        at += 1;
      if (item.body_bytes !== undefined) {
        if (
          Buffer.byteLength(sent) < INLINE_BYTES - 1_000 ||
          item.body_bytes !== Buffer.byteLength(sent) ||
          !sent.startsWith(item.preview ?? "?")
        )
          throw new Error(`${file.name}: the preview of ${item.seq} is wrong`);
        bodies.push(null);
        continue;
      }
      const whole = text.slice(starts[at], nextEnd(starts, ends, at, text, item.seq));
      bodies.push(readLine(whole).body);
    }
    if (page.next_cursor === null) return bodies;
    query = `limit=500&cursor=${page.next_cursor}`;
  }
}

/** The end of the item at `at`: the next item's start that has the following seq (a body may quote such a start). */
function nextEnd(
  starts: readonly number[],
  ends: readonly number[],
  at: number,
  text: string,
  seq: number,
): number {
  for (let index = at + 1; index < starts.length; index += 1) {
    const start = starts[index] ?? 0;
    if (text.startsWith(`"seq":${seq + 1},`, text.indexOf('"seq":', start)) && text[start - 1] === ",")
      return start - 1;
  }
  return ends.at(-1) ?? text.length;
}

async function verify(server: Server, work: Work, random: Random): Promise<string[]> {
  const { file, session } = work;
  const path = `/v1/sessions/${session}`;
  const stream = await (
    await server.call("GET", `${path}/transcript`, undefined, { "accept-encoding": "identity" })
  ).text();
  const transcript = readTranscript(stream);
  const state = await json<{ last_seq: number; head: string }>(server.call("GET", path));
  const failures = transcriptFaults(transcript, state);
  if (state.head !== work.head) failures.push("the head is not the acknowledged one");
  const by_stream = differing(
    file.bodies,
    transcript.lines.map(({ body }) => body),
  );
  if (by_stream !== null) failures.push(`stream: ${by_stream}`);
  // Bun's fetch decodes zstd by itself; that it came so is said by the header.
  const compressed = await server.call("GET", `${path}/transcript`, undefined, { "accept-encoding": "zstd" });
  if (compressed.headers.get("content-encoding") !== "zstd")
    failures.push("the transcript is not sent as zstd");
  if ((await compressed.text()) !== stream) failures.push("zstd stream: differs");
  const by_pages = differing(file.bodies, await bodiesByPages(server, work));
  if (by_pages !== null) failures.push(`pages: ${by_pages}`);
  for (const seq of new Set([
    1,
    file.bodies.length,
    ...Array.from({ length: 3 }, () => 1 + random.int(file.bodies.length)),
  ])) {
    const single = readLine(await (await server.call("GET", `${path}/entries/${seq}`)).text());
    if (single.body !== file.bodies[seq - 1]) failures.push(`entry ${seq}: differs`);
  }
  return failures.map((failure) => `${file.name}: ${failure}`);
}

/** Waits until nothing is left as rows and no free page is left to give back. */
async function untilSealed(server: Server): Promise<void> {
  const deadline = performance.now() + 40_000;
  while (performance.now() < deadline) {
    const metrics = await (await server.call("GET", "/metrics")).text();
    const value = (name: string): number =>
      Number(new RegExp(`^${name} (\\S+)$`, "m").exec(metrics)?.[1] ?? Number.NaN);
    if (value("synthetic_store_hot_rows_bytes") === 0 && value("synthetic_store_freelist_bytes") < 2 << 20)
      return;
    await Bun.sleep(200);
  }
  throw new Error("the rows were not sealed in time");
}

export async function run({ seed, size, log }: CampaignOptions): Promise<CampaignResult> {
  const random = createRandom(seed);
  const files = (size === "full" ? corpusTranscripts() : sampleTranscripts()).filter(
    ({ bodies }) => bodies.length > 0,
  );
  const data_dir = mkdtempSync(join(tmpdir(), "synthetic-corpus-"));
  const options = { data_dir, env: { SYNTHETIC_SEAL_IDLE_MS: "200" } };
  const failures: string[] = [];
  let server = await startServer(options);
  try {
    const construct = await json<{ id: string }>(server.call("POST", "/v1/constructs", { title: "corpus" }));
    const works: Work[] = [];
    for (const file of files)
      works.push({
        file,
        head: "",
        session: (
          await json<{ id: string }>(server.call("POST", "/v1/sessions", { construct_id: construct.id }))
        ).id,
      });
    let sent_bytes = 0;
    await inParallel(works, CLIENTS, async (work, index) => {
      const bytes = await send(server, work, index % 2 === 0, random);
      sent_bytes += bytes;
    });
    const entries = files.reduce((sum, { bodies }) => sum + bodies.length, 0);
    const verifyAll = async (when: string): Promise<void> => {
      await inParallel(works, 4, async (work) => {
        failures.push(...(await verify(server, work, random)).map((failure) => `${when}: ${failure}`));
      });
      log(`${when}: ${files.length} transcripts, ${entries} entries compared, ${failures.length} failures`);
    };
    await verifyAll("after writing");
    await untilSealed(server);
    await verifyAll("after sealing");
    await server.stop("SIGKILL");
    server = await startServer(options);
    await verifyAll("after SIGKILL and a new start");
    await server.stop("SIGTERM");
    const share = statSync(join(data_dir, "synthetic.db")).size / sent_bytes;
    if (size === "full" && share > SIZE_SHARE)
      failures.push(`the database is ${share.toFixed(3)} of what was sent`);
    return {
      cases: entries * 3,
      failures,
      notes: { transcripts: files.length, entries, sent_bytes, database_share: Number(share.toFixed(3)) },
    };
  } finally {
    await server.stop("SIGKILL");
    rmSync(data_dir, { recursive: true, force: true });
  }
}
