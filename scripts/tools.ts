/**
 * Programs that the tests need and npm does not have: which they are, where they are, and how a Debian machine gets
 * them. What is missing afterwards is named; who asked decides what that means.
 */
import { existsSync } from "node:fs";
import { delimiter } from "node:path";

/** The program, and the Debian package that has it. */
export const TOOLS = {
  strace: "strace",
  zstd: "zstd",
  setpriv: "util-linux",
  mount: "mount",
  losetup: "mount",
  "mkfs.ext4": "e2fsprogs",
  python3: "python3",
  chromium: "chromium",
  nginx: "nginx-light",
} as const;

export type ToolName = keyof typeof TOOLS;

function isToolName(name: string): name is ToolName {
  return Object.hasOwn(TOOLS, name);
}

/** What the tests need; nginx is for the benchmark only. */
const TEST_TOOLS: readonly ToolName[] = Object.keys(TOOLS)
  .filter(isToolName)
  .filter((name) => name !== "nginx");

export interface ToolReport {
  installed: ToolName[];
  missing: ToolName[];
  /** Why there was no installation, or how it went wrong; empty when all is well. */
  reason: string;
}

/** Browsers have another name on some systems. */
const OTHER_NAMES: Partial<Record<ToolName, readonly string[]>> = {
  chromium: ["chromium-browser", "google-chrome"],
};

/** Where programs for root are; a user's PATH often leaves these out. */
const ROOT_FOLDERS = ["/usr/sbin", "/sbin"];

const APT_MS = 240_000;

/** The absolute path of a program, or null. */
export function findTool(name: ToolName): string | null {
  const PATH = [process.env["PATH"] ?? "", ...ROOT_FOLDERS].join(delimiter);
  const names = [name, ...(OTHER_NAMES[name] ?? [])];
  return names.map((each) => Bun.which(each, { PATH })).find((path) => path !== null) ?? null;
}

/** Installs those of the tools that are missing, where that is possible: as root on Debian and its kin. */
export async function ensureTools(names: readonly ToolName[] = TEST_TOOLS): Promise<ToolReport> {
  const absent = names.filter((name) => findTool(name) === null);
  if (absent.length === 0) return { installed: [], missing: [], reason: "" };
  const reason = await installPackages([...new Set(absent.map((name) => TOOLS[name]))]);
  const missing = absent.filter((name) => findTool(name) === null);
  return { installed: absent.filter((name) => !missing.includes(name)), missing, reason };
}

async function installPackages(packages: readonly string[]): Promise<string> {
  if (!existsSync("/etc/debian_version") || Bun.which("apt-get") === null) return "this is not Debian";
  if (process.getuid?.() !== 0) return "only root can install packages";
  const updated = await apt(["update"]);
  if (updated !== "") return updated;
  return apt(["install", "-y", "--no-install-recommends", ...packages]);
}

/** Runs apt-get quietly; gives the last lines of what it said when it failed. */
async function apt(words: readonly string[]): Promise<string> {
  const options = ["-o", "DPkg::Lock::Timeout=120", "-o", "Acquire::Retries=2"];
  const child = Bun.spawn(["apt-get", ...options, ...words], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: APT_MS,
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if ((await child.exited) === 0) return "";
  return `apt-get ${words[0]} failed: ${`${stdout}\n${stderr}`.trim().split("\n").slice(-5).join("\n")}`;
}
