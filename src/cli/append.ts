/** `synthetic append`: entries from a file or a pipe, as they come, each exactly once. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { Problem } from "../errors.ts";
import { ID_PATTERN } from "../lib/ids.ts";
import { system_clock } from "../lib/clock.ts";
import { type AppendState, appendRequest, type Position } from "./append-run.ts";
import type { Client } from "./client.ts";
import { groupEntries } from "./append-groups.ts";
import type { EntryFormat } from "./entry-input.ts";
import { bytes, count, counted } from "./format.ts";
import { openInput } from "./input.ts";
import type { Cli } from "./machine.ts";
import type { Act } from "./program.ts";
import { createProgress } from "./progress.ts";
import { resolveSession } from "./session.ts";
import { ACTORS, ENTRY_KINDS } from "./words.ts";

const EXAMPLES = `
Input is NDJSON, one entry a line: {"kind":"message","actor":"agent","body":…}. The body may be any JSON.

Examples:
  $ echo '{"kind":"note","body":"hello"}' | synthetic append SESSION
  $ synthetic append SESSION history.ndjson --json
  $ make test 2>&1 | synthetic append SESSION --text --kind command --actor tool
  $ tail -f agent.jsonl | synthetic append SESSION --raw-json --kind message`;

interface AppendOptions {
  text?: boolean;
  rawJson?: boolean;
  ndjson?: boolean;
  kind?: string;
  actor?: string;
  after?: Position;
}

function formatOf({ text, rawJson, ndjson, kind, actor }: AppendOptions): EntryFormat {
  if ([text, rawJson, ndjson].filter((chosen) => chosen === true).length > 1)
    throw new Problem("usage", "Only one of --ndjson, --text and --raw-json may be given.");
  const form = text === true ? "text" : rawJson === true ? "json" : "entry";
  if (form === "entry" && (kind !== undefined || actor !== undefined))
    throw new Problem("usage", "--kind and --actor go with --text or --raw-json; entries bring their own.");
  if (form === "json" && kind === undefined) throw new Problem("usage", "--raw-json needs --kind.");
  return { form, ...(kind !== undefined && { kind }), ...(actor !== undefined && { actor }) };
}

async function startState(
  client: Client,
  session_id: string,
  after: Position | undefined,
): Promise<AppendState> {
  const { last_seq } = await client.json<{ last_seq: number }>({ path: `/v1/sessions/${session_id}` });
  return {
    position: after ?? { seq: last_seq },
    is_fixed: after !== undefined,
    first_seq: null,
    head: null,
    entry_count: 0,
    replayed_count: 0,
  };
}

/** The failure, with what is stored all the same. */
function withStored(error: unknown, { entry_count, position }: AppendState): unknown {
  if (!(error instanceof Problem) || entry_count === 0) return error;
  const { code, message, extra } = error;
  const members = { ...extra.members, stored_count: entry_count, stored_through_seq: position.seq };
  const stored = `${counted(entry_count, "entry is", "entries are")} stored, through ${position.seq}`;
  return new Problem(code, `${message} Before that, ${stored}.`, { ...extra, members });
}

async function append(
  cli: Cli,
  given: string,
  file: string | undefined,
  options: AppendOptions,
): Promise<void> {
  const { terminal, interruption, machine } = cli;
  const { signal } = interruption;
  const format = formatOf(options);
  const input = openInput(machine, terminal, file);
  const client = await cli.client();
  const session_id = await resolveSession(client, given);
  const state = await startState(client, session_id, options.after);
  const progress = createProgress(terminal, system_clock);
  const target = {
    client,
    session_id,
    signal,
    waits: ({ message }: Problem) => terminal.say(`${message} Trying again.`),
  };
  let sent_bytes = 0;
  try {
    for await (const group of groupEntries(input.chunks, format, signal)) {
      const body = joined(group);
      await appendRequest(target, body, group.length, state);
      sent_bytes += body.byteLength;
      const of_all = input.size_bytes === null ? "" : ` of ${bytes(input.size_bytes)}`;
      progress.update(() => `${count(state.entry_count)} entries, ${bytes(sent_bytes)}${of_all}`);
    }
  } catch (error) {
    throw withStored(error, state);
  } finally {
    progress.clear();
  }
  await report(cli, session_id, state, sent_bytes);
}

function joined(group: readonly Uint8Array[]): Uint8Array {
  const newline = Uint8Array.of(10);
  return Buffer.concat(group.flatMap((line) => [line, newline]));
}

async function report(
  { terminal }: Cli,
  session_id: string,
  state: AppendState,
  sent_bytes: number,
): Promise<void> {
  const { first_seq, head, entry_count, replayed_count, position } = state;
  const last_seq = first_seq === null ? null : position.seq;
  if (terminal.json)
    return terminal.writeJson({
      session_id,
      first_seq,
      last_seq,
      head,
      entry_count,
      replayed_count,
      sent_bytes,
    });
  if (first_seq === null) return terminal.say("There was nothing to append.");
  const replayed = replayed_count === 0 ? "" : `, ${count(replayed_count)} of them were there already`;
  return terminal.write(
    `${counted(entry_count, "entry", "entries")}, ${first_seq} to ${last_seq}${replayed}, head ${head}\n`,
  );
}

/** `SEQ` or `GENERATION.SEQ`. */
export function readPosition(value: string): Position {
  const [generation, seq = ""] = value.includes(".")
    ? [value.slice(0, value.indexOf(".")), value.slice(value.indexOf(".") + 1)]
    : [undefined, value];
  if (!/^\d{1,15}$/.test(seq) || (generation !== undefined && !ID_PATTERN.test(generation)))
    throw new InvalidArgumentError("SEQ or GENERATION.SEQ is expected.");
  return generation === undefined ? { seq: Number(seq) } : { generation, seq: Number(seq) };
}

export function defineAppend(program: Command, act: Act): void {
  program
    .command("append")
    .summary("append entries to a session, from a file or a pipe")
    .argument("<session>", "id")
    .argument("[file]", "the input; - or nothing for stdin")
    .option("--ndjson", "each line is an entry (this is the default)")
    .option("--text", "each line is the text of a body")
    .option("--raw-json", "each line is a body, kept byte for byte")
    .addOption(
      new Option("--kind <kind>", "kind of the entries, with --text (note if absent) and --raw-json").choices(
        ENTRY_KINDS,
      ),
    )
    .addOption(new Option("--actor <actor>", "who made them, with --text and --raw-json").choices(ACTORS))
    .option(
      "--after <position>",
      "only if the session ends there: SEQ or GENERATION.SEQ; the same command can then be repeated",
      readPosition,
    )
    .addHelpText("after", EXAMPLES)
    .action(
      act((cli, given: string, file: string | undefined, options: AppendOptions) =>
        append(cli, given, file, options),
      ),
    );
}
