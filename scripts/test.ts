/**
 * The gate: tools, types, lint, format, documentation, build, tests, the same on a laptop and in CI. A failing step
 * does not stop the others. The last line is `N passed, N failed` (and `, N skipped` when there are some), in which
 * each step counts as one and each test as one; exit code 1 when anything failed.
 *
 *   npm test                       everything
 *   npm test -- test/lib [-t …]    only `bun test` with these words
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { isCi } from "../test/support/tools.ts";
import { ensureTools } from "./tools.ts";

const ROOT = join(import.meta.dir, "..");
/** What the whole gate may take on two cores; more is said, not failed. */
const BUDGET_MS = 8 * 60_000;
/** A step that is still running then hangs, and is ended. */
const STEP_MS = 10 * 60_000;
const SLOWEST_COUNT = 5;

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

interface Ended {
  exit_code: number;
  output: string;
}

interface Step {
  name: string;
  run: () => Promise<{ verdict: keyof Counts; output: string }>;
}

/** What runs now; a signal to us is for it, too. */
let running: ChildProcess | null = null;

/** Ends a child and everything it started: it leads a process group of its own. */
function endGroup(child: ChildProcess | null, signal: NodeJS.Signals): void {
  try {
    if (child?.pid !== undefined) process.kill(-child.pid, signal);
  } catch {
    // It has ended already.
  }
}

/** Runs Bun with these words and collects what it says; `hear` gets it at once as well. */
function bun(words: readonly string[], hear: (text: string) => void = () => undefined): Promise<Ended> {
  const colours = process.stdout.isTTY ? { FORCE_COLOR: "1" } : {};
  const child = spawn(process.execPath, words, {
    cwd: ROOT,
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
    env: { ...process.env, ...colours },
  });
  running = child;
  let output = "";
  const take = (part: unknown): void => {
    output += String(part);
    hear(String(part));
  };
  child.stdout.setEncoding("utf8").on("data", take);
  child.stderr.setEncoding("utf8").on("data", take);
  const timer = setTimeout(() => {
    take(`\nstill running after ${STEP_MS / 60_000} minutes: ended\n`);
    endGroup(child, "SIGKILL");
  }, STEP_MS);
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", () => endGroup(child, "SIGKILL"));
    child.on("close", (code) => {
      clearTimeout(timer);
      running = null;
      resolve({ exit_code: code ?? 1, output });
    });
  });
}

/** A step that is one command: passed when its exit code is 0. */
function command(name: string, ...words: string[]): Step {
  return {
    name,
    run: async () => {
      const { exit_code, output } = await bun(words);
      return { verdict: exit_code === 0 ? "passed" : "failed", output };
    },
  };
}

/** A program that cannot be had makes tests skip: a failure where the answer counts, and loud anywhere. */
const TOOLS: Step = {
  name: "tools",
  run: async () => {
    const { installed, missing, reason } = await ensureTools();
    if (missing.length === 0)
      return { verdict: "passed", output: installed.length > 0 ? `installed ${installed.join(", ")}` : "" };
    const output = `!!! MISSING: ${missing.join(", ")} (${reason}). Tests that need them ${isCi() ? "fail" : "are skipped"}.`;
    return { verdict: isCi() ? "failed" : "skipped", output };
  },
};

const STEPS: readonly Step[] = [
  TOOLS,
  command("types", "check"),
  command("lint", "node_modules/oxlint/bin/oxlint", "--type-aware", "--deny-warnings"),
  command("format", "fmt", "--check", "src", "test", "scripts"),
  command("docs", "scripts/docs.ts", "--check"),
  command("build", "scripts/build.ts"),
];

function seconds(since_ms: number): string {
  return `${((performance.now() - since_ms) / 1000).toFixed(1)} s`;
}

async function runStep({ name, run }: Step, counts: Counts): Promise<void> {
  const began = performance.now();
  const { verdict, output } = await run();
  counts[verdict] += 1;
  console.log(`${name.padEnd(8)} ${verdict.padEnd(8)} ${seconds(began)}`);
  const text = output.trim();
  if (text !== "" && (verdict !== "passed" || name === "tools" || name === "build"))
    console.log(text.replaceAll(/^/gm, "  "));
}

function numberIn(text: string, pattern: RegExp): number {
  return Number(pattern.exec(text)?.[1] ?? 0);
}

/** Counts of a run. JUnit leaves out files that could not be loaded, the closing summary knows them; both are asked. */
function countTests(junit: string, { exit_code, output }: Ended): Counts {
  const head = /<testsuites [^>]*>/.exec(junit)?.[0] ?? "";
  const [tests, failures, skipped] = ["tests", "failures", "skipped"].map((name) =>
    numberIn(head, new RegExp(` ${name}="(\\d+)"`)),
  );
  const plain = Bun.stripANSI(output);
  const summary = plain.slice(plain.lastIndexOf(" pass\n"));
  const is_whole = exit_code === 0 && /^Ran \d+ tests? across/m.test(summary);
  const failed = Math.max(failures ?? 0, numberIn(summary, /^ *(\d+) fail$/m), is_whole ? 0 : 1);
  return { passed: (tests ?? 0) - (failures ?? 0) - (skipped ?? 0), failed, skipped: skipped ?? 0 };
}

/** `12.3 s  test/a.test.ts`, the slowest first. */
function slowestFiles(junit: string): string[] {
  return [...junit.matchAll(/^ {2}<testsuite name="([^"]*)".*? time="([\d.]+)"/gm)]
    .map(([, file = "", time]) => ({ file, seconds: Number(time) }))
    .toSorted((one, other) => other.seconds - one.seconds)
    .slice(0, SLOWEST_COUNT)
    .map((each) => `  ${each.seconds.toFixed(1).padStart(6)} s  ${each.file}`);
}

/** Runs `bun test`, one worker a core: every file in a process that no other file has touched. */
async function runTests(words: readonly string[], counts: Counts): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "synthetic-test-"));
  const outfile = join(folder, "junit.xml");
  const began = performance.now();
  try {
    const reporter = ["--reporter=junit", `--reporter-outfile=${outfile}`];
    const ended = await bun(["test", "--parallel", "--no-orphans", ...reporter, ...words], (text) =>
      process.stdout.write(text),
    );
    const junit = await Bun.file(outfile)
      .text()
      .catch(() => "");
    const tests = countTests(junit, ended);
    for (const name of ["passed", "failed", "skipped"] as const) counts[name] += tests[name];
    console.log(`\nthe slowest files\n${slowestFiles(junit).join("\n")}`);
    console.log(`tests    ${tests.failed > 0 ? "failed  " : "passed  "} ${seconds(began)}`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function main(words: readonly string[]): Promise<number> {
  const began = performance.now();
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  if (words.length === 0) for (const step of STEPS) await runStep(step, counts);
  await runTests(words, counts);
  if (performance.now() - began > BUDGET_MS)
    console.log(`!!! SLOW: ${seconds(began)}, the budget is ${BUDGET_MS / 1000} s`);
  const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : "";
  console.log(`${counts.passed} passed, ${counts.failed} failed${skipped}`);
  return counts.failed > 0 ? 1 : 0;
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => {
    endGroup(running, signal);
    process.exit(128 + constants.signals[signal]);
  });
}

process.exitCode = await main(process.argv.slice(2));
