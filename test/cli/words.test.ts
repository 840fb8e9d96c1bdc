import { expect, test } from "bun:test";
import { COMMANDS } from "../../src/cli/commands.ts";
import { statusText, createStyle } from "../../src/cli/colour.ts";
import * as words from "../../src/cli/words.ts";
import { Actor } from "../../src/schema/common.ts";
import { CONSTRUCT_SORTS, ConstructStatus } from "../../src/schema/construct.ts";
import { ENTRY_KINDS } from "../../src/schema/entry.ts";
import { SessionStatus } from "../../src/schema/session.ts";

test("the words of the command line are those of the schema", () => {
  expect<readonly string[]>(words.CONSTRUCT_STATUSES).toEqual(ConstructStatus.options);
  expect<readonly string[]>(words.CONSTRUCT_SORTS).toEqual(CONSTRUCT_SORTS);
  expect<readonly string[]>(words.SESSION_STATUSES).toEqual(SessionStatus.options);
  expect<readonly string[]>(words.ENTRY_KINDS).toEqual(ENTRY_KINDS);
  expect<readonly string[]>(words.ACTORS).toEqual(Actor.options);
});

test("every status has a colour", () => {
  const style = createStyle(true);
  for (const status of [...words.CONSTRUCT_STATUSES, ...words.SESSION_STATUSES])
    expect(statusText(status, style)).not.toBe(status);
});

test("every command has a summary, and its usage says how it is called", () => {
  for (const { usage, summary } of COMMANDS) {
    expect(usage).toMatch(/^synthetic [a-z]+/);
    expect(summary).not.toBe("");
  }
  const usages = COMMANDS.map(({ usage }) => usage);
  expect(usages).toContain("synthetic migrate [action]");
  expect(usages).toContain("synthetic construct list [options]");
  expect(usages).toContain("synthetic append <session> [file] [options]");
  expect(new Set(usages).size).toBe(usages.length);
});
