/** `synthetic session …`: conversations of agents. Their transcripts have commands of their own. */
import type { Command } from "commander";
import type { Session } from "../schema/session.ts";
import type { Client } from "./client.ts";
import { statusText } from "./colour.ts";
import {
  addLimit,
  idColumn,
  metadataFact,
  repeatable,
  repeatableChoice,
  statusColumn,
  textFact,
  timeFact,
  updatedColumn,
} from "./columns.ts";
import { CONSTRUCT } from "./construct-noun.ts";
import { addFields, type Field, type Options } from "./fields.ts";
import { count, shortId } from "./format.ts";
import type { Cli } from "./machine.ts";
import type { Act } from "./program.ts";
import {
  createOne,
  deleteOne,
  listRows,
  type Noun,
  resolveId,
  showOne,
  undeleteOne,
  updateOne,
} from "./resource.ts";
import { SESSION_STATUSES } from "./words.ts";
import { resolveWorkspace } from "./workspace.ts";

const FIELDS: readonly Field[] = [
  {
    name: "id",
    flag: "--id <uuid>",
    description: "the id, for a create that can be repeated",
    form: "text",
    only: "create",
  },
  { name: "title", flag: "--title <text>", description: "the title", form: "text" },
  { name: "agent", flag: "--agent <name>", description: "the agent; empty for none", form: "nullable" },
  { name: "model", flag: "--model <name>", description: "the model; empty for none", form: "nullable" },
  {
    name: "status",
    flag: "--status <status>",
    description: "the status",
    form: "text",
    choices: SESSION_STATUSES,
  },
  {
    name: "external_id",
    flag: "--external-id <id>",
    description: "the agent's own name for it; empty for none",
    form: "nullable",
  },
  {
    name: "working_directory",
    flag: "--working-directory <dir>",
    description: "where it runs; empty for none",
    form: "nullable",
  },
  { name: "branch", flag: "--branch <name>", description: "the branch; empty for none", form: "nullable" },
  { name: "started_at_ms", flag: "--started-at-ms <ms>", description: "when it began", form: "instant" },
  { name: "ended_at_ms", flag: "--ended-at-ms <ms>", description: "when it ended", form: "instant" },
  {
    name: "metadata",
    flag: "--metadata <key=value>",
    description: "a fact; repeatable; on update a key alone removes it",
    form: "map",
  },
];

export function resolveSession(client: Client, given: string): Promise<string> {
  return resolveId(client, "/v1/sessions", "session", given);
}

const SESSION: Noun<Session> = {
  name: "session",
  path: "/v1/sessions",
  fields: FIELDS,
  label: ({ title, id }) => (title === "" ? shortId(id) : `“${title}”`),
  resolve: resolveSession,
  columns: (cli) => [
    idColumn(cli),
    statusColumn(cli),
    { title: "title", text: ({ title }) => title || "-", min_columns: 16 },
    { title: "agent", text: ({ agent }) => agent ?? "-", min_columns: 5, may_go: true },
    { title: "model", text: ({ model }) => model ?? "-", min_columns: 5, may_go: true },
    { title: "entries", text: ({ last_seq }) => count(last_seq), align: "right" },
    {
      title: "construct",
      text: ({ construct_id }) => idColumn(cli).text({ id: construct_id }),
      paint: cli.terminal.style.cyan,
      may_go: true,
    },
    updatedColumn(cli),
  ],
  facts: ({ terminal }, row) => [
    { name: "id", value: row.id },
    ...textFact("title", row.title),
    { name: "status", value: row.status, paint: (text) => statusText(text, terminal.style) },
    ...timeFact("since", row.status_since_at_ms),
    { name: "construct", value: row.construct_id },
    ...textFact("parent", row.parent_id),
    ...textFact("agent", row.agent),
    ...textFact("model", row.model),
    ...textFact("external id", row.external_id),
    ...textFact("directory", row.working_directory),
    ...textFact("branch", row.branch),
    { name: "entries", value: count(row.last_seq) },
    { name: "head", value: row.head },
    ...(row.dropped_through_seq === 0
      ? []
      : [{ name: "dropped", value: `through ${count(row.dropped_through_seq)}` }]),
    ...timeFact("started", row.started_at_ms),
    ...timeFact("ended", row.ended_at_ms),
    ...timeFact("updated", row.updated_at_ms),
    { name: "revision", value: String(row.revision) },
    ...metadataFact(row.metadata),
  ],
};

interface ListOptions {
  construct?: string;
  workspace?: string;
  parent?: string;
  status?: string[];
  agent?: string[];
  externalId?: string[];
  deleted?: boolean;
  limit: number;
}

async function list(cli: Cli, options: ListOptions): Promise<void> {
  const { construct, workspace, parent, status, agent, externalId, deleted } = options;
  const client = await cli.client();
  const filters = {
    construct_id: construct === undefined ? undefined : await CONSTRUCT.resolve(client, construct),
    workspace_id: workspace === undefined ? undefined : await resolveWorkspace(client, workspace),
    parent_id: parent === undefined ? undefined : await resolveSession(client, parent),
  };
  return listRows(
    cli,
    SESSION,
    { ...filters, status, agent, external_id: externalId, deleted },
    options.limit,
  );
}

async function create(cli: Cli, construct: string, options: Options): Promise<void> {
  const client = await cli.client();
  const { parent } = options;
  const construct_id = await CONSTRUCT.resolve(client, construct);
  const parent_id = typeof parent === "string" ? await resolveSession(client, parent) : undefined;
  return createOne(cli, SESSION, { construct_id, ...(parent_id !== undefined && { parent_id }) }, options);
}

export function defineSession(program: Command, act: Act): void {
  const noun = program.command("session").summary("conversations of agents");
  const listing = noun
    .command("list")
    .summary("list sessions, the last changed first")
    .option("--construct <id>", "of this construct")
    .option("--workspace <name>", "of this workspace (name or id)")
    .option("--parent <id>", "that this session started")
    .addOption(
      repeatableChoice(
        "--status <status>",
        "of this status; repeatable, as are the next two",
        SESSION_STATUSES,
      ),
    )
    .option("--agent <name>", "of this agent", repeatable)
    .option("--external-id <id>", "with the agent's own name", repeatable)
    .option("--deleted", "those that were deleted");
  addLimit(listing).action(act((cli, options: ListOptions) => list(cli, options)));
  noun
    .command("show")
    .summary("show one session")
    .argument("<session>", "id")
    .action(act((cli, given: string) => showOne(cli, SESSION, given)));
  addFields(
    noun
      .command("create")
      .summary("make a session and print its id")
      .argument("<construct>", "id")
      .option("--parent <id>", "the session that starts this one"),
    FIELDS,
    "create",
  ).action(act((cli, construct: string, options: Options) => create(cli, construct, options)));
  addFields(
    noun.command("update").summary("change a session").argument("<session>", "id"),
    FIELDS,
    "update",
  ).action(act((cli, given: string, options: Options) => updateOne(cli, SESSION, given, options)));
  noun
    .command("delete")
    .summary("hide a session and its transcript")
    .argument("<session>", "id")
    .action(
      act((cli, given: string) =>
        deleteOne(cli, SESSION, given, "Hidden; `synthetic session undelete` brings it back."),
      ),
    );
  noun
    .command("undelete")
    .summary("bring a deleted session back")
    .argument("<session>", "id")
    .action(act((cli, given: string) => undeleteOne(cli, SESSION, given)));
}
