/** `synthetic workspace …`: projects that agents work on. They are named by their name or their id. */
import type { Command } from "commander";
import { Problem } from "../errors.ts";
import { ID_PATTERN } from "../lib/ids.ts";
import { limit } from "../limits.ts";
import type { Workspace } from "../schema/workspace.ts";
import type { Client } from "./client.ts";
import { addLimit, idColumn, metadataFact, textFact, timeFact, updatedColumn } from "./columns.ts";
import { addFields, type Field, type Options } from "./fields.ts";
import type { Act } from "./program.ts";
import { createOne, deleteOne, listRows, type Noun, resolveId, showOne, updateOne } from "./resource.ts";

const FIELDS: readonly Field[] = [
  {
    name: "id",
    flag: "--id <uuid>",
    description: "the id, for a create that can be repeated",
    form: "text",
    only: "create",
  },
  { name: "name", flag: "--name <name>", description: "the new name", form: "text", only: "update" },
  {
    name: "description",
    flag: "--description <text>",
    description: "what it is, Markdown; @FILE and - read it",
    form: "long",
  },
  { name: "repository", flag: "--repository <url>", description: "where the code lives", form: "nullable" },
  { name: "path", flag: "--path <dir>", description: "the directory on this machine", form: "nullable" },
  {
    name: "metadata",
    flag: "--metadata <key=value>",
    description: "a fact; repeatable; on update a key alone removes it",
    form: "map",
  },
];

/**
 * The id of a workspace that is named by id, by name, or by a part of its id. Errors: `not_found`, `usage`.
 */
export async function resolveWorkspace(client: Client, given: string): Promise<string> {
  if (ID_PATTERN.test(given)) return given;
  const most = limit("cli_named_rows_count");
  for await (const { items } of client.pages<Workspace>("/v1/workspaces", { q: given }, most)) {
    const found = items.find(({ name }) => name.toLowerCase() === given.toLowerCase());
    if (found !== undefined) return found.id;
  }
  if (/^[0-9a-f-]{6,35}$/i.test(given)) return resolveId(client, "/v1/workspaces", "workspace", given);
  throw new Problem("not_found", `There is no workspace named ${given}.`, {
    hint: "`synthetic workspace list` shows them.",
  });
}

const WORKSPACE: Noun<Workspace> = {
  name: "workspace",
  path: "/v1/workspaces",
  fields: FIELDS,
  label: ({ name }) => `“${name}”`,
  resolve: resolveWorkspace,
  columns: (cli) => [
    idColumn(cli),
    { title: "name", text: ({ name }) => name, min_columns: 12 },
    { title: "repository", text: ({ repository }) => repository ?? "-", min_columns: 12, may_go: true },
    { title: "path", text: ({ path }) => path ?? "-", min_columns: 12, may_go: true },
    updatedColumn(cli),
  ],
  facts: (_cli, row) => [
    { name: "id", value: row.id },
    { name: "name", value: row.name },
    ...textFact("repository", row.repository),
    ...textFact("path", row.path),
    ...timeFact("created", row.created_at_ms),
    ...timeFact("updated", row.updated_at_ms),
    { name: "revision", value: String(row.revision) },
    ...metadataFact(row.metadata),
    ...textFact("description", row.description),
  ],
};

export function defineWorkspace(program: Command, act: Act): void {
  const noun = program.command("workspace").summary("projects that agents work on");
  addLimit(
    noun.command("list").summary("list workspaces by name").option("--query <text>", "part of the name"),
  ).action(
    act((cli, options: { query?: string; limit: number }) =>
      listRows(cli, WORKSPACE, { q: options.query }, options.limit),
    ),
  );
  noun
    .command("show")
    .summary("show one workspace")
    .argument("<workspace>", "name or id")
    .action(act((cli, given: string) => showOne(cli, WORKSPACE, given)));
  addFields(
    noun.command("create").summary("make a workspace and print its id").argument("<name>"),
    FIELDS,
    "create",
  ).action(act((cli, name: string, options: Options) => createOne(cli, WORKSPACE, { name }, options)));
  addFields(
    noun.command("update").summary("change a workspace").argument("<workspace>", "name or id"),
    FIELDS,
    "update",
  ).action(act((cli, given: string, options: Options) => updateOne(cli, WORKSPACE, given, options)));
  noun
    .command("delete")
    .summary("delete an empty workspace")
    .argument("<workspace>", "name or id")
    .action(act((cli, given: string) => deleteOne(cli, WORKSPACE, given, "deleted")));
}
