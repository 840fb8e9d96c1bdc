/**
 * Fields of a resource as options: declared once for create and update. An empty value clears what can be
 * empty; `@FILE` and `-` give long texts.
 */
import { type Command, InvalidArgumentError, Option } from "commander";
import { openInput, readText } from "./input.ts";
import type { Cli } from "./machine.ts";

export interface Field {
  /** The wire name. */
  name: string;
  /** As commander takes it, for instance `--branch <name>`. */
  flag: string;
  description: string;
  /**
   * `text` as it is; `nullable`: empty means null; `long`: also `@FILE` or `-`; `list`: repeatable, one empty
   * value means none; `switch`: also with `--no-`; `map`: repeatable KEY=VALUE; `instant`: milliseconds since
   * 1970.
   */
  form: "text" | "nullable" | "long" | "list" | "switch" | "map" | "instant";
  choices?: readonly string[];
  /** Only one of the two commands has it. */
  only?: "create" | "update";
}

export type Options = Record<string, unknown>;

function collect(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
}

function readMilliseconds(value: string): number {
  if (!/^\d{1,16}$/.test(value)) throw new InvalidArgumentError("Milliseconds since 1970 are expected.");
  return Number(value);
}

/** Adds the options of a command. */
export function addFields(command: Command, fields: readonly Field[], use: "create" | "update"): Command {
  for (const { flag, description, form, choices, only } of fields) {
    if (only !== undefined && only !== use) continue;
    const option = new Option(flag, description);
    if (form === "list" || form === "map") option.argParser(collect);
    if (form === "instant") option.argParser(readMilliseconds);
    if (choices !== undefined) option.choices(choices);
    command.addOption(option);
    if (form === "switch") command.option(flag.replace("--", "--no-"), "the opposite");
  }
  return command;
}

/** The name under which commander keeps an option. */
function optionName(flag: string): string {
  return new Option(flag).attributeName();
}

async function readLong(value: string, { machine, terminal }: Cli): Promise<string> {
  if (value !== "-" && !value.startsWith("@")) return value;
  return readText(openInput(machine, terminal, value.replace(/^@/, "")));
}

/** `KEY=VALUE` pairs as a map; a key alone means: take it away. */
function readPairs(pairs: readonly string[]): Record<string, string | null> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf("=");
      return at === -1 ? [pair, null] : [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

/**
 * The members that the options give; those that were not used are absent. `map` members come as pairs with
 * null for removals.
 */
export async function membersOf(
  fields: readonly Field[],
  options: Options,
  cli: Cli,
): Promise<Record<string, unknown>> {
  const members: Record<string, unknown> = {};
  for (const { name, flag, form } of fields) {
    const value = options[optionName(flag)];
    if (value === undefined) continue;
    if (form === "nullable") members[name] = value === "" ? null : value;
    else if (form === "long") members[name] = await readLong(value as string, cli);
    else if (form === "list") members[name] = (value as string[]).filter((item) => item !== "");
    else if (form === "map") members[name] = readPairs(value as string[]);
    else members[name] = value;
  }
  return members;
}
