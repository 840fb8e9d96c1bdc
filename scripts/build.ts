/**
 * Makes dist/synthetic, the one binary. Does nothing when it is newer than everything it is made of.
 *
 *   npm run build [-- --force]
 */
import { existsSync, mkdirSync, renameSync, rmSync, statSync, utimesSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "..");
const BINARY = join(ROOT, "dist", "synthetic");
const MAIN = "src/main.ts";
/** Files of worker threads: a compiled binary finds them only as entry points. */
const WORKERS = [
  "src/store/sqlite/reader-worker.ts",
  "src/store/sqlite/checkpoint-worker.ts",
  "src/blob/intake-worker.ts",
];
const SOURCES = [
  "src",
  "src/**/*",
  "migrations/*",
  "litestream.yml",
  "package.json",
  "package-lock.json",
  "tsconfig.json",
  "scripts/build.ts",
];

/**
 * A compiled binary must not run what lies in the directory it is started in (facts 18). Entry points lie side by
 * side, because `import.meta.url` is that of the main module and a worker's file is looked for beside it.
 */
const FLAGS = [
  "--compile",
  "--minify",
  "--bytecode",
  "--format=esm",
  "--entry-naming=[name].[ext]",
  "--no-compile-autoload-dotenv",
  "--no-compile-autoload-bunfig",
];

function modifiedAt(path: string): number {
  return statSync(join(ROOT, path), { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

/** A source that changed after the binary was made, or null. Folders count, because they change with a removal. */
function changedSource(): string | null {
  const built_at = modifiedAt("dist/synthetic");
  const paths = SOURCES.flatMap((pattern) => [
    ...new Bun.Glob(pattern).scanSync({ cwd: ROOT, onlyFiles: false }),
  ]);
  return paths.find((path) => modifiedAt(path) > built_at) ?? null;
}

/** What git says, or null outside a clone or without git. */
function git(...words: string[]): string | null {
  if (Bun.which("git") === null) return null;
  const { success, stdout } = Bun.spawnSync(["git", ...words], { cwd: ROOT, stderr: "ignore" });
  return success ? stdout.toString().trim() : null;
}

/** The short commit, with a mark when the tree differs from it; empty when it is not known. */
function commit(): string {
  const head = git("rev-parse", "--short=12", "HEAD");
  if (head === null) return "";
  return git("status", "--porcelain", "--", "src", "migrations") === "" ? head : `${head}-dirty`;
}

async function defines(): Promise<string[]> {
  const { version }: { version: string } = await Bun.file(join(ROOT, "package.json")).json();
  const values = { SYNTHETIC_VERSION: version, SYNTHETIC_COMMIT: commit() };
  return Object.entries(values).flatMap(([name, value]) => ["--define", `${name}=${JSON.stringify(value)}`]);
}

/** The environment without what would make Bun something else than a builder. */
function environment(): Record<string, string | undefined> {
  return { ...process.env, BUN_OPTIONS: undefined, BUN_BE_BUN: undefined };
}

/** Builds beside the old binary and then takes its place, so that a running one goes on undisturbed. */
async function build(): Promise<number> {
  const fresh = `${BINARY}.${process.pid}.tmp`;
  const entries = [MAIN, ...WORKERS.filter((path) => existsSync(join(ROOT, path)))];
  const words = ["build", ...FLAGS, ...(await defines()), `--outfile=${fresh}`, ...entries];
  const began = performance.now();
  const began_at = new Date();
  mkdirSync(join(ROOT, "dist"), { recursive: true });
  try {
    const child = Bun.spawn([process.execPath, ...words], {
      cwd: ROOT,
      env: environment(),
      stdio: ["ignore", "ignore", "inherit"],
    });
    const exit_code = await child.exited;
    if (exit_code !== 0) return exit_code;
    // A source that was saved during the build is newer than this.
    utimesSync(fresh, began_at, began_at);
    renameSync(fresh, BINARY);
  } finally {
    rmSync(fresh, { force: true });
  }
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  console.log(`dist/synthetic: ${(statSync(BINARY).size / 1024 ** 2).toFixed(1)} MiB in ${seconds} s`);
  return 0;
}

async function main(is_forced: boolean): Promise<number> {
  if (!is_forced && changedSource() === null) {
    console.log("dist/synthetic is newer than its sources");
    return 0;
  }
  return build();
}

process.exitCode = await main(process.argv.includes("--force"));
