/**
 * Power loss: an ext4 filesystem on a loop device is shut down under load, so that everything that was not synced is
 * gone (facts 55); it is mounted again and everything acknowledged is looked for. Two arms: the compiled binary under
 * mixed load, and a writer in process that runs once with synchronous=FULL and once, as the control, with OFF, where
 * the campaign must see a loss: a harness whose control does not lose is blind. Needs root, loop devices and python3.
 */
import { Database } from "bun:sqlite";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CampaignOptions, type CampaignResult, createRandom, type Random } from "../support/campaign.ts";
import { startServer } from "../support/server.ts";
import { createWorkload } from "../support/workload.ts";

const CYCLES = { short: 1, full: 10 };
const DISK_BYTES = 512 << 20;
/** _IOR('X', 125, u32) and EXT4_GOING_FLAGS_NOLOGFLUSH: drops what is not on the disk (fs/ext4/ext4.h). */
const SHUTDOWN = `import fcntl,os,struct,sys; fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack("I", 2))`;

function command(...words: string[]): void {
  const { success, stderr } = Bun.spawnSync(words, { stdout: "ignore", stderr: "pipe" });
  if (!success) throw new Error(`${words.join(" ")}: ${stderr.toString()}`);
}

interface Disk {
  folder: string;
  mount(): void;
  /** The power goes: nothing that was not synced will be there after the next mount. */
  cut(): void;
  unmount(): void;
  remove(): void;
}

function createDisk(): Disk {
  const place = mkdtempSync(join(tmpdir(), "synthetic-power-"));
  const image = join(place, "image");
  const folder = join(place, "disk");
  writeFileSync(image, "");
  truncateSync(image, DISK_BYTES);
  mkdirSync(folder);
  command("mkfs.ext4", "-q", "-F", image);
  let mounted = false;
  const disk: Disk = {
    folder,
    mount() {
      command("mount", "-o", "loop", image, folder);
      mounted = true;
    },
    cut: () => command("python3", "-c", SHUTDOWN, folder),
    unmount() {
      if (mounted) command("umount", folder);
      mounted = false;
    },
    remove() {
      Bun.spawnSync(["umount", "-l", folder]);
      rmSync(place, { recursive: true, force: true });
    },
  };
  return disk;
}

/** The compiled binary under mixed load; after each cut it starts again and everything acknowledged is there. */
async function binaryCycles(
  count: number,
  random: Random,
  log: (line: string) => void,
): Promise<{ failures: string[]; acknowledged: number }> {
  const disk = createDisk();
  const failures: string[] = [];
  try {
    disk.mount();
    const data_dir = join(disk.folder, "data");
    const env = { SYNTHETIC_SEAL_IDLE_MS: "100" };
    const first = await startServer({ data_dir, env });
    const workload = await createWorkload(first);
    await first.stop();
    for (let cycle = 1; cycle <= count; cycle += 1) {
      const server = await startServer({ data_dir, env });
      const loaded = workload.run(server, random);
      await Bun.sleep(300 + random.int(1_500));
      disk.cut();
      await server.stop("SIGKILL");
      await loaded.catch(() => {
        // After the cut the server rightly answers with errors until it is gone.
      });
      disk.unmount();
      disk.mount();
      const again = await startServer({ data_dir, env });
      failures.push(...(await workload.verify(again)).map((failure) => `cut ${cycle}: ${failure}`));
      await again.stop("SIGTERM");
      log(`binary: cut ${cycle} of ${count}, ${failures.length} failures`);
    }
    return { failures, acknowledged: workload.acknowledged_count };
  } finally {
    disk.remove();
  }
}

/** How many acknowledged entries a cut takes, with this setting. */
async function lossOf(
  synchronous: "FULL" | "OFF",
  run_ms: number,
): Promise<{ acknowledged: number; lost: number }> {
  const disk = createDisk();
  try {
    disk.mount();
    const data_dir = join(disk.folder, "data");
    const child = Bun.spawn(
      [process.execPath, join(import.meta.dir, "../support/power-writer.ts"), data_dir, synchronous],
      { stdout: "pipe", stderr: "ignore" },
    );
    let text = "";
    const read = (async () => {
      for await (const part of child.stdout) text += new TextDecoder().decode(part);
    })();
    while (text.split("\n").length < 50) await Bun.sleep(10);
    await Bun.sleep(run_ms);
    // Only what was acknowledged before the cut counts.
    const seen = text;
    disk.cut();
    child.kill("SIGKILL");
    await child.exited;
    await read;
    disk.unmount();
    disk.mount();
    const acknowledged = seen.split("\n").length - 2;
    return { acknowledged, lost: acknowledged - (await survivors(data_dir, acknowledged)) };
  } finally {
    disk.unmount();
    disk.remove();
  }
}

/** How far the acknowledged entries are there, in order; 0 when the store itself is gone. */
async function survivors(data_dir: string, acknowledged: number): Promise<number> {
  if (!existsSync(data_dir) || !readdirSync(data_dir).includes("synthetic.db")) return 0;
  try {
    const db = new Database(join(data_dir, "synthetic.db"));
    const last = Number(db.query("SELECT max(last_seq) FROM session_head").values()[0]?.[0] ?? 0);
    db.close();
    return Math.min(last, acknowledged);
  } catch {
    return 0;
  }
}

export async function run({ seed, size, log }: CampaignOptions): Promise<CampaignResult> {
  const random = createRandom(seed);
  const cycles = CYCLES[size];
  const { failures, acknowledged } = await binaryCycles(cycles, random, log);
  let full_lost = 0;
  let off_lost = 0;
  let off_acknowledged = 0;
  for (let cycle = 1; cycle <= cycles; cycle += 1) {
    const run_ms = 200 + random.int(800);
    const full = await lossOf("FULL", run_ms);
    const off = await lossOf("OFF", run_ms);
    full_lost += full.lost;
    off_lost += off.lost;
    off_acknowledged += off.acknowledged;
    log(
      `writer: cut ${cycle} of ${cycles}: FULL lost ${full.lost} of ${full.acknowledged}, OFF lost ${off.lost} of ${off.acknowledged}`,
    );
  }
  if (full_lost > 0) failures.push(`the writer with synchronous=FULL lost ${full_lost} acknowledged entries`);
  if (off_lost === 0) failures.push("the control with synchronous=OFF lost nothing: the campaign is blind");
  return {
    cases: cycles * 3,
    failures,
    notes: {
      acknowledged_requests: acknowledged,
      full_lost,
      control_lost: off_lost,
      control_acknowledged: off_acknowledged,
    },
  };
}
