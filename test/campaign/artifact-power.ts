/**
 * Power loss with artifacts: an ext4 filesystem is shut down under load, mounted again, and everything acknowledged is
 * looked for. Two arms: the compiled binary under a mixed load of artifacts, first ones of new constructs among them; and
 * a writer over src/blob alone, once as it is and once, as the control, without syncing folders, where the campaign must
 * see a loss. Needs root, loop devices and python3.
 */
import { createHash } from "node:crypto";
import { join, resolve } from "node:path";
import type { BlobKey } from "../../src/blob/contract.ts";
import { createArtifactLoad } from "../support/artifact-load.ts";
import { blobsIn } from "../support/blobs.ts";
import { type CampaignOptions, type CampaignResult, createRandom, type Random } from "../support/campaign.ts";
import { powerHindrance, withPowerDisk } from "../support/power-disk.ts";
import { type Server, startServer } from "../support/server.ts";
import { isCi } from "../support/tools.ts";
import { WITH_PARENT } from "../support/verify.ts";

const CYCLES = { short: 1, full: 10 };
/** How long the load goes on before the power goes, and how many the writer stores before it does. */
const LOAD_MS = { short: 500, full: 2_000 };
const WRITTEN_COUNT = { short: 12, full: 60 };
const WRITER = resolve(import.meta.dir, "../support/artifact-power-writer.ts");
const WRITTEN_MS = 20_000;

type Log = CampaignOptions["log"];

// ---------------------------------------------------------------- the binary

interface Cuts {
  failures: string[];
  notes: Record<string, number>;
}

/** The compiled binary under mixed load on one disk whose power is cut again and again. */
function cutBinary(count: number, random: Random, most_ms: number, log: Log): Promise<Cuts> {
  return withPowerDisk(async (disk) => {
    const { data_dir } = disk;
    const failures: string[] = [];
    const start = (): Promise<Server> => startServer({ data_dir, wrapper: [...WITH_PARENT] });
    let server = await start();
    try {
      const load = await createArtifactLoad(server);
      for (let cycle = 1; cycle <= count; cycle += 1) {
        const loaded = load.run(server, random);
        await Bun.sleep(most_ms / 2 + random.int(most_ms / 2));
        // From here on a 5xx is right; an answer that comes in spite of it has to be true.
        load.expectTrouble();
        disk.cut();
        await Bun.sleep(random.int(100));
        await server.stop("SIGKILL");
        load.stop();
        await loaded;
        await disk.remount();
        server = await start();
        const found = await load.verify(server, data_dir);
        failures.push(...found.map((failure) => `cut ${cycle}: ${failure}`));
        log(`binary: cut ${cycle} of ${count}, ${failures.length} failures`);
      }
      return { failures, notes: { ...load.stats } };
    } finally {
      await server.stop("SIGKILL");
    }
  });
}

// ---------------------------------------------------------------- one writer, with its folders synced or not

interface Told {
  key: BlobKey;
  size_bytes: number;
}

interface Loss {
  acknowledged: number;
  lost: number;
}

/** What the writer acknowledged; throws when it does not come to its end. */
async function listen(child: Bun.Subprocess<"ignore", "pipe", "pipe">): Promise<Told[]> {
  const timer = setTimeout(() => child.kill("SIGKILL"), WRITTEN_MS);
  let text = "";
  for await (const part of child.stdout) {
    text += new TextDecoder().decode(part);
    if (text.endsWith("done\n")) break;
  }
  clearTimeout(timer);
  if (!text.endsWith("done\n")) throw new Error(`the writer stopped: ${await child.stderr.text()}`);
  return text
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as Told);
}

async function isThere(root: string, { key, size_bytes }: Told): Promise<boolean> {
  const blob = await blobsIn(root)
    .open(key)
    .catch(() => null);
  if (blob === null) return false;
  try {
    const hasher = createHash("sha256");
    for await (const piece of blob.read(0, blob.size_bytes)) hasher.update(piece);
    return blob.size_bytes === size_bytes && hasher.digest("hex") === key.sha256;
  } finally {
    await blob.close();
  }
}

/** What a cut takes of the acknowledged ones. */
function lossOf(syncing: "sync" | "no-sync", count: number): Promise<Loss> {
  return withPowerDisk(async (disk) => {
    const root = join(disk.data_dir, "artifacts");
    const words = [...WITH_PARENT, process.execPath, WRITER, root, syncing, String(count)];
    const child = Bun.spawn(words, { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
    try {
      const told = await listen(child);
      disk.cut();
      child.kill("SIGKILL");
      await child.exited;
      await disk.remount();
      let lost = 0;
      for (const one of told) if (!(await isThere(root, one))) lost += 1;
      return { acknowledged: told.length, lost };
    } finally {
      child.kill("SIGKILL");
      await child.exited;
    }
  });
}

/** Both in turn, each on a disk of its own. */
async function cutWriters(
  cycles: number,
  most: number,
  random: Random,
  log: Log,
): Promise<{ sync: Loss; "no-sync": Loss }> {
  const total = { sync: { acknowledged: 0, lost: 0 }, "no-sync": { acknowledged: 0, lost: 0 } };
  for (let cycle = 1; cycle <= cycles; cycle += 1) {
    const count = 1 + random.int(most);
    for (const arm of ["sync", "no-sync"] as const) {
      const { acknowledged, lost } = await lossOf(arm, count);
      total[arm].acknowledged += acknowledged;
      total[arm].lost += lost;
      log(`writer: cut ${cycle} of ${cycles}: folders ${arm}: lost ${lost} of ${acknowledged}`);
    }
  }
  return total;
}

export async function run({ seed, size, log }: CampaignOptions): Promise<CampaignResult> {
  const reason = powerHindrance();
  if (reason !== null) {
    log(`artifact-power: NOT RUN, ${reason}`);
    // Where the answer counts, a campaign that is left out is one that failed.
    return { cases: 0, failures: isCi() ? [`not run: ${reason}`] : [], notes: { not_run: reason } };
  }
  const random = createRandom(seed);
  const cycles = CYCLES[size];
  const binary = await cutBinary(cycles, random, LOAD_MS[size], log);
  const { sync, "no-sync": control } = await cutWriters(cycles, WRITTEN_COUNT[size], random, log);
  const failures = [...binary.failures];
  if (sync.lost > 0) failures.push(`the writer lost ${sync.lost} acknowledged artifacts`);
  if (control.lost === 0)
    failures.push("the control that does not sync folders lost nothing: the campaign is blind");
  return {
    cases: cycles * 3,
    failures,
    notes: {
      ...binary.notes,
      writer_acknowledged: sync.acknowledged,
      writer_lost: sync.lost,
      control_acknowledged: control.acknowledged,
      control_lost: control.lost,
    },
  };
}
