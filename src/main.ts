/**
 * From arguments to an exit code, and the one place that brings the command line and the HTTP door together.
 * The only file that ends the process. Whatever is heavy is loaded when a command needs it.
 */
import { isatty } from "node:tty";
import type { Machine } from "./cli/machine.ts";
import { run } from "./cli/run.ts";

declare const SYNTHETIC_VERSION: string;
declare const SYNTHETIC_COMMIT: string;

// Before any file is made: everything here is for its owner only (facts 9).
process.umask(0o077);

const machine: Machine = {
  doors: {
    createDoor: async (options) => (await import("./http/door.ts")).createDoor(options),
    listen: async (door, options) => (await import("./http/listen.ts")).listen(door, options),
  },
  version: typeof SYNTHETIC_VERSION === "string" ? SYNTHETIC_VERSION : "0.1.0-dev",
  commit: typeof SYNTHETIC_COMMIT === "string" ? SYNTHETIC_COMMIT : "",
  stdin: { chunks: () => Bun.stdin.stream(), is_terminal: isatty(0) },
  stdout: process.stdout,
  stderr: process.stderr,
  exit: (code) => process.exit(code),
};

process.exit(await run(process.argv.slice(2), machine));
