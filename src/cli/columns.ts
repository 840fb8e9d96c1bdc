/** Columns, facts and options that several nouns share. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { system_clock } from "../lib/clock.ts";
import { limit } from "../limits.ts";
import { statusText } from "./colour.ts";
import { instant, parseInstant, relativeTime, shortId } from "./format.ts";
import type { Cli } from "./machine.ts";
import type { Column, Fact } from "./table.ts";

/** Short on a terminal; whole where another program reads it. */
export function idColumn({ terminal }: Cli): Column<{ id: string }> {
  return {
    title: "id",
    text: ({ id }) => (terminal.stdout_is_terminal ? shortId(id) : id),
    paint: terminal.style.cyan,
  };
}

export function statusColumn<R extends { status: string }>({ terminal }: Cli): Column<R> {
  return { title: "status", text: ({ status }) => status, paint: (text) => statusText(text, terminal.style) };
}

export function updatedColumn({ terminal }: Cli): Column<{ updated_at_ms: number }> {
  return {
    title: "updated",
    text: (row) => relativeTime(row.updated_at_ms, system_clock.now_ms()),
    paint: terminal.style.dim,
  };
}

/** An instant with how long ago that is. */
export function timeFact(name: string, at_ms: number | null): Fact[] {
  return at_ms === null
    ? []
    : [{ name, value: `${instant(at_ms)}  (${relativeTime(at_ms, system_clock.now_ms())})` }];
}

/** A fact that is left out when there is nothing to say. */
export function textFact(name: string, value: string | null): Fact[] {
  return value === null || value === "" ? [] : [{ name, value }];
}

export function metadataFact(metadata: Record<string, string>): Fact[] {
  const pairs = Object.entries(metadata);
  return pairs.length === 0
    ? []
    : [{ name: "metadata", value: pairs.map(([key, value]) => `${key}=${value}`).join("\n") }];
}

function readCount(value: string): number {
  if (!/^[1-9]\d{0,8}$/.test(value)) throw new InvalidArgumentError("A whole number from 1 is expected.");
  return Number(value);
}

function readInstant(value: string): number {
  const at_ms = parseInstant(value, system_clock.now_ms());
  if (at_ms === null)
    throw new InvalidArgumentError(
      "A span such as 2h or 7d, a date, or milliseconds since 1970 are expected.",
    );
  return at_ms;
}

export function addLimit(command: Command): Command {
  return command.option("-n, --limit <count>", "how many at most", readCount, limit("page_default_count"));
}

export function addSince(command: Command): Command {
  return command.option("--since <when>", "changed since: 2h, 7d, 2026-01-31, …", readInstant);
}

/** Collects the values of an option that may be repeated. */
export function repeatable(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
}

/** An option that may be repeated, each time with one of the choices. */
export function repeatableChoice(flag: string, description: string, choices: readonly string[]): Option {
  const option = new Option(flag, description).choices(choices);
  const check = option.parseArg;
  return option.argParser((value: string, before: string[] | undefined) =>
    repeatable(check?.(value, "") ?? value, before),
  );
}
