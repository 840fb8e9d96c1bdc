/** `synthetic transcript`: the whole of a session, as its lines or for people. */
import type { Command } from "commander";
import type { Session } from "../schema/session.ts";
import { type ShownEntry, renderEntry } from "./entry-view.ts";
import { streamLines } from "./entry-stream.ts";
import type { Cli } from "./machine.ts";
import type { Act } from "./program.ts";
import { resolveSession } from "./session.ts";
import type { Terminal } from "./terminal.ts";

/** Lines of a body that are shown when not all are asked for. */
const MOST_LINES = 20;
const NEWLINE = Uint8Array.of(10);

const EXAMPLES = `
Examples:
  $ synthetic transcript SESSION | less -R
  $ synthetic transcript SESSION --json > transcript.ndjson      every byte as it was sent
  $ synthetic transcript SESSION --json | jq 'select(.kind == "error")'`;

export interface ShowOptions {
  raw?: boolean;
  full?: boolean;
}

/** Writes wire lines (without newlines) as they are, or for people. */
export async function writeLines(
  terminal: Terminal,
  lines: readonly Uint8Array[],
  { raw, full }: ShowOptions,
): Promise<void> {
  if (terminal.json || raw === true)
    return terminal.write(Buffer.concat(lines.flatMap((line) => [line, NEWLINE])));
  const view = {
    style: terminal.style,
    columns: terminal.columns,
    most_lines: full === true ? Infinity : MOST_LINES,
  };
  const decoder = new TextDecoder();
  return terminal.write(
    lines.map((line) => renderEntry(JSON.parse(decoder.decode(line)) as ShownEntry, view)).join(""),
  );
}

async function transcript(cli: Cli, given: string, options: ShowOptions): Promise<void> {
  const client = await cli.client();
  const session = await client.json<Session>({ path: `/v1/sessions/${await resolveSession(client, given)}` });
  for await (const lines of streamLines(
    client,
    session,
    session.dropped_through_seq,
    cli.interruption.signal,
  )) {
    await writeLines(cli.terminal, lines, options);
  }
}

export function defineTranscript(program: Command, act: Act): void {
  program
    .command("transcript")
    .summary("print the whole transcript of a session")
    .argument("<session>", "id")
    .option("--raw", "the lines as they are stored, NDJSON (the same as --json)")
    .option("--full", "all of every body, for people")
    .addHelpText("after", EXAMPLES)
    .action(act((cli, given: string, options: ShowOptions) => transcript(cli, given, options)));
}
