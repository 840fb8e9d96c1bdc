/** `synthetic artifact put`: a file or a pipe becomes an artifact, and what arrived is compared with what was read. */
import { basename } from "node:path";
import { Problem } from "../errors.ts";
import { system_clock } from "../lib/clock.ts";
import { limit } from "../limits.ts";
import type { Artifact } from "../schema/artifact.ts";
import { bodyOf, type SentBody } from "./artifact-body.ts";
import { ARTIFACT, ARTIFACT_FIELDS } from "./artifact-noun.ts";
import { type Client, type Query, valueOf } from "./client.ts";
import { CONSTRUCT } from "./construct-noun.ts";
import { membersOf, type Options } from "./fields.ts";
import { bytes, duration } from "./format.ts";
import { openInput } from "./input.ts";
import type { Cli } from "./machine.ts";
import { createProgress } from "./progress.ts";
import { safeLine } from "./safe-text.ts";
import { resolveSession } from "./session.ts";

export interface PutOptions extends Options {
  construct: string;
  session?: string;
  entrySeq?: number;
  open?: boolean;
}

/** `metadata.KEY=VALUE`, as the query takes them. */
function metadataQuery(metadata: Record<string, string | null>): Query {
  return Object.fromEntries(
    Object.entries(metadata).map(([key, value]) => {
      if (value === null) throw new Problem("usage", `--metadata ${key}: KEY=VALUE is expected.`);
      return [`metadata.${key}`, value];
    }),
  );
}

/** Where it belongs. Both are looked at before anything is read: a pipe can be read only once. */
async function placeOf(client: Client, { construct, session }: PutOptions): Promise<Query> {
  const construct_id = await CONSTRUCT.resolve(client, construct);
  await client.json({ path: `/v1/constructs/${construct_id}` });
  if (session === undefined) return { construct_id };
  const session_id = await resolveSession(client, session);
  await client.json({ path: `/v1/sessions/${session_id}` });
  return { construct_id, session_id };
}

/** Errors: those of the upload; `usage` when the file cannot be read to its end. */
async function upload(client: Client, query: Query, body: SentBody, is_pipe: boolean): Promise<Response> {
  try {
    return await client.request({
      method: "POST",
      path: ARTIFACT.path,
      query,
      headers: { "content-type": "application/octet-stream" },
      body: body.stream,
      endless: true,
    });
  } catch (error) {
    throw body.failure ?? (is_pipe ? withPauseHint(error) : error);
  }
}

/** A server closes a connection on which nothing comes, and a pipe may be quiet for longer. */
function withPauseHint(error: unknown): unknown {
  if (!(error instanceof Problem) || error.code !== "unreachable") return error;
  const hint = `An upload may not pause for ${duration(limit("request_idle_ms"))}: use --open, then append and seal.`;
  return new Problem(error.code, error.message, { ...error.extra, hint });
}

/** Errors: `integrity_failed`. An open one that was there already was not sent again. */
function check(row: Artifact, body: SentBody, is_new: boolean, is_open: boolean): void {
  const same = is_open ? !is_new || row.size_bytes === body.size_bytes : row.sha256 === body.sha256();
  if (same) return;
  throw new Problem("integrity_failed", "What arrived is not what was read.", {
    hint: `Look at ${row.id}, delete it and put the file again.`,
  });
}

export async function put(cli: Cli, file: string, options: PutOptions): Promise<void> {
  const { terminal, machine, interruption } = cli;
  const { metadata = {}, ...members } = await membersOf(ARTIFACT_FIELDS, options, cli);
  const facts = metadataQuery(metadata as Record<string, string | null>);
  const input = openInput(machine, terminal, file);
  const client = await cli.client();
  const query: Query = {
    ...(file !== "-" && { name: basename(file) }),
    ...(members as Query),
    ...facts,
    ...(await placeOf(client, options)),
    entry_seq: options.entrySeq,
    open: options.open,
  };
  const progress = createProgress(terminal, system_clock);
  const of_all = input.size_bytes === null ? "" : ` of ${bytes(input.size_bytes)}`;
  const body = bodyOf(input.chunks, interruption.signal, (sent_bytes) =>
    progress.update(() => `${bytes(sent_bytes)}${of_all}`),
  );
  let response: Response;
  try {
    response = await upload(client, query, body, input.size_bytes === null);
  } finally {
    progress.clear();
  }
  const row = await valueOf<Artifact>(response);
  const is_new = response.status === 201;
  check(row, body, is_new, options.open === true);
  if (terminal.json) return terminal.writeJson(row);
  await terminal.write(`${row.id}\n`);
  terminal.say(
    terminal.talk_style.dim(
      `${is_new ? "created" : "was there already"}: artifact ${safeLine(ARTIFACT.label(row))}, ${bytes(row.size_bytes)}`,
    ),
  );
}
