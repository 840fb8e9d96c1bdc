/**
 * Runs its arguments under the pinned Bun, on a machine that may have only Node and npm, or only Bun: installs the
 * packages when they are missing or not those of the lock file, mends a Bun whose install script was blocked, and
 * then is that program: same streams, same signals, same exit code. Its own talk goes to stderr.
 *
 * Plain Node without dependencies, because it runs before anything is installed.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { constants } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const LOCAL_BUN = join(ROOT, "node_modules", ".bin", "bun");

/** One signal often comes twice within milliseconds: from the terminal and again from npm. A later one is meant. */
const REPEAT_MS = 1_000;

/** How often to look whether the shell that npm put above us is still there. */
const PARENT_LOOK_MS = 200;

const UNDER_BUN = process.versions.bun !== undefined;

function failure(message, exit_code = 1) {
  return Object.assign(new Error(message), { exit_code });
}

function readJson(...path) {
  try {
    return JSON.parse(readFileSync(join(ROOT, ...path), "utf8"));
  } catch {
    return null;
  }
}

function say(text) {
  process.stderr.write(`with-bun: ${text}\n`);
}

function signalCode(signal) {
  return 128 + (constants.signals[signal] ?? 0);
}

/** Runs a step of the installation to its end; whatever it says goes to stderr. */
function run(command, args) {
  say([command, ...args].map((word) => word.replace(ROOT, "")).join(" "));
  const { status, signal, error } = spawnSync(command, args, { cwd: ROOT, stdio: ["ignore", 2, 2] });
  if (error !== undefined) throw failure(`${command}: ${error.message}`);
  if (signal !== null) throw failure(`${command} was ended by ${signal}`, signalCode(signal));
  if (status !== 0) throw failure(`${command} failed with exit code ${status}`);
}

/** Whether what npm says it installed is what the lock file asks for. Modification times say less: git sets them too. */
function isInstalled() {
  const locked = readJson("package-lock.json");
  if (locked === null) return existsSync(join(ROOT, "node_modules"));
  const installed = readJson("node_modules", ".package-lock.json");
  if (installed === null) return false;
  return Object.entries(locked.packages).every(
    ([path, entry]) =>
      path === "" || entry.optional === true || installed.packages[path]?.version === entry.version,
  );
}

function npm(args) {
  const npm_cli = process.env.npm_execpath ?? "";
  if (npm_cli.endsWith("npm-cli.js")) run(process.execPath, [npm_cli, ...args]);
  else run("npm", args);
}

/** Installs all packages, whatever NODE_ENV or npm's settings leave out: the gate needs the development ones. */
function install() {
  const has_lock = existsSync(join(ROOT, "package-lock.json"));
  if (UNDER_BUN) {
    run(ownBun(), ["install", "--no-save", ...(has_lock ? ["--frozen-lockfile"] : [])]);
    return;
  }
  const always = ["--include=dev", "--include=optional", "--no-audit", "--no-fund", "--loglevel=error"];
  npm([has_lock ? "ci" : "install", ...always]);
}

/** The Bun that runs this file; through a link, because `bun run` lends it the name `node`. */
function ownBun() {
  return realpathSync(process.execPath);
}

function prints(command, version) {
  return spawnSync(command, ["--version"], { encoding: "utf8" }).stdout?.trim() === version;
}

/** A Bun of the pinned version. With its install script blocked the package is a stub; its own script mends that. */
function findBun() {
  const version = readJson("package.json")?.dependencies?.bun;
  if (UNDER_BUN && process.versions.bun === version) return ownBun();
  if (prints(LOCAL_BUN, version)) return LOCAL_BUN;
  run(process.execPath, [join(ROOT, "node_modules", "bun", "install.js")]);
  if (!prints(LOCAL_BUN, version)) throw failure(`there is no Bun ${version} for this machine`);
  return LOCAL_BUN;
}

/** On Linux the program is asked to end when this process is killed and cannot pass a signal on. */
function withParentDeath(command, args) {
  const folders = process.platform === "linux" ? (process.env.PATH ?? "").split(delimiter) : [];
  const setpriv = folders.map((folder) => join(folder, "setpriv")).find((path) => existsSync(path));
  return setpriv === undefined ? [command, args] : [setpriv, ["--pdeathsig", "TERM", "--", command, ...args]];
}

/**
 * npm passes SIGTERM to the shell it started and no further: the shell ends, and we hear nothing. So the end of
 * that shell means SIGTERM. Outside npm a parent may well end before us (nohup, a closed terminal).
 */
function onShellDeath(then) {
  if (process.env.npm_lifecycle_event === undefined) return;
  const shell = process.ppid;
  const looking = setInterval(() => {
    if (process.ppid === shell) return;
    clearInterval(looking);
    then();
  }, PARENT_LOOK_MS);
}

/**
 * Starts the program in a session of its own, so that a signal to our process group (Ctrl-C) does not reach it
 * beside the one that is passed on from here: a second one within milliseconds could cut its shutdown short.
 */
function become(bun, words) {
  const [command, args] = withParentDeath(bun, words);
  const child = spawn(command, args, { stdio: "inherit", detached: process.platform !== "win32" });
  const passed_at_ms = new Map();
  const pass = (signal) => {
    const now = performance.now();
    if (now - (passed_at_ms.get(signal) ?? -REPEAT_MS) < REPEAT_MS) return;
    passed_at_ms.set(signal, now);
    child.kill(signal);
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, pass);
  onShellDeath(() => pass("SIGTERM"));
  child.on("error", (error) => {
    say(error.message);
    process.exit(1);
  });
  child.on("exit", (code, signal) => process.exit(signal === null ? code : signalCode(signal)));
}

try {
  if (!isInstalled()) install();
  become(findBun(), process.argv.slice(2));
} catch (error) {
  say(error.message);
  process.exitCode = error.exit_code ?? 1;
}
