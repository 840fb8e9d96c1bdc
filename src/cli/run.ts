/**
 * One run of the command line, from arguments to an exit code. It never throws and never ends the process:
 * main.ts does that.
 */
import { CommanderError } from "commander";
import { type Config, type Flags, loadConfig, terminalSettings } from "../config.ts";
import { ERRORS, Problem } from "../errors.ts";
import { errorText } from "../lib/log.ts";
import { systemCode } from "../lib/private-files.ts";
import { limit } from "../limits.ts";
import type { Client } from "./client.ts";
import { listenForSignals, pause } from "./interruption.ts";
import type { Cli, Machine } from "./machine.ts";
import { openClient } from "./open-client.ts";
import { sayProblem } from "./problem.ts";
import { buildProgram, type Done } from "./program.ts";
import { createTerminal, PipeClosed } from "./terminal.ts";

/** Runs one command. Exit codes: those of ERRORS, 0, 1, and 128 + n for a signal. */
export async function run(argv: readonly string[], machine: Machine): Promise<number> {
  const interruption = listenForSignals((code) => machine.exit(code));
  const terminalFor = (json: boolean) =>
    createTerminal(machine.stdout, machine.stderr, terminalSettings(), json);
  const talk = terminalFor(argv.includes("--json"));
  let exit_code = 0;

  const withCli = async (flags: Flags, json: boolean, perform: (cli: Cli) => Done): Promise<void> => {
    const terminal = terminalFor(json);
    let config: Config | undefined;
    let client: Promise<Client> | undefined;
    const cli: Cli = {
      machine,
      terminal,
      flags,
      interruption,
      config: () => (config ??= loadConfig(flags)),
      client: () => (client ??= openClient(machine, terminal, cli.config(), interruption.signal)),
    };
    try {
      exit_code = (await perform(cli)) ?? 0;
    } finally {
      // What could not be opened needs no closing, and its error is already under way.
      await client?.then(
        (opened) => opened.close(),
        () => undefined,
      );
    }
  };

  const finish = async (): Promise<number> => {
    try {
      const program = buildProgram({
        withCli,
        writeOut: (text) => void machine.stdout.write(text),
        writeErr: talk.sayRaw,
      });
      if (argv.length === 0) program.outputHelp();
      else await program.parseAsync(argv, { from: "user" });
      return interruption.code !== null && !interruption.patient ? interruption.code : exit_code;
    } catch (error) {
      if (error instanceof PipeClosed) return 0;
      if (interruption.code !== null && !interruption.patient) return interruption.code;
      return fail(error, talk);
    }
  };

  const impatience = new Promise<number>((resolve) => {
    interruption.signal.addEventListener("abort", () => {
      if (!interruption.patient)
        void pause(limit("cli_grace_ms"), new AbortController().signal).then(() =>
          resolve(interruption.code ?? 1),
        );
    });
  });
  const code = await Promise.race([finish(), impatience]);
  interruption.dispose();
  return code;
}

/** Says what went wrong and gives the exit code. */
function fail(error: unknown, terminal: ReturnType<typeof createTerminal>): number {
  if (error instanceof CommanderError) {
    // Help that was asked for is no failure; a noun without a verb has shown its help on stderr.
    if (error.exitCode === 0) return 0;
    if (error.code !== "commander.help")
      sayProblem(terminal, new Problem("usage", error.message.replace(/^error: /, "").replace("\n", " ")));
    return ERRORS.usage.exit;
  }
  const problem = asProblem(error);
  sayProblem(terminal, problem);
  return ERRORS[problem.code].exit;
}

/** What the system refuses is told in its words; anything else that was not foreseen is a defect. */
function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  if (systemCode(error) !== null) {
    return new Problem("refused_store", errorText(error), { hint: "Look at permissions, disk and limits." });
  }
  return new Problem("internal", `Something is wrong in synthetic itself: ${errorText(error)}`, {
    hint: "Please report it.",
  });
}
