/** `synthetic construct list`: every filter of the API as an option. */
import { type Command, Option } from "commander";
import { Problem } from "../errors.ts";
import { addLimit, addSince, repeatable, repeatableChoice } from "./columns.ts";
import { CONSTRUCT } from "./construct-noun.ts";
import type { Cli } from "./machine.ts";
import type { Act } from "./program.ts";
import { listRows } from "./resource.ts";
import { CONSTRUCT_SORTS, CONSTRUCT_STATUSES } from "./words.ts";
import { resolveWorkspace } from "./workspace.ts";

interface ListOptions {
  workspace?: string;
  status?: string[];
  type?: string[];
  label?: string[];
  agent?: string[];
  branch?: string[];
  metadata?: string[];
  query?: string;
  since?: number;
  pinned?: boolean;
  deleted?: boolean;
  sort?: string;
  reverse?: boolean;
  limit: number;
}

/** Sorts go downwards, titles upwards, unless they are reversed. */
function orderOf({ sort = "updated", reverse = false }: ListOptions): "asc" | "desc" {
  return (sort === "title") !== reverse ? "asc" : "desc";
}

/** `KEY=VALUE` as filters; several values of one key mean any of them. */
function metadataFilters(pairs: readonly string[]): Record<string, string[]> {
  const filters: Record<string, string[]> = {};
  for (const pair of pairs) {
    const at = pair.indexOf("=");
    if (at === -1) throw new Problem("usage", `--metadata ${pair}: KEY=VALUE is expected.`);
    (filters[`metadata.${pair.slice(0, at)}`] ??= []).push(pair.slice(at + 1));
  }
  return filters;
}

async function list(cli: Cli, options: ListOptions): Promise<void> {
  const { workspace, status, type, label, agent, branch, query, since, pinned, deleted, sort } = options;
  const facts = metadataFilters(options.metadata ?? []);
  const workspace_id =
    workspace === undefined ? undefined : await resolveWorkspace(await cli.client(), workspace);
  const filters = { workspace_id, status, type, label, agent, branch, q: query, pinned, deleted };
  const order = { updated_after: since, sort, order: orderOf(options) };
  return listRows(cli, CONSTRUCT, { ...filters, ...facts, ...order }, options.limit);
}

export function defineConstructList(noun: Command, act: Act): void {
  const command = noun
    .command("list")
    .summary("list constructs, the last changed first")
    .option("--workspace <name>", "of this workspace (name or id)")
    .addOption(
      repeatableChoice(
        "--status <status>",
        "of this status; repeatable, as are the next four",
        CONSTRUCT_STATUSES,
      ),
    )
    .option("--type <word>", "of this type", repeatable)
    .option("--label <label>", "with this label", repeatable)
    .option("--agent <name>", "of this agent", repeatable)
    .option("--branch <name>", "of this branch", repeatable)
    .option("--metadata <key=value>", "with this fact; repeatable", repeatable)
    .option("--query <text>", "part of the title or the brief")
    .option("--pinned", "only those that are pinned")
    .option("--deleted", "what is in the trash")
    .addOption(new Option("--sort <key>", "the order").choices(CONSTRUCT_SORTS))
    .option("--reverse", "the other way round");
  addLimit(addSince(command)).action(act((cli, options: ListOptions) => list(cli, options)));
}
