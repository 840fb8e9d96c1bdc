/** A filesystem of a few mebibytes that can be filled and emptied, for tests of a full disk. Needs Linux and root. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface SmallDisk {
  path: string;
  bytes: number;
  /** Bytes that files take. */
  used(): number;
  /** Takes space away: this much, or all that is left but `spare_bytes`. Gives how much it took. */
  fill(bytes: number, spare_bytes?: number): number;
  /** Gives it back. */
  free(): void;
  unmount(): void;
}

/** Null, with the reason in words, where this machine does not let us. */
export function mountSmallDisk(bytes: number): SmallDisk | string {
  const path = mkdtempSync(join(tmpdir(), "synthetic-small-"));
  const mounted = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", `size=${bytes},mode=0700`, "tmpfs", path]);
  if (mounted.exitCode !== 0) {
    rmSync(path, { recursive: true, force: true });
    return `mount -t tmpfs: ${mounted.stderr.toString().trim() || `exit code ${mounted.exitCode}`}`;
  }
  const ballast = join(path, "ballast");
  const used = (): number =>
    Number(Bun.spawnSync(["df", "--output=used", "-B1", path]).stdout.toString().trim().split("\n").at(-1));
  return {
    path,
    bytes,
    used,
    fill(wanted, spare_bytes = 0) {
      const taken = Math.max(0, Math.min(wanted, bytes - used() - spare_bytes));
      writeFileSync(ballast, Buffer.alloc(taken, 1));
      return taken;
    },
    free: () => rmSync(ballast, { force: true }),
    unmount() {
      if (Bun.spawnSync(["umount", path]).exitCode !== 0) Bun.spawnSync(["umount", "-l", path]);
      rmSync(path, { recursive: true, force: true });
    },
  };
}
