/**
 * The commands as commander knows them. Each command's file defines its words and says what is done; what is
 * done starts only when it is chosen, so that `--help` loads nothing else.
 */
import { Command } from "commander";
import { type Flags, SETTINGS } from "../config.ts";
import { defineAppend } from "./append.ts";
import { defineArtifact } from "./artifact.ts";
import { defineConfig } from "./config.ts";
import { defineConstruct } from "./construct.ts";
import { defineDoctor } from "./doctor.ts";
import { defineGc } from "./gc.ts";
import type { Cli } from "./machine.ts";
import { defineMigrate } from "./migrate.ts";
import { defineServe } from "./serve.ts";
import { defineSession } from "./session.ts";
import { defineStatus } from "./status.ts";
import { defineTail } from "./tail.ts";
import { defineToken } from "./token.ts";
import { defineTranscript } from "./transcript.ts";
import { defineVersion } from "./version.ts";
import { defineWorkspace } from "./workspace.ts";

/** The exit code, or nothing for 0. */
export type Done = Promise<number | void>;

/** Makes a commander action of what a command does: it is given a Cli before the arguments and options. */
export type Act = <A extends unknown[]>(
  perform: (cli: Cli, ...given: A) => Done,
) => (...given: [...A, Command]) => Promise<void>;

const DEFINITIONS = [
  defineServe,
  defineMigrate,
  defineStatus,
  defineDoctor,
  defineVersion,
  defineConfig,
  defineToken,
  defineWorkspace,
  defineConstruct,
  defineSession,
  defineArtifact,
  defineAppend,
  defineTail,
  defineTranscript,
  defineGc,
];

const EXAMPLES = `
Examples:
  $ synthetic serve
  $ id=$(synthetic construct create "Fix the flaky tests" --status active --agent codex)
  $ session=$(synthetic session create "$id")
  $ tail -f agent.jsonl | synthetic append "$session" --raw-json --kind message
  $ synthetic tail "$session"

Exit codes: 0 done, 1 failure, 2 wrong use, 3 not found, 4 the directory is in use, 5 stored data are damaged,
6 the server cannot be reached, 130 interrupted.`;

export interface ProgramOptions {
  /** Opens what the chosen command needs and keeps its exit code. */
  withCli: (flags: Flags, json: boolean, perform: (cli: Cli) => Done) => Promise<void>;
  writeOut: (text: string) => void;
  writeErr: (text: string) => void;
}

/** All commands. Errors of parsing: CommanderError; nothing is printed but help. */
export function buildProgram({ withCli, writeOut, writeErr }: ProgramOptions): Command {
  const program = new Command("synthetic")
    .description("Durable memory for coding agents.")
    .exitOverride()
    .configureOutput({ writeOut, writeErr, outputError: () => undefined })
    .configureHelp({ showGlobalOptions: true })
    .option(SETTINGS.data.flag, SETTINGS.data.description)
    .option(SETTINGS.config.flag, SETTINGS.config.description)
    .option(SETTINGS.url.flag, SETTINGS.url.description)
    .option(SETTINGS.log_level.flag, SETTINGS.log_level.description)
    .option("--json", "one JSON object, or for lists one a line; nothing else on stdout")
    .addHelpText("after", EXAMPLES);
  const act: Act =
    <A extends unknown[]>(perform: (cli: Cli, ...given: A) => Done) =>
    (...given: [...A, Command]) => {
      const command = given.at(-1) as Command;
      const options: Record<string, unknown> = command.optsWithGlobals();
      return withCli(settingFlags(options), options["json"] === true, (cli) =>
        perform(cli, ...(given.slice(0, -1) as A)),
      );
    };
  for (const define of DEFINITIONS) define(program, act);
  return program;
}

/** The options that are settings, by the name of the setting. */
function settingFlags(options: Record<string, unknown>): Flags {
  const flags: Flags = {};
  for (const name of Object.keys(SETTINGS) as (keyof typeof SETTINGS)[]) {
    const value = options[name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase())];
    if (typeof value === "string" || typeof value === "boolean") flags[name] = value;
  }
  return flags;
}
