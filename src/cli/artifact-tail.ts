/**
 * `synthetic artifact tail`: the last lines of a log, and with --follow those that come until it is sealed. A
 * connection that is lost is taken up where it was.
 */
import { ERRORS, Problem } from "../errors.ts";
import { limit } from "../limits.ts";
import type { Artifact, ArtifactLine, ArtifactLines } from "../schema/artifact.ts";
import { ARTIFACT } from "./artifact-noun.ts";
import { chunksOf, type Client } from "./client.ts";
import { readEvents } from "./event-stream.ts";
import { bytes } from "./format.ts";
import { pause } from "./interruption.ts";
import type { Cli } from "./machine.ts";
import { problemFrom } from "./problem.ts";
import { safeText } from "./safe-text.ts";
import type { Terminal } from "./terminal.ts";

export interface ArtifactTailOptions {
  lines: number;
  follow?: boolean;
}

/** Writes lines; says once when one of them was cut. */
function createWriter(terminal: Terminal, id: string): (lines: readonly ArtifactLine[]) => Promise<void> {
  let told = terminal.json;
  return async (lines) => {
    const text = lines
      .map((line) => (terminal.json ? JSON.stringify(line) : line.text))
      .map((line) => `${line}\n`)
      .join("");
    await terminal.write(terminal.stdout_is_terminal && !terminal.json ? safeText(text) : text);
    if (told || lines.every(({ line_bytes }) => line_bytes === undefined)) return;
    told = true;
    terminal.say(
      `Lines longer than ${bytes(limit("text_line_bytes"))} are cut; \`synthetic artifact cat ${id}\` gives all.`,
    );
  };
}

/** Where the last `count` lines begin, and how many there are now. */
async function startOfTail(
  client: Client,
  id: string,
  count: number,
): Promise<{ from: number; total: number }> {
  const { total_lines_count } = await client.json<ArtifactLines>({
    path: `/v1/artifacts/${id}/lines`,
    query: { tail: 1 },
  });
  return { from: Math.max(1, total_lines_count - count + 1), total: total_lines_count };
}

/** Lines from..total in pages. */
async function* linesBetween(
  client: Client,
  id: string,
  from: number,
  total: number,
): AsyncGenerator<ArtifactLine[]> {
  for (let next: number | null = from; next !== null && next <= total;) {
    const page: ArtifactLines = await client.json<ArtifactLines>({
      path: `/v1/artifacts/${id}/lines`,
      query: { from: next, count: Math.min(limit("page_items_count"), total - next + 1) },
    });
    yield page.items;
    next = page.next_line;
  }
}

/** Until it is sealed. Errors: `gone` when it is deleted, `unreachable` when the server stays away. */
async function follow(
  cli: Cli,
  client: Client,
  id: string,
  from: number,
  write: (lines: readonly ArtifactLine[]) => Promise<void>,
): Promise<void> {
  const { signal } = cli.interruption;
  let next = from;
  for (let failed = 0; !signal.aborted;) {
    try {
      const response = await client.request({
        path: `/v1/artifacts/${id}/lines`,
        query: { follow: true, from: next },
        headers: { accept: "text/event-stream" },
        endless: true,
      });
      for await (const { event, data } of readEvents(chunksOf(response, signal))) {
        failed = 0;
        if (event === "end") return;
        if (event === "error")
          throw problemFrom(data, { code: "unreachable", detail: "The server ended the tail." });
        if (event !== "line") continue;
        const line = JSON.parse(data) as ArtifactLine;
        await write([line]);
        next = line.line + 1;
      }
    } catch (error) {
      if (signal.aborted || !(error instanceof Problem) || !ERRORS[error.code].retryable) throw error;
      if (failed >= limit("cli_tail_retries_count")) throw error;
    }
    if (failed >= limit("cli_tail_retries_count"))
      throw new Problem("unreachable", "The server ends the tail again and again.");
    await pause(Math.min(limit("cli_tail_pause_ms") * 2 ** failed, limit("cli_longest_pause_ms")), signal);
    failed += 1;
  }
}

export async function tailArtifact(cli: Cli, given: string, options: ArtifactTailOptions): Promise<void> {
  const { terminal } = cli;
  const client = await cli.client();
  const id = await ARTIFACT.resolve(client, given);
  const write = createWriter(terminal, id);
  const { from, total } = await startOfTail(client, id, options.lines);
  if (options.follow === true && client.via === "server") return follow(cli, client, id, from, write);
  for await (const lines of linesBetween(client, id, from, total)) await write(lines);
  if (options.follow !== true) return;
  // Without a server nobody can append while this command holds the directory: there is nothing to wait for.
  const { state } = await client.json<Artifact>({ path: `${ARTIFACT.path}/${id}` });
  if (state === "open") terminal.say("No server runs, so nothing more can come.");
}
