/** `synthetic construct …`: units of agent work. */
import type { Command } from "commander";
import { system_clock } from "../lib/clock.ts";
import type { StatusPeriod } from "../schema/construct.ts";
import { statusColumn } from "./columns.ts";
import { defineConstructList } from "./construct-list.ts";
import { CONSTRUCT, CONSTRUCT_FIELDS } from "./construct-noun.ts";
import { addFields, type Options } from "./fields.ts";
import { duration, instant } from "./format.ts";
import type { Cli } from "./machine.ts";
import type { Act } from "./program.ts";
import { createOne, deleteOne, showOne, undeleteOne, updateOne } from "./resource.ts";
import { renderTable } from "./table.ts";
import { resolveWorkspace } from "./workspace.ts";

async function create(cli: Cli, title: string, options: Options): Promise<void> {
  const { workspace } = options;
  const workspace_id =
    typeof workspace === "string" ? await resolveWorkspace(await cli.client(), workspace) : undefined;
  return createOne(cli, CONSTRUCT, { title, ...(workspace_id !== undefined && { workspace_id }) }, options);
}

async function statuses(cli: Cli, given: string): Promise<void> {
  const { terminal } = cli;
  const client = await cli.client();
  const id = await CONSTRUCT.resolve(client, given);
  const { items } = await client.json<{ items: StatusPeriod[] }>({ path: `/v1/constructs/${id}/statuses` });
  if (terminal.json) return terminal.write(items.map((item) => `${JSON.stringify(item)}\n`).join(""));
  const now = system_clock.now_ms();
  return terminal.write(
    renderTable(
      items,
      [
        statusColumn<StatusPeriod>(cli),
        { title: "from", text: ({ from_at_ms }) => instant(from_at_ms) },
        {
          title: "for",
          text: ({ from_at_ms, until_at_ms }) => duration((until_at_ms ?? now) - from_at_ms),
          align: "right",
        },
        { title: "by", text: ({ actor }) => actor },
        { title: "reason", text: ({ reason }) => reason ?? "", min_columns: 10 },
      ],
      terminal.columns,
      terminal.style,
    ),
  );
}

export function defineConstruct(program: Command, act: Act): void {
  const noun = program.command("construct").summary("units of agent work");
  defineConstructList(noun, act);
  noun
    .command("show")
    .summary("show one construct")
    .argument("<construct>", "id")
    .action(act((cli, given: string) => showOne(cli, CONSTRUCT, given)));
  addFields(
    noun
      .command("create")
      .summary("make a construct and print its id")
      .argument("<title>")
      .option("--workspace <name>", "the workspace (name or id)"),
    CONSTRUCT_FIELDS,
    "create",
  ).action(act((cli, title: string, options: Options) => create(cli, title, options)));
  addFields(
    noun.command("update").summary("change a construct").argument("<construct>", "id"),
    CONSTRUCT_FIELDS,
    "update",
  ).action(act((cli, given: string, options: Options) => updateOne(cli, CONSTRUCT, given, options)));
  noun
    .command("delete")
    .summary("move a construct to the trash")
    .argument("<construct>", "id")
    .action(
      act((cli, given: string) =>
        deleteOne(cli, CONSTRUCT, given, "In the trash; `synthetic construct undelete` brings it back."),
      ),
    );
  noun
    .command("undelete")
    .summary("bring a construct back from the trash")
    .argument("<construct>", "id")
    .action(act((cli, given: string) => undeleteOne(cli, CONSTRUCT, given)));
  noun
    .command("statuses")
    .summary("show every status that a construct had")
    .argument("<construct>", "id")
    .action(act((cli, given: string) => statuses(cli, given)));
}
