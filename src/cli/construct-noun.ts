/** What a construct is on the command line: its fields, its columns, its facts. */
import type { Construct } from "../schema/construct.ts";
import { statusText } from "./colour.ts";
import { idColumn, metadataFact, statusColumn, textFact, timeFact, updatedColumn } from "./columns.ts";
import type { Field } from "./fields.ts";
import { type Noun, resolveId } from "./resource.ts";
import { CONSTRUCT_STATUSES } from "./words.ts";

export const CONSTRUCT_FIELDS: readonly Field[] = [
  {
    name: "id",
    flag: "--id <uuid>",
    description: "the id, for a create that can be repeated",
    form: "text",
    only: "create",
  },
  { name: "title", flag: "--title <text>", description: "the new title", form: "text", only: "update" },
  {
    name: "brief",
    flag: "--brief <text>",
    description: "what the work is about, Markdown; @FILE and - read it",
    form: "long",
  },
  {
    name: "type",
    flag: "--type <word>",
    description: "a short word of yours: task, bug, spike",
    form: "text",
  },
  {
    name: "status",
    flag: "--status <status>",
    description: "the status",
    form: "text",
    choices: CONSTRUCT_STATUSES,
  },
  {
    name: "status_reason",
    flag: "--reason <text>",
    description: "why the status changes",
    form: "text",
    only: "update",
  },
  {
    name: "labels",
    flag: "--label <label>",
    description: "a label; repeatable; replaces those that are there",
    form: "list",
  },
  {
    name: "agent",
    flag: "--agent <name>",
    description: "the agent that works on it; empty for none",
    form: "nullable",
  },
  { name: "branch", flag: "--branch <name>", description: "the branch; empty for none", form: "nullable" },
  {
    name: "worktree_path",
    flag: "--worktree-path <dir>",
    description: "the worktree; empty for none",
    form: "nullable",
  },
  { name: "pinned", flag: "--pinned", description: "spare it from retention", form: "switch" },
  {
    name: "metadata",
    flag: "--metadata <key=value>",
    description: "a fact; repeatable; on update a key alone removes it",
    form: "map",
  },
];

export const CONSTRUCT: Noun<Construct> = {
  name: "construct",
  path: "/v1/constructs",
  fields: CONSTRUCT_FIELDS,
  label: ({ title }) => `“${title}”`,
  resolve: (client, given) => resolveId(client, "/v1/constructs", "construct", given),
  columns: (cli) => [
    idColumn(cli),
    statusColumn(cli),
    { title: "title", text: ({ title, pinned }) => (pinned ? `* ${title}` : title), min_columns: 16 },
    { title: "type", text: ({ type }) => type, min_columns: 4, may_go: true },
    { title: "agent", text: ({ agent }) => agent ?? "-", min_columns: 5, may_go: true },
    { title: "branch", text: ({ branch }) => branch ?? "-", min_columns: 6, may_go: true },
    { title: "labels", text: ({ labels }) => labels.join(" ") || "-", min_columns: 6, may_go: true },
    updatedColumn(cli),
  ],
  facts: ({ terminal }, row) => [
    { name: "id", value: row.id },
    { name: "title", value: row.title },
    { name: "status", value: row.status, paint: (text) => statusText(text, terminal.style) },
    ...timeFact("since", row.status_since_at_ms),
    { name: "type", value: row.type },
    { name: "workspace", value: row.workspace_id },
    ...textFact("agent", row.agent),
    ...textFact("branch", row.branch),
    ...textFact("worktree", row.worktree_path),
    ...textFact("labels", row.labels.join(", ")),
    ...textFact("pinned", row.pinned ? "yes" : ""),
    ...timeFact("created", row.created_at_ms),
    ...timeFact("updated", row.updated_at_ms),
    { name: "revision", value: String(row.revision) },
    ...metadataFact(row.metadata),
    ...textFact("brief", row.brief),
  ],
};
