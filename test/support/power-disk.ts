/**
 * A disk whose power can be cut: an ext4 filesystem on a loop device that is shut down, so that everything that was not
 * synced is gone (facts 55). Needs root, loop devices and python3.
 */
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { canMountLoop, tool } from "./tools.ts";

const DISK_BYTES = 512 << 20;
/** _IOR('X', 125, u32) with EXT4_GOING_FLAGS_NOLOGFLUSH: drops what is not on the disk (fs/ext4/ext4.h). */
const SHUTDOWN = `import fcntl,os,struct,sys; fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack("I", 2))`;
/** A process that has just been killed may hold it a moment longer. */
const UNMOUNT_ATTEMPTS = 50;

function command(program: "mkfs.ext4" | "mount" | "python3", ...words: string[]): void {
  const line = [tool(program) ?? program, ...words];
  const { success, stderr } = Bun.spawnSync(line, { stdin: "ignore", stdout: "ignore", stderr: "pipe" });
  if (!success) throw new Error(`${line.join(" ")}: ${stderr.toString()}`);
}

export class PowerDisk {
  readonly #place = mkdtempSync(join(tmpdir(), "synthetic-power-"));
  readonly #image = join(this.#place, "image");
  readonly #folder = join(this.#place, "disk");
  /** A folder on it that is not there at first. */
  readonly data_dir = join(this.#folder, "data");
  #mounted = false;

  constructor() {
    writeFileSync(this.#image, "");
    truncateSync(this.#image, DISK_BYTES);
    mkdirSync(this.#folder);
    command("mkfs.ext4", "-q", "-F", this.#image);
    this.#mount();
  }

  /** The loop device goes with the mount. */
  #mount(): void {
    command("mount", "-o", "loop", this.#image, this.#folder);
    this.#mounted = true;
  }

  /** The power goes: nothing that was not synced will be there after the next mount. */
  cut(): void {
    command("python3", "-c", SHUTDOWN, this.#folder);
  }

  /** The power is back. Nobody may hold the disk. */
  async remount(): Promise<void> {
    for (let attempt = 1; this.#mounted; attempt += 1) {
      const { success, stderr } = Bun.spawnSync(["umount", this.#folder], { stderr: "pipe" });
      if (success) this.#mounted = false;
      else if (attempt === UNMOUNT_ATTEMPTS) throw new Error(`umount: ${stderr.toString()}`);
      else await Bun.sleep(100);
    }
    this.#mount();
  }

  /** For the end, also a bad one: whatever holds it, it goes. */
  remove(): void {
    if (this.#mounted) Bun.spawnSync(["umount", "-l", this.#folder]);
    this.#mounted = false;
    rmSync(this.#place, { recursive: true, force: true });
  }
}

/** A disk for as long as the work lasts, also when that is ended by a signal. */
export async function withPowerDisk<T>(work: (disk: PowerDisk) => Promise<T>): Promise<T> {
  const disk = new PowerDisk();
  const leave = (): void => {
    disk.remove();
    process.exit(130);
  };
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, leave);
  try {
    return await work(disk);
  } finally {
    for (const signal of ["SIGINT", "SIGTERM"]) process.off(signal, leave);
    disk.remove();
  }
}

/** Why the power cannot be cut here, or null. */
export function powerHindrance(): string | null {
  if (!canMountLoop()) return "only root on a machine with loop devices and ext4 can cut a disk's power";
  return tool("python3") === null ? "there is no python3 here" : null;
}
