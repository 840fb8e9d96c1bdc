/**
 * Real files: every artifact and terminal log of the corpus goes up to the compiled binary and comes down again, byte for
 * byte, as identity, as zstd, by range and by line, before and after compression; what the text ones take is summed.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { zstdDecompressSync } from "node:zlib";
import type { Artifact } from "../../src/schema/artifact.ts";
import { type CampaignOptions, type CampaignResult, createRandom, type Random } from "../support/campaign.ts";
import { CORPUS, has_corpus } from "../support/corpus.ts";
import { json, type Server, startServer } from "../support/server.ts";

const OWN = resolve(import.meta.dir, "../fixtures");
/** Text ones may take so much of their size. */
const TEXT_SHARE = 0.25;

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

/** A log like those of the corpus, for a clone that has none. */
function madeLog(): Buffer {
  const lines = Array.from(
    { length: 9_000 },
    (_, index) => `2026-01-01T00:00:${index % 60}Z step ${index * 7_919} of the build`,
  );
  return Buffer.from(lines.join("\n"));
}

/** The corpus, or the few samples that every clone has and a log. */
function pickFiles(size: "short" | "full"): { path: string; bytes: Buffer }[] {
  const paths = has_corpus
    ? ["artifacts", "terminal"].flatMap((name) => filesBelow(join(CORPUS, name)))
    : filesBelow(OWN);
  const wanted = paths.filter((path) => statSync(path).size > 0);
  const step = size === "full" ? 1 : Math.ceil(wanted.length / 40);
  const picked = wanted.filter((_, index) => index % step === 0);
  const files = picked.map((path) => ({ path, bytes: readFileSync(path) }));
  return has_corpus ? files : [...files, { path: "made.log", bytes: madeLog() }];
}

interface Sent {
  path: string;
  bytes: Buffer;
  artifact: Artifact;
}

async function compare(
  server: Server,
  { path, bytes, artifact }: Sent,
  random: Random,
  fail: (what: string) => void,
): Promise<void> {
  const url = `/v1/artifacts/${artifact.id}/content`;
  // What is damaged breaks off.
  const plain = await server
    .call("GET", url, undefined, { "accept-encoding": "identity" })
    .then(async (answer) => Buffer.from(await answer.bytes()))
    .catch(() => Buffer.alloc(0));
  if (!plain.equals(bytes)) return fail(`${path}: other bytes as identity`);
  const packed = await fetch(new URL(url, server.url), {
    headers: { authorization: `Bearer ${server.token}`, "accept-encoding": "zstd" },
    decompress: false,
  });
  const raw = Buffer.from(await packed.bytes());
  const decoded = packed.headers.get("content-encoding") === "zstd" ? zstdDecompressSync(raw) : raw;
  if (!decoded.equals(bytes)) fail(`${path}: other bytes as zstd`);
  for (let round = 0; round < 4; round += 1) {
    const start = random.int(bytes.byteLength);
    const end = start + random.int(bytes.byteLength - start);
    const part = await server.call("GET", url, undefined, { range: `bytes=${start}-${end}` });
    if (!Buffer.from(await part.bytes()).equals(bytes.subarray(start, end + 1)))
      fail(`${path}: other bytes in ${start}-${end}`);
  }
  const lines = bytes.toString("utf8").split("\n");
  if (lines.at(-1) === "") lines.pop();
  const from = 1 + random.int(lines.length);
  for (const query of [`from=${from}&count=20`, "tail=7"]) {
    const page = await json<{ items: { line: number; text: string; line_bytes?: number }[] }>(
      server.call("GET", `/v1/artifacts/${artifact.id}/lines?${query}`),
    );
    for (const { line, text, line_bytes } of page.items) {
      const whole = lines[line - 1] ?? "";
      const is_right = line_bytes === undefined ? text === whole : whole.startsWith(text.slice(0, -4));
      if (!is_right) fail(`${path}: another line ${line}`);
    }
    if (page.items.length === 0) fail(`${path}: no lines for ${query}`);
  }
}

export function run(options: CampaignOptions): Promise<CampaignResult> {
  return upAndDown(options, () => undefined);
}

/** With one byte changed behind the server's back: a check that does not notice is blind. */
export function control(options: CampaignOptions): Promise<CampaignResult> {
  return upAndDown({ ...options, size: "short" }, (data_dir) => {
    const [path = ""] = filesBelow(join(data_dir, "artifacts"))
      .filter((name) => name.endsWith(".zst"))
      .sort((a, b) => statSync(b).size - statSync(a).size);
    const bytes = readFileSync(path);
    bytes[100] = (bytes[100] ?? 0) ^ 1;
    writeFileSync(path, bytes);
  });
}

async function upAndDown(
  { seed, size, log }: CampaignOptions,
  spoil: (data_dir: string) => void,
): Promise<CampaignResult> {
  const began = performance.now();
  const random = createRandom(seed);
  const failures: string[] = [];
  const fail = (what: string): void => void failures.push(what);
  const data_dir = mkdtempSync(join(tmpdir(), "synthetic-artifact-corpus-"));
  const server = await startServer({ data_dir });
  try {
    const { id: construct_id } = await json<{ id: string }>(
      server.call("POST", "/v1/constructs", { title: "corpus" }),
      201,
    );
    const sent: Sent[] = [];
    for (const { path, bytes } of pickFiles(size)) {
      const query = new URLSearchParams({ construct_id, name: basename(path) });
      const artifact = await json<Artifact>(
        server.call("POST", `/v1/artifacts?${query.toString()}`, bytes, {
          "content-type": "application/octet-stream",
        }),
        201,
      );
      const wanted = new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
      if (artifact.sha256 !== wanted || artifact.size_bytes !== bytes.byteLength)
        fail(`${path}: ${artifact.sha256}`);
      sent.push({ path, bytes, artifact });
      await compare(server, { path, bytes, artifact }, random, fail);
    }
    log(`artifact-corpus: ${sent.length} files are up`);
    const settled = await settle(server, sent);
    spoil(data_dir);
    let text_bytes = 0;
    let text_stored_bytes = 0;
    for (const { row, item } of settled) {
      await compare(server, item, random, fail);
      if (row.encoding !== "zstd") continue;
      text_bytes += row.size_bytes;
      text_stored_bytes += row.stored_bytes ?? 0;
    }
    const share = text_stored_bytes / text_bytes;
    if (has_corpus && size === "full" && !(share <= TEXT_SHARE))
      fail(`text takes ${share.toFixed(3)} of its size`);
    return {
      cases: sent.length * 16,
      failures,
      notes: {
        seed,
        files: sent.length,
        bytes: sent.reduce((sum, { bytes }) => sum + bytes.byteLength, 0),
        compressed_files: settled.filter(({ row }) => row.encoding === "zstd").length,
        text_share: Number(share.toFixed(3)),
        seconds: Number(((performance.now() - began) / 1_000).toFixed(1)),
      },
    };
  } finally {
    await server.stop("SIGKILL");
    rmSync(data_dir, { recursive: true, force: true });
  }
}

/** The rows once nothing is compressed any more. */
async function settle(server: Server, sent: readonly Sent[]): Promise<{ row: Artifact; item: Sent }[]> {
  let before = "";
  for (;;) {
    const rows = await Promise.all(
      sent.map(async (item) => ({
        row: await json<Artifact>(server.call("GET", `/v1/artifacts/${item.artifact.id}`)),
        item,
      })),
    );
    const now = JSON.stringify(rows.map(({ row }) => row.encoding));
    if (now === before) return rows;
    before = now;
    await Bun.sleep(1_000);
  }
}
