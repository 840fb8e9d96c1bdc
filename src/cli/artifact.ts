/** `synthetic artifact …`: files of agents that belong to a construct. */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { Artifact } from "../schema/artifact.ts";
import { appendToArtifact } from "./artifact-append.ts";
import { cat } from "./artifact-cat.ts";
import { get, type GetOptions } from "./artifact-get.ts";
import { ARTIFACT, ARTIFACT_FIELDS, ARTIFACT_SORTS } from "./artifact-noun.ts";
import { put, type PutOptions } from "./artifact-put.ts";
import { type ArtifactTailOptions, tailArtifact } from "./artifact-tail.ts";
import { addLimit, repeatable } from "./columns.ts";
import { CONSTRUCT } from "./construct-noun.ts";
import { addFields } from "./fields.ts";
import { bytes } from "./format.ts";
import type { Cli } from "./machine.ts";
import type { Act } from "./program.ts";
import { deleteOne, listRows, showOne } from "./resource.ts";
import { safeLine } from "./safe-text.ts";
import { resolveSession } from "./session.ts";

const DEFAULT_LINES = 10;

const PUT_EXAMPLES = `
Examples:
  $ synthetic artifact put report.md --construct ID --type report
  $ git diff | synthetic artifact put - --construct ID --type diff --name change.diff
  $ id=$(synthetic artifact put - --construct ID --type log --name build.log --open </dev/null)
  $ make 2>&1 | synthetic artifact append "$id" && synthetic artifact seal "$id"`;

const GET_EXAMPLES = `
Examples:
  $ synthetic artifact get ID                  its name, in the current directory
  $ synthetic artifact get ID -o - | tar t`;

interface ListOptions {
  construct?: string[];
  session?: string;
  type?: string[];
  namePrefix?: string;
  sort?: string;
  order?: string;
  limit: number;
  all?: boolean;
}

async function list(cli: Cli, options: ListOptions): Promise<void> {
  const { construct = [], session, type, namePrefix, sort, order, all } = options;
  const client = await cli.client();
  const construct_id: string[] = [];
  for (const given of construct) construct_id.push(await CONSTRUCT.resolve(client, given));
  const session_id = session === undefined ? undefined : await resolveSession(client, session);
  const query = { construct_id, session_id, type, name_prefix: namePrefix, sort, order };
  return listRows(cli, ARTIFACT, query, all === true ? Infinity : options.limit);
}

async function seal(cli: Cli, given: string): Promise<void> {
  const { terminal } = cli;
  const client = await cli.client();
  const id = await ARTIFACT.resolve(client, given);
  const row = await client.json<Artifact>({ method: "POST", path: `${ARTIFACT.path}/${id}/seal` });
  if (terminal.json) return terminal.writeJson(row);
  terminal.say(
    terminal.talk_style.dim(
      `sealed: artifact ${safeLine(ARTIFACT.label(row))}, ${bytes(row.size_bytes)}, sha256 ${row.sha256}`,
    ),
  );
}

function readWhole(least: number): (value: string) => number {
  return (value) => {
    if (!/^\d{1,9}$/.test(value) || Number(value) < least)
      throw new InvalidArgumentError(`A whole number from ${least} is expected.`);
    return Number(value);
  };
}

function defineReading(noun: Command, act: Act): void {
  const listing = noun
    .command("list")
    .summary("list artifacts, the newest first")
    .option("--construct <id>", "of this construct; repeatable", repeatable)
    .option("--session <id>", "of this session")
    .option("--type <word>", "of this type; repeatable", repeatable)
    .option("--name-prefix <text>", "whose name begins so; case matters")
    .addOption(new Option("--sort <key>", "the order").choices(ARTIFACT_SORTS))
    .addOption(new Option("--order <way>", "upwards or downwards").choices(["asc", "desc"]));
  addLimit(listing)
    .option("--all", "without a bound")
    .action(act((cli, options: ListOptions) => list(cli, options)));
  noun
    .command("show")
    .summary("show what is known of an artifact")
    .argument("<artifact>", "id")
    .action(act((cli, given: string) => showOne(cli, ARTIFACT, given)));
  noun
    .command("get")
    .summary("save an artifact as a file and print its path")
    .argument("<artifact>", "id")
    .option("-o, --output <file>", "where to; - is stdout; its name in the current directory if absent")
    .option("--force", "replace a file that is there")
    .addHelpText("after", GET_EXAMPLES)
    .action(act((cli, given: string, options: GetOptions) => get(cli, given, options)));
  noun
    .command("cat")
    .summary("print the bytes of an artifact")
    .argument("<artifact>", "id")
    .action(act((cli, given: string) => cat(cli, given)));
  noun
    .command("tail")
    .summary("print the last lines of an artifact")
    .argument("<artifact>", "id")
    .option("-n, --lines <count>", "how many lines", readWhole(0), DEFAULT_LINES)
    .option("-f, --follow", "go on with what comes until it is sealed")
    .action(act((cli, given: string, options: ArtifactTailOptions) => tailArtifact(cli, given, options)));
}

function defineWriting(noun: Command, act: Act): void {
  addFields(
    noun
      .command("put")
      .summary("store a file as an artifact and print its id")
      .argument("<file>", "the file; - for stdin")
      .requiredOption("--construct <id>", "the construct that it belongs to")
      .option("--session <id>", "the session that made it")
      .option("--entry-seq <n>", "the entry of that session", readWhole(1)),
    ARTIFACT_FIELDS,
    "create",
  )
    .option("--open", "it grows by append until it is sealed")
    .addHelpText("after", PUT_EXAMPLES)
    .action(act((cli, file: string, options: PutOptions) => put(cli, file, options)));
  noun
    .command("append")
    .summary("append a file or a pipe to an open artifact")
    .argument("<artifact>", "id")
    .argument("[file]", "the input; - or nothing for stdin")
    .action(act((cli, given: string, file: string | undefined) => appendToArtifact(cli, given, file)));
  noun
    .command("seal")
    .summary("end the growing of an artifact")
    .argument("<artifact>", "id")
    .action(act((cli, given: string) => seal(cli, given)));
  noun
    .command("delete")
    .summary("delete an artifact")
    .argument("<artifact>", "id")
    .action(
      act((cli, given: string) =>
        deleteOne(cli, ARTIFACT, given, "Deleted; its file goes with a later `synthetic gc`."),
      ),
    );
}

export function defineArtifact(program: Command, act: Act): void {
  const noun = program.command("artifact").summary("files that belong to constructs");
  defineReading(noun, act);
  defineWriting(noun, act);
}
