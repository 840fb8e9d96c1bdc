/**
 * `synthetic tail`: the end of a transcript, and then what comes. A connection that is lost is taken up where
 * it was.
 */
import { type Command, InvalidArgumentError } from "commander";
import { ERRORS, Problem } from "../errors.ts";
import { limit } from "../limits.ts";
import type { Session } from "../schema/session.ts";
import type { Position } from "./append-run.ts";
import { readPosition } from "./append.ts";
import { chunksOf, type Client } from "./client.ts";
import { streamLines } from "./entry-stream.ts";
import { readEvents, type ServerEvent } from "./event-stream.ts";
import { pause } from "./interruption.ts";
import type { Cli } from "./machine.ts";
import { problemFrom } from "./problem.ts";
import type { Act } from "./program.ts";
import { resolveSession } from "./session.ts";
import { type ShowOptions, writeLines } from "./transcript.ts";

const DEFAULT_LINES = 10;

const EXAMPLES = `
Examples:
  $ synthetic tail SESSION
  $ synthetic tail SESSION --json --after 0 | jq -r .kind
  $ synthetic tail SESSION -n 3 --no-follow`;

interface TailOptions extends ShowOptions {
  after?: Position;
  lines: number;
  follow: boolean;
}

/** The line of an event; a body that was left out is fetched, where all of it is wanted. */
async function lineOf(
  client: Client,
  session_id: string,
  { data }: ServerEvent,
  whole: boolean,
): Promise<Uint8Array> {
  if (!whole || !data.includes('"body":null,"body_bytes":')) return Buffer.from(data);
  const { seq, body_bytes } = JSON.parse(data) as { seq: number; body_bytes?: number };
  if (body_bytes === undefined) return Buffer.from(data);
  const response = await client.request({ path: `/v1/sessions/${session_id}/entries/${seq}` });
  return Buffer.from((await response.text()).trimEnd());
}

/** Follows until it is interrupted. Errors: `not_found`, `gone`, `unreachable` when the server stays away. */
async function follow(
  cli: Cli,
  client: Client,
  session_id: string,
  after: string,
  options: TailOptions,
): Promise<void> {
  const { terminal, interruption } = cli;
  const { signal } = interruption;
  const whole = terminal.json || options.raw === true;
  let position = after;
  for (let failed = 0; !signal.aborted;) {
    try {
      const response = await client.request({
        path: `/v1/sessions/${session_id}/tail`,
        query: { after: position },
        headers: { accept: "text/event-stream" },
        endless: true,
      });
      for await (const event of readEvents(chunksOf(response, signal))) {
        if (event.id !== "") position = event.id;
        failed = 0;
        if (event.event === "entry")
          await writeLines(terminal, [await lineOf(client, session_id, event, whole)], options);
        else if (event.event === "reset")
          terminal.say("The store was restored from a copy: what follows is another history.");
        else if (event.event === "error")
          throw problemFrom(event.data, { code: "unreachable", detail: "The server ended the tail." });
      }
    } catch (error) {
      if (signal.aborted || !(error instanceof Problem) || !ERRORS[error.code].retryable) throw error;
      if (failed >= limit("cli_tail_retries_count")) throw error;
    }
    if (failed >= limit("cli_tail_retries_count"))
      throw new Problem("unreachable", "The server ends the tail again and again.");
    const pause_ms = Math.min(limit("cli_tail_pause_ms") * 2 ** failed, limit("cli_longest_pause_ms"));
    await pause(pause_ms, signal);
    failed += 1;
  }
}

async function tail(cli: Cli, given: string, options: TailOptions): Promise<void> {
  const client = await cli.client();
  const session = await client.json<Session>({ path: `/v1/sessions/${await resolveSession(client, given)}` });
  const { generation, seq } = options.after ?? {
    seq: Math.max(session.dropped_through_seq, session.last_seq - options.lines),
  };
  if (options.follow && client.via === "server")
    return follow(
      cli,
      client,
      session.id,
      generation === undefined ? String(seq) : `${generation}.${seq}`,
      options,
    );
  // Without a server nobody can append while this command holds the directory: there is nothing to wait for.
  for await (const lines of streamLines(client, session, seq, cli.interruption.signal))
    await writeLines(cli.terminal, lines, options);
  if (options.follow) cli.terminal.say("No server runs, so nothing more can come.");
}

function readLinesCount(value: string): number {
  if (!/^\d{1,9}$/.test(value)) throw new InvalidArgumentError("A whole number is expected.");
  return Number(value);
}

export function defineTail(program: Command, act: Act): void {
  program
    .command("tail")
    .summary("print the end of a transcript and follow it")
    .argument("<session>", "id")
    .option("-n, --lines <count>", "how many entries of before", readLinesCount, DEFAULT_LINES)
    .option("--after <position>", "begin behind this entry instead: SEQ or GENERATION.SEQ", readPosition)
    .option("--no-follow", "end where the transcript ends now")
    .option("--raw", "the lines as they are stored, NDJSON (the same as --json)")
    .option("--full", "all of every body, for people")
    .addHelpText("after", EXAMPLES)
    .action(act((cli, given: string, options: TailOptions) => tail(cli, given, options)));
}
