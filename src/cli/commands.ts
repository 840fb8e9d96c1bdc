/**
 * Every command as the README lists it, taken from the definitions that also parse. The program itself does
 * not load this.
 */
import type { Command } from "commander";
import { buildProgram } from "./program.ts";

export interface CommandRow {
  /** `synthetic construct list [options]` */
  usage: string;
  summary: string;
}

/** A command with others below it does nothing by itself. */
function rowsOf(command: Command, path: string): CommandRow[] {
  const below = command.commands.filter((child) => child.name() !== "help");
  if (below.length > 0) return below.flatMap((child) => rowsOf(child, `${path} ${child.name()}`));
  const names = command.registeredArguments.map((argument) =>
    argument.required ? `<${argument.name()}>` : `[${argument.name()}]`,
  );
  const options = command.options.length > 0 ? ["[options]"] : [];
  return [{ usage: [path, ...names, ...options].join(" "), summary: command.summary() }];
}

/** In the order of the help. */
export const COMMANDS: readonly CommandRow[] = rowsOf(
  buildProgram({ withCli: () => Promise.resolve(), writeOut: () => undefined, writeErr: () => undefined }),
  "synthetic",
);
