/**
 * What all nouns have in common: list, show, create, update, delete, undelete, each over the HTTP API and
 * each with its --json. A noun's file declares its fields, columns and facts.
 */
import { Problem } from "../errors.ts";
import { ID_PATTERN } from "../lib/ids.ts";
import { limit } from "../limits.ts";
import { type Client, type Query, valueOf } from "./client.ts";
import { type Field, membersOf, type Options } from "./fields.ts";
import type { Cli } from "./machine.ts";
import { type Column, type Fact, renderFacts, renderTable } from "./table.ts";

export interface Row {
  id: string;
  revision: number;
}

export interface Noun<R extends Row> {
  /** In the singular, as people say it. */
  name: string;
  /** `/v1/…` of the collection. */
  path: string;
  fields: readonly Field[];
  columns(cli: Cli): readonly Column<R>[];
  facts(cli: Cli, row: R): readonly Fact[];
  /** What a person calls it. */
  label(row: R): string;
  /** The full id for what a person gave. */
  resolve(client: Client, given: string): Promise<string>;
}

/**
 * The full id for six or more characters of its beginning or end. Errors: `not_found`; `usage` when several
 * fit, or there are too many rows to be sure.
 */
export async function resolveId(
  client: Client,
  path: string,
  name: string,
  given: string,
  query: Query = {},
): Promise<string> {
  const text = given.toLowerCase();
  if (ID_PATTERN.test(text)) return text;
  if (!/^[0-9a-f-]{6,35}$/.test(text))
    throw new Problem(
      "usage",
      `The id of ${/^[aeiou]/.test(name) ? "an" : "a"} ${name} is expected: a UUID, or six or more characters of its beginning or end.`,
    );
  const found: string[] = [];
  for await (const { items, left } of client.pages<Row>(path, query, limit("cli_resolve_rows_count"))) {
    found.push(...items.map(({ id }) => id).filter((id) => id.startsWith(text) || id.endsWith(text)));
    if (found.length > 1)
      throw new Problem("usage", `Several ids fit ${text}.`, {
        hint: `For instance ${found.slice(0, 3).join(", ")}.`,
      });
    if (left) continue;
    const [id] = found;
    if (id !== undefined) return id;
    throw new Problem("not_found", `There is no ${name} whose id begins or ends with ${text}.`);
  }
  throw new Problem("usage", `There are too many to be sure which one ${text} is.`, {
    hint: "Give the whole id; --json shows it.",
  });
}

/** The rows as NDJSON, page by page, or as a table. `most` bounds them; when there are more it is said. */
export async function listRows<R extends Row>(
  cli: Cli,
  noun: Noun<R>,
  query: Query,
  most: number,
): Promise<void> {
  const { terminal } = cli;
  const client = await cli.client();
  const rows: R[] = [];
  let more = false;
  for await (const { items, left } of client.pages<R>(noun.path, query, most)) {
    more = left;
    if (terminal.json) await terminal.write(items.map((item) => `${JSON.stringify(item)}\n`).join(""));
    else rows.push(...items);
  }
  await terminal.write(renderTable(rows, noun.columns(cli), terminal.columns, terminal.style));
  if (rows.length === 0 && !terminal.json) terminal.say(`No ${noun.name}s.`);
  if (more) terminal.say(`There are more than these ${most}: see --limit.`);
}

async function showRow<R extends Row>(cli: Cli, noun: Noun<R>, row: R): Promise<void> {
  const { terminal } = cli;
  return terminal.json
    ? terminal.writeJson(row)
    : terminal.write(renderFacts(noun.facts(cli, row), terminal.style));
}

export async function showOne<R extends Row>(cli: Cli, noun: Noun<R>, given: string): Promise<void> {
  const client = await cli.client();
  const id = await noun.resolve(client, given);
  return showRow(cli, noun, await client.json<R>({ path: `${noun.path}/${id}` }));
}

/**
 * Creates one; its id goes to stdout, so that `id=$(…)` works. With an id of the caller's it can be repeated.
 */
export async function createOne<R extends Row>(
  cli: Cli,
  noun: Noun<R>,
  given: Record<string, unknown>,
  options: Options,
): Promise<void> {
  const { terminal } = cli;
  const members = { ...given, ...(await membersOf(noun.fields, options, cli)) };
  const metadata = members["metadata"] as Record<string, string | null> | undefined;
  const without = Object.entries(metadata ?? {}).find(([, value]) => value === null);
  if (without !== undefined) throw new Problem("usage", `--metadata ${without[0]}: KEY=VALUE is expected.`);
  const client = await cli.client();
  const response = await client.request({ method: "POST", path: noun.path, json: members });
  const row = await valueOf<R>(response);
  if (terminal.json) return terminal.writeJson(row);
  await terminal.write(`${row.id}\n`);
  terminal.say(
    terminal.talk_style.dim(
      `${response.status === 201 ? "created" : "was there already"}: ${noun.name} ${noun.label(row)}`,
    ),
  );
}

/** Keys with null go, the others are put in. */
function mergedMap(
  current: Record<string, string>,
  changes: Record<string, string | null>,
): Record<string, string> {
  const merged = Object.entries({ ...current, ...changes }).filter(
    (pair): pair is [string, string] => pair[1] !== null,
  );
  return Object.fromEntries(merged);
}

/**
 * Changes what the options name and nothing else. Metadata are merged, guarded by the revision they were read
 * at.
 */
export async function updateOne<R extends Row & { metadata: Record<string, string> }>(
  cli: Cli,
  noun: Noun<R>,
  given: string,
  options: Options,
): Promise<void> {
  const { terminal } = cli;
  const members = await membersOf(noun.fields, options, cli);
  if (Object.keys(members).length === 0) throw new Problem("usage", "Nothing to change was given.");
  const client = await cli.client();
  const path = `${noun.path}/${await noun.resolve(client, given)}`;
  let expected = "*";
  const changes = members["metadata"] as Record<string, string | null> | undefined;
  if (changes !== undefined) {
    const current = await client.json<R>({ path });
    members["metadata"] = mergedMap(current.metadata, changes);
    expected = `"r${current.revision}"`;
  }
  const row = await client.json<R>({
    method: "PATCH",
    path,
    json: members,
    headers: { "if-match": expected },
  });
  if (terminal.json) return terminal.writeJson(row);
  terminal.say(terminal.talk_style.dim(`updated: ${noun.name} ${noun.label(row)}, revision ${row.revision}`));
}

export async function deleteOne<R extends Row>(
  cli: Cli,
  noun: Noun<R>,
  given: string,
  said: string,
): Promise<void> {
  const { terminal } = cli;
  const client = await cli.client();
  const id = await noun.resolve(client, given);
  await client.request({ method: "DELETE", path: `${noun.path}/${id}`, headers: { "if-match": "*" } });
  if (terminal.json) return terminal.writeJson({ id, deleted: true });
  terminal.say(terminal.talk_style.dim(said));
}

/** Looks for a shortened id among what was deleted. */
export async function undeleteOne<R extends Row>(cli: Cli, noun: Noun<R>, given: string): Promise<void> {
  const { terminal } = cli;
  const client = await cli.client();
  const id = await resolveId(client, noun.path, noun.name, given, { deleted: true });
  const row = await client.json<R>({ method: "POST", path: `${noun.path}/${id}/undelete` });
  if (terminal.json) return terminal.writeJson(row);
  terminal.say(terminal.talk_style.dim(`back: ${noun.name} ${noun.label(row)}`));
}
