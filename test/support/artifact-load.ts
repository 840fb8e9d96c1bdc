/**
 * A mixed load of artifacts on a running server and the exact record of what it acknowledged, for campaigns that end the
 * server in the middle of it: uploads of all sizes, equal bytes at once, the same id again, open artifacts that grow and
 * are sealed, reads, deletes, and garbage collection without grace meanwhile. Afterwards every acknowledged byte is
 * looked for, and the folder is compared with the rows. It knows HTTP and, for that comparison, the documented layout.
 */
import { createHash } from "node:crypto";
import type { GarbageReport } from "../../src/schema/gc.ts";
import { filesAgainstRows } from "./artifact-files.ts";
import { createRandom, type Random } from "./campaign.ts";
import { json, type Server } from "./server.ts";

const UPLOADERS = 3;
const GROWERS = 3;
const READERS = 2;
/** Beyond these the oldest are deleted, and what was deleted long ago is no longer asked for. */
const LIVE_COUNT = 90;
const DELETED_COUNT = 40;
const CONSTRUCTS_COUNT = 6;
const GROWN_BYTES = 1_200_000;
const TYPES = ["log", "diff", "report"] as const;
/** Requests at once while everything is looked for. */
const VERIFIERS = 6;
/** Files as old as the clock's step, or younger, stay. */
const CLOCK_STEP_MS = 20;

interface Place {
  construct_id: string;
  type: string;
}

/** An artifact with all its bytes. */
interface Whole extends Place {
  id: string;
  bytes: Buffer;
  sha256: string;
  /** It was open once: its id belongs to another create. */
  grown: boolean;
  /** `sent`: no answer yet. `deleting`: the delete has none. */
  state: "sent" | "there" | "deleting" | "deleted";
  /** Garbage was collected after the delete was sent, so that its row may be gone, too. */
  purgeable: boolean;
  /** Requests under way that a delete would spoil. */
  users: number;
}

/** One that grows, with one writer. */
interface Growing extends Place {
  id: string;
  /** What was acknowledged. */
  bytes: Buffer;
  /** What was sent behind it and has no answer. */
  pending: Buffer;
  state: "new" | "open" | "sealing" | "deleting";
  /** What it held when a seal got no answer: a file of these bytes may have been left behind. */
  sealed_so: Buffer | null;
}

interface Answer {
  status: number;
  headers: Headers;
  bytes: Buffer;
}

export interface ArtifactLoad {
  /** Works until the server ends or `stop` is called. */
  run(server: Server, random: Random): Promise<void>;
  stop(): void;
  /** From here on an answer of 5xx is none: the outcome is unknown. */
  expectTrouble(): void;
  /** What is lost, changed or left over, with the server alone; afterwards the record is what the server has. */
  verify(server: Server, data_dir: string): Promise<string[]>;
  /** Where acknowledged bytes lie: of a whole artifact, and of one that grows. */
  somePaths(): { whole: string; growing: string };
  readonly stats: Readonly<Record<Count, number>>;
}

type Count =
  | "uploads"
  | "appends"
  | "appended_bytes"
  | "seals"
  | "reads"
  | "deletes"
  | "collections"
  | "left_files"
  | "compressed_reads";

export function sha256Of(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

// ---------------------------------------------------------------- bytes

const POOL_BYTES = 4 << 20;
let pools: { text: Buffer; noise: Buffer } | null = null;

/** Bytes are pieces of these: text compresses about as logs do, noise does not at all. */
function poolOf(kind: "text" | "noise"): Buffer {
  if (pools === null) {
    const random = createRandom(7);
    const words: string[] = [];
    for (let length = 0; length < POOL_BYTES; length += words.at(-1)?.length ?? 0)
      words.push(random.chance(0.3) ? `${random.int(2 ** 31).toString(36)}\n` : "error in src/main.ts äöü ");
    const noise = Buffer.alloc(POOL_BYTES);
    for (let at = 0; at < POOL_BYTES; at += 4) noise.writeUInt32LE(random.int(2 ** 32), at);
    pools = { text: Buffer.from(words.join("")).subarray(0, POOL_BYTES), noise };
  }
  return pools[kind];
}

function pieceOf(random: Random, size_bytes: number): Buffer {
  const pool = poolOf(random.chance(0.6) ? "text" : "noise");
  const from = random.int(pool.byteLength - size_bytes);
  return Buffer.from(pool.subarray(from, from + size_bytes));
}

/** From nothing to a few mebibytes, most of them small. */
function sizeOf(random: Random): number {
  const draw = random.next();
  if (draw < 0.05) return 0;
  if (draw < 0.45) return random.int(5_000);
  if (draw < 0.93) return random.int(120_000);
  return random.int(3_000_000);
}

function newId(random: Random): string {
  const hex = (digits: number): string =>
    random
      .int(16 ** digits)
      .toString(16)
      .padStart(digits, "0");
  return `${hex(8)}-${hex(4)}-7${hex(3)}-8${hex(3)}-${hex(6)}${hex(6)}`;
}

function isPrefix(part: Buffer, whole: Buffer): boolean {
  return part.byteLength <= whole.byteLength && whole.subarray(0, part.byteLength).equals(part);
}

function digestHeader(sha256: string): string {
  return `sha-256=:${Buffer.from(sha256, "hex").toString("base64")}:`;
}

function wholeOf(
  { id, construct_id, type }: Place & { id: string },
  bytes: Buffer,
  state: "sent" | "there",
): Whole {
  const sha256 = sha256Of(bytes);
  return { id, construct_id, type, bytes, sha256, grown: false, state, purgeable: false, users: 0 };
}

// ---------------------------------------------------------------- the load

class MixedArtifacts implements ArtifactLoad {
  readonly stats: Record<Count, number> = {
    uploads: 0,
    appends: 0,
    appended_bytes: 0,
    seals: 0,
    reads: 0,
    deletes: 0,
    collections: 0,
    left_files: 0,
    compressed_reads: 0,
  };
  readonly #constructs: string[];
  readonly #whole = new Map<string, Whole>();
  /** Uploads without an id that have no answer: a row of these bytes may be there. */
  readonly #nameless: (Place & { bytes: Buffer; sha256: string })[] = [];
  readonly #growing: (Growing | null)[] = Array<null>(GROWERS).fill(null);
  readonly #faults: string[] = [];
  #collecting = 0;
  #running = false;
  #trouble = false;

  constructor(constructs: readonly string[]) {
    this.#constructs = [...constructs];
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
    this.#collecting = 0;
    const own = (): Random => createRandom(random.int(2 ** 32));
    const times = (count: number, work: (random: Random, index: number) => Promise<boolean>) =>
      Array.from({ length: count }, (_, index) => {
        const numbers = own();
        return this.#repeat(() => work(numbers, index));
      });
    await Promise.all([
      ...times(UPLOADERS, (numbers) => this.#uploadSome(server, numbers)),
      ...times(1, (numbers) => this.#race(server, numbers)),
      ...times(GROWERS, (numbers, index) => this.#grow(server, numbers, index)),
      ...times(READERS, (numbers) => this.#read(server, numbers)),
      ...times(1, (numbers) => this.#deleteSome(server, numbers)),
      ...times(1, (numbers) => this.#collectSome(server, numbers)),
    ]);
  }

  async #repeat(work: () => Promise<boolean>): Promise<void> {
    while (this.#running && (await work()));
  }

  /** Null when the server gave no answer, or one that says nothing. */
  async #send(
    server: Server,
    expected: readonly number[],
    method: string,
    path: string,
    body?: Uint8Array,
    headers: Record<string, string> = {},
  ): Promise<Answer | null> {
    let answer: Answer;
    try {
      const response = await server.call(method, path, body, {
        "accept-encoding": "identity",
        ...(body !== undefined && { "content-type": "application/octet-stream" }),
        ...headers,
      });
      answer = {
        status: response.status,
        headers: response.headers,
        bytes: Buffer.from(await response.arrayBuffer()),
      };
    } catch {
      return null;
    }
    if (expected.includes(answer.status)) return answer;
    if (this.#trouble && answer.status >= 500) return null;
    this.#faults.push(`${method} ${path}: ${answer.status} ${answer.bytes.toString().slice(0, 300)}`);
    return null;
  }

  #there(): Whole[] {
    return [...this.#whole.values()].filter(({ state }) => state === "there");
  }

  #newWhole(random: Random, { construct_id, type }: Place, bytes: Buffer): Whole {
    return wholeOf({ id: newId(random), construct_id, type }, bytes, "sent");
  }

  #place(random: Random): Place {
    return { construct_id: random.pick(this.#constructs), type: random.pick(TYPES) };
  }

  // -------------------------------------------------------------- uploads

  /** Sends it with its id; false when there is no answer. */
  async #upload(server: Server, random: Random, whole: Whole, statuses: readonly number[]): Promise<boolean> {
    if (!this.#whole.has(whole.id)) this.#whole.set(whole.id, whole);
    whole.users += 1;
    const path = `/v1/artifacts?construct_id=${whole.construct_id}&type=${whole.type}&id=${whole.id}`;
    const headers = random.chance(0.5) ? { "content-digest": digestHeader(whole.sha256) } : {};
    const answer = await this.#send(server, statuses, "POST", path, whole.bytes, headers);
    whole.users -= 1;
    if (answer === null) return false;
    if (answer.status >= 300) return true;
    this.#checkRow(answer, whole, `upload of ${whole.id}`);
    if (whole.state === "sent") whole.state = "there";
    this.stats.uploads += 1;
    return true;
  }

  #checkRow({ bytes }: Answer, { sha256, bytes: { byteLength } }: Whole, where: string): void {
    const row = JSON.parse(bytes.toString()) as Record<string, unknown>;
    const { state, sha256: told, size_bytes, encoding } = row;
    if (state !== "sealed" || told !== sha256 || size_bytes !== byteLength)
      this.#faults.push(`${where}: ${String(state)} ${String(told)} of ${String(size_bytes)} bytes`);
    if (encoding === null) this.#faults.push(`${where}: its file is missing`);
  }

  async #uploadSome(server: Server, random: Random): Promise<boolean> {
    const unanswered = [...this.#whole.values()].find(({ state, users }) => state === "sent" && users === 0);
    if (unanswered !== undefined) return this.#upload(server, random, unanswered, [200, 201]);
    const there = this.#there();
    if (there.length > 0 && random.chance(0.1)) {
      const again = random.pick(there.slice(-20));
      return this.#upload(server, random, again, [again.grown ? 409 : 200, 410]);
    }
    if (random.chance(0.02) && !(await this.#newConstruct(server))) return false;
    // Bytes that are there already, in the same place or in another one.
    if (there.length > 0 && random.chance(0.2)) {
      const { bytes, construct_id, type } = random.pick(there);
      const place = random.chance(0.6) ? { construct_id, type } : this.#place(random);
      return this.#upload(server, random, this.#newWhole(random, place, bytes), [201]);
    }
    const bytes = pieceOf(random, sizeOf(random));
    if (random.chance(0.1)) return this.#uploadNameless(server, random, bytes);
    if (random.chance(0.05)) return this.#uploadWrong(server, random, bytes);
    return this.#upload(server, random, this.#newWhole(random, this.#place(random), bytes), [201]);
  }

  async #uploadNameless(server: Server, random: Random, bytes: Buffer): Promise<boolean> {
    const sent = { ...this.#place(random), bytes, sha256: sha256Of(bytes) };
    this.#nameless.push(sent);
    const path = `/v1/artifacts?construct_id=${sent.construct_id}&type=${sent.type}`;
    const answer = await this.#send(server, [201], "POST", path, bytes);
    if (answer === null) return false;
    this.#nameless.splice(this.#nameless.indexOf(sent), 1);
    const { id } = JSON.parse(answer.bytes.toString()) as { id: string };
    const whole = wholeOf({ ...sent, id }, bytes, "there");
    this.#whole.set(id, whole);
    this.#checkRow(answer, whole, `upload of ${id}`);
    this.stats.uploads += 1;
    return true;
  }

  /** A digest that is not theirs: refused, and nothing of it may stay. */
  async #uploadWrong(server: Server, random: Random, bytes: Buffer): Promise<boolean> {
    const { construct_id, type } = this.#place(random);
    const path = `/v1/artifacts?construct_id=${construct_id}&type=${type}`;
    const headers = { "content-digest": digestHeader(sha256Of(Buffer.from("another"))) };
    return (await this.#send(server, [422], "POST", path, bytes, headers)) !== null;
  }

  async #newConstruct(server: Server): Promise<boolean> {
    const answer = await this.#send(server, [201], "POST", "/v1/constructs", Buffer.from('{"title":"a"}'), {
      "content-type": "application/json",
    });
    if (answer === null) return false;
    this.#constructs.push((JSON.parse(answer.bytes.toString()) as { id: string }).id);
    if (this.#constructs.length > CONSTRUCTS_COUNT) this.#constructs.shift();
    return true;
  }

  /** Equal bytes by several clients at once, while the only one that has them is deleted and its file collected. */
  async #race(server: Server, random: Random): Promise<boolean> {
    const place = this.#place(random);
    const bytes = pieceOf(random, Math.min(sizeOf(random), 400_000));
    const first = this.#newWhole(random, place, bytes);
    const others = [this.#newWhole(random, place, bytes), this.#newWhole(random, place, bytes)];
    const repeated = random.chance(0.4);
    const works: Promise<boolean>[] = [];
    if (random.chance(0.5)) {
      if (!(await this.#upload(server, random, first, [201]))) return false;
      if (first.users === 0) works.push(this.#delete(server, first));
      works.push(this.#collect(server));
    } else {
      works.push(this.#upload(server, random, first, [200, 201]));
      if (repeated) works.push(this.#upload(server, random, first, [200, 201]));
    }
    works.push(...others.map((other) => this.#upload(server, random, other, [201])));
    const done = await Promise.all(works);
    await Bun.sleep(random.int(10));
    return done.every(Boolean);
  }

  // -------------------------------------------------------------- open ones

  async #grow(server: Server, random: Random, index: number): Promise<boolean> {
    await Bun.sleep(random.int(6));
    const one = this.#growing[index] ?? null;
    if (one === null || one.state === "new") return this.#open(server, random, index, one);
    if (one.state === "sealing") return this.#seal(server, one, index);
    if (one.state === "deleting") return this.#deleteGrowing(server, one, index);
    // Bytes that a seal may have left a file of: what is stored must be these and not what grew from them.
    if (one.sealed_so !== null && one.bytes.byteLength > one.sealed_so.byteLength) {
      const bytes = one.sealed_so;
      one.sealed_so = null;
      return this.#upload(server, random, this.#newWhole(random, one, bytes), [201]);
    }
    if (one.sealed_so === null) {
      if (random.chance(0.03))
        return this.#upload(server, random, this.#newWhole(random, one, one.bytes), [201]);
      if (random.chance(0.12) || one.bytes.byteLength > GROWN_BYTES) return this.#seal(server, one, index);
      if (random.chance(0.02)) return this.#deleteGrowing(server, one, index);
      if (random.chance(0.03)) return this.#appendWrong(server, one);
    }
    return this.#append(server, random, one);
  }

  async #open(server: Server, random: Random, index: number, unanswered: Growing | null): Promise<boolean> {
    const one: Growing = unanswered ?? {
      ...this.#place(random),
      id: newId(random),
      bytes: Buffer.alloc(0),
      pending: random.chance(0.5) ? Buffer.alloc(0) : pieceOf(random, random.int(20_000)),
      state: "new",
      sealed_so: null,
    };
    this.#growing[index] = one;
    const path = `/v1/artifacts?construct_id=${one.construct_id}&type=${one.type}&id=${one.id}&open=true`;
    const statuses = unanswered === null ? [201] : [200, 201];
    const answer = await this.#send(server, statuses, "POST", path, one.pending);
    if (answer === null) return false;
    const { size_bytes } = JSON.parse(answer.bytes.toString()) as { size_bytes: number };
    // An answer of success means that the bytes are there, also when a killed server began with it.
    if (size_bytes !== one.pending.byteLength)
      this.#faults.push(
        `open ${one.id}: ${answer.status} with ${size_bytes} of ${one.pending.byteLength} bytes`,
      );
    one.bytes = one.pending.subarray(0, size_bytes);
    one.pending = Buffer.alloc(0);
    one.state = "open";
    return true;
  }

  async #append(server: Server, random: Random, one: Growing): Promise<boolean> {
    const size = random.chance(0.1) ? random.int(300_000) : 1 + random.int(8_000);
    one.pending = pieceOf(random, size);
    const end = one.bytes.byteLength + one.pending.byteLength;
    const path = `/v1/artifacts/${one.id}/content`;
    const answer = await this.#send(server, [204], "PATCH", path, one.pending, {
      "upload-offset": String(one.bytes.byteLength),
    });
    if (answer === null) return false;
    const told = answer.headers.get("upload-offset");
    if (told !== String(end)) this.#faults.push(`append to ${one.id}: ends at ${told} instead of ${end}`);
    this.stats.appends += 1;
    this.stats.appended_bytes += one.pending.byteLength;
    one.bytes = Buffer.concat([one.bytes, one.pending]);
    one.pending = Buffer.alloc(0);
    return true;
  }

  async #appendWrong(server: Server, one: Growing): Promise<boolean> {
    const at = one.bytes.byteLength + 1;
    const headers = { "upload-offset": String(at) };
    const path = `/v1/artifacts/${one.id}/content`;
    const answer = await this.#send(server, [409], "PATCH", path, Buffer.from("x"), headers);
    if (answer === null) return false;
    const { offset } = JSON.parse(answer.bytes.toString()) as { offset?: number };
    if (offset !== one.bytes.byteLength)
      this.#faults.push(`append to ${one.id} at ${at}: told ${offset} instead of ${one.bytes.byteLength}`);
    return true;
  }

  async #seal(server: Server, one: Growing, index: number): Promise<boolean> {
    one.state = "sealing";
    const answer = await this.#send(server, [200], "POST", `/v1/artifacts/${one.id}/seal`);
    if (answer === null) return false;
    const whole = this.#becomeWhole(one, index);
    this.#checkRow(answer, whole, `seal of ${one.id}`);
    this.stats.seals += 1;
    return true;
  }

  #becomeWhole(one: Growing, index: number): Whole {
    this.#growing[index] = null;
    const whole = { ...wholeOf(one, one.bytes, "there"), grown: true };
    this.#whole.set(one.id, whole);
    return whole;
  }

  async #deleteGrowing(server: Server, one: Growing, index: number): Promise<boolean> {
    one.state = "deleting";
    const path = `/v1/artifacts/${one.id}`;
    const answer = await this.#send(server, [204], "DELETE", path, undefined, { "if-match": "*" });
    if (answer === null) return false;
    const whole = this.#becomeWhole(one, index);
    whole.state = "deleted";
    // A collection that began meanwhile did not see it in the record.
    whole.purgeable = true;
    this.stats.deletes += 1;
    return true;
  }

  // -------------------------------------------------------------- reads, deletes, collections

  async #read(server: Server, random: Random): Promise<boolean> {
    await Bun.sleep(random.int(6));
    if (random.chance(0.3)) return this.#readGrowing(server, random);
    const there = this.#there();
    if (there.length === 0) return true;
    // Often one that has just been stored, whose file may be on its way to be compressed.
    const whole = random.chance(0.5) ? random.pick(there.slice(-4)) : random.pick(there);
    const coding = random.chance(0.5) ? "zstd" : "identity";
    const path = `/v1/artifacts/${whole.id}/content`;
    const answer = await this.#send(server, [200, 404, 410], "GET", path, undefined, {
      "accept-encoding": coding,
    });
    if (answer === null) return this.#running;
    if (answer.status !== 200) {
      if (whole.state === "there") this.#faults.push(`GET ${path}: ${answer.status}, and it is there`);
    } else if (sha256Of(answer.bytes) !== whole.sha256)
      this.#faults.push(
        `GET ${path} (${coding}): ${answer.bytes.byteLength} other bytes than the ${whole.bytes.byteLength} that were acknowledged`,
      );
    this.stats.reads += 1;
    return true;
  }

  async #readGrowing(server: Server, random: Random): Promise<boolean> {
    const one = this.#growing[random.int(GROWERS)] ?? null;
    if (one === null || one.state !== "open") return true;
    const acknowledged = one.bytes;
    const path = `/v1/artifacts/${one.id}/content`;
    const answer = await this.#send(server, [200, 410, 404], "GET", path);
    if (answer === null) return this.#running;
    if (answer.status === 200 ? !isPrefix(acknowledged, answer.bytes) : one.state === "open")
      this.#faults.push(
        `GET ${path}: ${answer.status}, ${answer.bytes.byteLength} bytes, acknowledged ${acknowledged.byteLength}`,
      );
    this.stats.reads += 1;
    return true;
  }

  async #delete(server: Server, whole: Whole): Promise<boolean> {
    whole.state = "deleting";
    whole.purgeable = this.#collecting > 0;
    const path = `/v1/artifacts/${whole.id}`;
    const answer = await this.#send(server, [204], "DELETE", path, undefined, { "if-match": "*" });
    if (answer === null) return false;
    whole.state = "deleted";
    this.stats.deletes += 1;
    return true;
  }

  async #deleteSome(server: Server, random: Random): Promise<boolean> {
    await Bun.sleep(random.int(12));
    const free = this.#there().filter(({ users }) => users === 0);
    if (free.length > LIVE_COUNT) return this.#delete(server, free[0]!);
    return free.length > 8 && random.chance(0.3) ? this.#delete(server, random.pick(free)) : true;
  }

  async #collectSome(server: Server, random: Random): Promise<boolean> {
    await Bun.sleep(random.int(40));
    return this.#collect(server);
  }

  async #collect(server: Server): Promise<boolean> {
    this.#collecting += 1;
    for (const whole of this.#whole.values())
      if (whole.state === "deleting" || whole.state === "deleted") whole.purgeable = true;
    const answer = await this.#send(server, [200], "POST", "/v1/gc?grace_ms=0");
    this.#collecting -= 1;
    if (answer === null) return false;
    const { missing } = JSON.parse(answer.bytes.toString()) as GarbageReport;
    if (missing.length > 0) this.#faults.push(`gc under load: missing ${JSON.stringify(missing)}`);
    this.stats.collections += 1;
    return true;
  }

  // -------------------------------------------------------------- afterwards

  async verify(server: Server, data_dir: string): Promise<string[]> {
    const faults = this.#faults.splice(0);
    const queue = [...this.#whole.values()];
    const verifyNext = async (): Promise<void> => {
      for (let whole = queue.shift(); whole !== undefined; whole = queue.shift())
        faults.push(...(await this.#verifyWhole(server, whole)));
    };
    await Promise.all(Array.from({ length: VERIFIERS }, verifyNext));
    for (const index of this.#growing.keys()) faults.push(...(await this.#verifyGrowing(server, index)));
    faults.push(...(await this.#adoptNameless(server)));
    faults.push(...(await this.#verifyFiles(server, data_dir)));
    this.#forget();
    return faults;
  }

  async #verifyWhole(server: Server, whole: Whole): Promise<string[]> {
    const { id, sha256, state, bytes } = whole;
    const answer = await server.call("GET", `/v1/artifacts/${id}`);
    const text = await answer.text();
    if (answer.status !== 200) {
      if (state === "sent" && answer.status === 404) return [];
      const is_gone = answer.status === 410 || (answer.status === 404 && whole.purgeable);
      if (!is_gone || state === "sent" || state === "there")
        return [`artifact ${id} (${state}, ${bytes.byteLength} bytes): ${answer.status} ${text}`];
      whole.state = "deleted";
      return [];
    }
    if (state === "deleted") return [`artifact ${id} was deleted and is there`];
    whole.state = "there";
    const row = JSON.parse(text) as { sha256: string; size_bytes: number; encoding: string | null };
    if (row.sha256 !== sha256 || row.size_bytes !== bytes.byteLength)
      return [`artifact ${id}: the row says ${row.sha256}, ${row.size_bytes} bytes, instead of ${sha256}`];
    const faults: string[] = [];
    for (const coding of row.encoding === "zstd" ? ["identity", "zstd"] : ["identity"]) {
      const content = await server.call("GET", `/v1/artifacts/${id}/content`, undefined, {
        "accept-encoding": coding,
      });
      const found = await content.bytes().catch(() => new Uint8Array());
      if (content.status !== 200 || sha256Of(found) !== sha256)
        faults.push(
          `artifact ${id} (${state}, ${row.encoding}) as ${coding}: ${content.status}, ${found.byteLength} of ${bytes.byteLength} bytes, and not the acknowledged ones`,
        );
      const is_compressed = content.headers.get("content-encoding") === "zstd";
      if (is_compressed !== (coding === "zstd")) faults.push(`artifact ${id}: not sent as ${coding}`);
      if (is_compressed) this.stats.compressed_reads += 1;
    }
    return faults;
  }

  async #verifyGrowing(server: Server, index: number): Promise<string[]> {
    const one = this.#growing[index] ?? null;
    if (one === null) return [];
    const where = `open artifact ${one.id} (${one.state}, ${one.bytes.byteLength} and ${one.pending.byteLength} bytes)`;
    const answer = await server.call("GET", `/v1/artifacts/${one.id}`);
    const text = await answer.text();
    if (answer.status === 404 && one.state === "new") return [];
    if (one.state === "deleting" && (answer.status === 410 || answer.status === 404)) {
      this.#growing[index] = null;
      return [];
    }
    if (answer.status !== 200) return [`${where}: ${answer.status} ${text}`];
    const { state } = JSON.parse(text) as { state: string };
    if (state === "sealed") {
      if (one.state !== "sealing") return [`${where}: it is sealed`];
      return this.#verifyWhole(server, this.#becomeWhole(one, index));
    }
    const content = await server.call("GET", `/v1/artifacts/${one.id}/content`, undefined, {
      "accept-encoding": "identity",
    });
    const found = Buffer.from(await content.arrayBuffer());
    const told = Number(content.headers.get("upload-offset"));
    const sent = Buffer.concat([one.bytes, one.pending]);
    if (content.status !== 200 || told !== found.byteLength)
      return [`${where}: ${content.status}, ${found.byteLength} bytes and the offset ${told}`];
    if (found.byteLength < one.bytes.byteLength || !isPrefix(found, sent))
      return [`${where}: ${found.byteLength} bytes that are not the acknowledged ones`];
    // One that was never acknowledged is sent again as a whole, under the same id.
    if (one.state === "new") return [];
    one.bytes = found;
    one.pending = Buffer.alloc(0);
    if (one.state === "sealing") one.sealed_so = found;
    one.state = "open";
    return [];
  }

  /** What an upload without an id left, under the id that the server gave it. */
  async #adoptNameless(server: Server): Promise<string[]> {
    const faults: string[] = [];
    for (const sent of this.#nameless.splice(0)) {
      const { items } = await json<{ items: { id: string }[] }>(
        server.call("GET", `/v1/artifacts?sha256=${sent.sha256}&construct_id=${sent.construct_id}&limit=200`),
      );
      for (const { id } of items) {
        if (this.#whole.has(id)) continue;
        const whole = wholeOf({ ...sent, id }, sent.bytes, "there");
        this.#whole.set(id, whole);
        faults.push(...(await this.#verifyWhole(server, whole)));
      }
    }
    return faults;
  }

  /** No row without its file; and, once garbage is collected, no file without its row. */
  async #verifyFiles(server: Server, data_dir: string): Promise<string[]> {
    const dry = await json<GarbageReport>(server.call("POST", "/v1/gc?dry_run=true"));
    await Bun.sleep(CLOCK_STEP_MS);
    const report = await json<GarbageReport>(server.call("POST", "/v1/gc?grace_ms=0"));
    this.stats.left_files += report.unreferenced_files.length + report.temporary_files.length;
    for (const whole of this.#whole.values()) if (whole.state === "deleted") whole.purgeable = true;
    const known = new Set([
      ...[...this.#whole.values()].filter(({ state }) => state === "there").map(({ id }) => id),
      ...this.#growing.flatMap((one) => (one === null ? [] : [one.id])),
    ]);
    return [
      ...dry.missing.map((row) => `gc says missing: ${JSON.stringify(row)}`),
      ...filesAgainstRows(data_dir, known),
    ];
  }

  /** Of what was deleted only the newest are asked for again; what never came is given up when it was seen to be gone. */
  #forget(): void {
    const deleted = [...this.#whole.values()].filter(({ state }) => state === "deleted");
    for (const { id } of deleted.slice(0, -DELETED_COUNT)) this.#whole.delete(id);
    for (const whole of this.#whole.values()) if (whole.state === "deleting") whole.state = "there";
  }

  somePaths(): { whole: string; growing: string } {
    const whole = this.#there().find(({ bytes }) => bytes.byteLength > 1_000);
    const growing = this.#growing.find((one) => one?.state === "open" && one.bytes.byteLength > 1_000);
    if (whole === undefined || growing == null) throw new Error("the load has nothing large enough yet");
    const folder = ({ construct_id, type }: Place): string =>
      `artifacts/${construct_id.slice(-2)}/${construct_id}/${type}`;
    return {
      whole: `${folder(whole)}/${whole.sha256}`,
      growing: `${folder(growing)}/${growing.id}.open`,
    };
  }
}

/** A load with constructs of its own on this server. */
export async function createArtifactLoad(server: Server): Promise<ArtifactLoad> {
  const constructs: string[] = [];
  for (let index = 0; index < 3; index += 1) {
    const made = await json<{ id: string }>(server.call("POST", "/v1/constructs", { title: "artifacts" }));
    constructs.push(made.id);
  }
  return new MixedArtifacts(constructs);
}
