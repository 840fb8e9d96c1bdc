/**
 * Power loss: an ext4 filesystem on a loop device is shut down under load, so that everything that was not synced is
 * gone (facts 55); it is mounted again, the server is started again, and everything acknowledged is looked for. Two
 * arms: the compiled binary under mixed load; and one writer, once with synchronous=FULL and once, as the control, with
 * OFF, where the campaign must see a loss: a harness whose control does not lose is blind. Needs root, loop devices and
 * python3.
 */
import { resolve } from "node:path";
import { type CampaignOptions, type CampaignResult, createRandom, type Random } from "../support/campaign.ts";
import { powerHindrance, withPowerDisk } from "../support/power-disk.ts";
import { type Server, startServer } from "../support/server.ts";
import { isCi } from "../support/tools.ts";
import { fetchTranscript } from "../support/transcript.ts";
import { createWorkload, WITH_PARENT } from "../support/verify.ts";

const CYCLES = { short: 1, full: 10 };
const WRITER = resolve(import.meta.dir, "../support/power-writer.ts");
const ENV = { SYNTHETIC_SEAL_IDLE_MS: "100" };
/** Both writers have said so much before the power may go. */
const FIRST_ENTRIES = 50;
const FIRST_MS = 20_000;

// ---------------------------------------------------------------- the binary

interface Cuts {
  failures: string[];
  requests: number;
  entries: number;
  unanswered_stored: number;
}

/** The compiled binary under mixed load on one disk whose power is cut again and again. */
function cutBinary(count: number, random: Random, log: CampaignOptions["log"]): Promise<Cuts> {
  return withPowerDisk(async (disk) => {
    const failures: string[] = [];
    let server: Server = await startServer({ data_dir: disk.data_dir, env: ENV, wrapper: [...WITH_PARENT] });
    try {
      const workload = await createWorkload(server);
      for (let cycle = 1; cycle <= count; cycle += 1) {
        const loaded = workload.run(server, random);
        await Bun.sleep(300 + random.int(1_700));
        // From here on a 5xx is right; an answer that comes in spite of it has to be true.
        workload.expectTrouble();
        disk.cut();
        await Bun.sleep(random.int(200));
        await server.stop("SIGKILL");
        await loaded;
        await disk.remount();
        server = await startServer({ data_dir: disk.data_dir, env: ENV, wrapper: [...WITH_PARENT] });
        failures.push(...(await workload.verify(server)).map((failure) => `cut ${cycle}: ${failure}`));
        log(`binary: cut ${cycle} of ${count}, ${failures.length} failures`);
      }
      const { requests, entries, found } = workload.stats;
      return { failures, requests, entries, unanswered_stored: found };
    } finally {
      await server.stop("SIGKILL");
    }
  });
}

// ---------------------------------------------------------------- one writer, FULL or OFF

interface Loss {
  acknowledged: number;
  lost: number;
}

/** Reads what the writer says; throws when it says too little. */
async function listen(child: Bun.Subprocess<"ignore", "pipe", "pipe">): Promise<{ lines: () => string[] }> {
  let text = "";
  const read = (async () => {
    for await (const part of child.stdout) text += new TextDecoder().decode(part);
  })();
  const lines = (): string[] => text.split("\n").slice(0, -1);
  const deadline = performance.now() + FIRST_MS;
  while (lines().length <= FIRST_ENTRIES) {
    const ended = await Promise.race([read.then(() => true), Bun.sleep(10).then(() => false)]);
    if (ended || performance.now() > deadline)
      throw new Error(`the writer stopped: ${await child.stderr.text()}`);
  }
  return { lines };
}

/** How many of the acknowledged entries are there, from the first on, in order and with their bodies. */
async function survivors(data_dir: string, session_id: string, acknowledged: number): Promise<number> {
  let server: Server;
  try {
    server = await startServer({ data_dir, env: ENV, wrapper: [...WITH_PARENT] });
  } catch {
    // The store itself is gone, or no store any more.
    return 0;
  }
  try {
    const { lines, faults } = await fetchTranscript(server, session_id);
    const wrong = lines.findIndex(
      ({ seq, body }, index) => seq !== index + 1 || !body.startsWith(`{"number":${seq},`),
    );
    return faults.length > 0 ? 0 : Math.min(wrong === -1 ? lines.length : wrong, acknowledged);
  } catch {
    return 0;
  } finally {
    await server.stop("SIGKILL");
  }
}

/** What a cut takes of the acknowledged entries with this setting. */
function lossOf(synchronous: "FULL" | "OFF", run_ms: number): Promise<Loss> {
  return withPowerDisk(async (disk) => {
    const child = Bun.spawn([...WITH_PARENT, process.execPath, WRITER, disk.data_dir, synchronous], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    try {
      const { lines } = await listen(child);
      await Bun.sleep(run_ms);
      // Only what was acknowledged before the cut counts.
      const [session_id = "", ...numbers] = lines();
      disk.cut();
      child.kill("SIGKILL");
      await child.exited;
      await disk.remount();
      const acknowledged = Number(numbers.at(-1));
      return {
        acknowledged,
        lost: acknowledged - (await survivors(disk.data_dir, session_id, acknowledged)),
      };
    } finally {
      child.kill("SIGKILL");
      await child.exited;
    }
  });
}

/** Both settings in turn, each for the same time and on a disk of its own. */
async function cutWriters(
  cycles: number,
  random: Random,
  log: CampaignOptions["log"],
): Promise<{ full: Loss; off: Loss }> {
  const total = { full: { acknowledged: 0, lost: 0 }, off: { acknowledged: 0, lost: 0 } };
  for (let cycle = 1; cycle <= cycles; cycle += 1) {
    const run_ms = 200 + random.int(1_000);
    for (const arm of ["full", "off"] as const) {
      const { acknowledged, lost } = await lossOf(arm === "full" ? "FULL" : "OFF", run_ms);
      total[arm].acknowledged += acknowledged;
      total[arm].lost += lost;
      log(
        `writer: cut ${cycle} of ${cycles}: synchronous=${arm.toUpperCase()} lost ${lost} of ${acknowledged}`,
      );
    }
  }
  return total;
}

export async function run({ seed, size, log }: CampaignOptions): Promise<CampaignResult> {
  const reason = powerHindrance();
  if (reason !== null) {
    log(`power: NOT RUN, ${reason}`);
    // Where the answer counts, a campaign that is left out is one that failed.
    return { cases: 0, failures: isCi() ? [`not run: ${reason}`] : [], notes: { not_run: reason } };
  }
  const random = createRandom(seed);
  const cycles = CYCLES[size];
  const binary = await cutBinary(cycles, random, log);
  const { full, off } = await cutWriters(cycles, random, log);
  const failures = [...binary.failures];
  if (full.lost > 0) failures.push(`the writer with synchronous=FULL lost ${full.lost} acknowledged entries`);
  if (off.lost === 0) failures.push("the control with synchronous=OFF lost nothing: the campaign is blind");
  return {
    cases: cycles * 3,
    failures,
    notes: {
      acknowledged_requests: binary.requests,
      acknowledged_entries: binary.entries,
      unanswered_stored: binary.unanswered_stored,
      writer_acknowledged: full.acknowledged,
      writer_lost: full.lost,
      control_acknowledged: off.acknowledged,
      control_lost: off.lost,
    },
  };
}
