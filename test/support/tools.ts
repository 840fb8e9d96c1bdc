/**
 * What a test needs from the machine: programs, root, a loop device. A test that cannot run says so loudly and counts
 * as skipped; with CI set it fails, so that a gate never passes by leaving tests out.
 */
import { describe, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findTool, type ToolName } from "../../scripts/tools.ts";

/** A program, or something that the machine must allow. */
export type Need = ToolName | "root" | "loop mount";

export interface Gated {
  describe: (title: string, body: () => void) => void;
  test: (title: string, body: () => void | Promise<unknown>, timeout_ms?: number) => void;
}

/** The absolute path of a program, or null when it is not here. */
export function tool(name: ToolName): string | null {
  return findTool(name);
}

export function isRoot(): boolean {
  return process.getuid?.() === 0;
}

let loop_answer: boolean | undefined;

/** Whether a file can be mounted as an ext4 filesystem here. Tried once, with 2 MiB, and undone. */
export function canMountLoop(): boolean {
  loop_answer ??= isRoot() && tryLoopMount();
  return loop_answer;
}

function succeeds(...command: string[]): boolean {
  return Bun.spawnSync(command, { stdin: "ignore", stdout: "ignore", stderr: "ignore" }).success;
}

function tryLoopMount(): boolean {
  const [mkfs, mount, losetup] = [tool("mkfs.ext4"), tool("mount"), tool("losetup")];
  if (mkfs === null || mount === null || losetup === null) return false;
  const folder = mkdtempSync(join(tmpdir(), "synthetic-loop-"));
  const [image, target] = [join(folder, "image"), join(folder, "target")];
  try {
    writeFileSync(image, "");
    truncateSync(image, 2 * 1024 * 1024);
    mkdirSync(target);
    if (!succeeds(mkfs, "-q", "-F", image) || !succeeds(mount, "-o", "loop", image, target)) return false;
    return succeeds("umount", target);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function isMet(need: Need): boolean {
  if (need === "root") return isRoot();
  if (need === "loop mount") return canMountLoop();
  return tool(need) !== null;
}

/** Whether the run is one whose answer counts for others. */
export function isCi(): boolean {
  return !["", "0", "false"].includes(process.env["CI"] ?? "");
}

const RUNNING: Gated = { describe, test };
const SKIPPING: Gated = { describe: describe.skip, test: (title, body) => test.skip(title, body) };

/**
 * `describe` and `test` that run when all needs are met. Otherwise they skip and say `reason` (what goes untested) on
 * stderr, or, with CI set, fail under the same titles.
 */
export function skipWithout(needs: readonly Need[], reason: string): Gated {
  const missing = needs.filter((need) => !isMet(need));
  if (missing.length === 0) return RUNNING;
  const message = `${reason}: there is no ${missing.join(", no ")} here`;
  if (isCi()) return failing(message);
  process.stderr.write(`\n!!! SKIPPED: ${message}\n`);
  return SKIPPING;
}

function failing(message: string): Gated {
  const fail = (): never => {
    throw new Error(message);
  };
  return {
    describe: (title) => describe(title, () => test("has what it needs", fail)),
    test: (title) => test(title, fail),
  };
}
