/** `synthetic artifact append`: a file or a pipe goes to the end of an open artifact, as it comes. */
import { Problem } from "../errors.ts";
import { system_clock } from "../lib/clock.ts";
import { limit } from "../limits.ts";
import type { Artifact } from "../schema/artifact.ts";
import { appendPiece, type ArtifactEnd } from "./artifact-append-run.ts";
import { groupBytes } from "./artifact-groups.ts";
import { ARTIFACT } from "./artifact-noun.ts";
import { bytes } from "./format.ts";
import { openInput } from "./input.ts";
import type { Cli } from "./machine.ts";
import { createProgress } from "./progress.ts";

/** The failure, with what is stored all the same. */
function withStored(error: unknown, { stored_bytes, offset }: ArtifactEnd): unknown {
  if (!(error instanceof Problem) || stored_bytes === 0) return error;
  const { code, message, extra } = error;
  const members = { ...extra.members, stored_bytes, stored_through: offset };
  return new Problem(code, `${message} Before that, ${bytes(stored_bytes)} were stored.`, {
    ...extra,
    members,
  });
}

export async function appendToArtifact(cli: Cli, given: string, file: string | undefined): Promise<void> {
  const { terminal, machine, interruption } = cli;
  const { signal } = interruption;
  const input = openInput(machine, terminal, file);
  const client = await cli.client();
  const id = await ARTIFACT.resolve(client, given);
  const { state, size_bytes } = await client.json<Artifact>({ path: `${ARTIFACT.path}/${id}` });
  if (state === "sealed")
    throw new Problem("conflict", "This artifact is sealed: its bytes no longer change.");
  const end: ArtifactEnd = { offset: size_bytes, stored_bytes: 0 };
  const progress = createProgress(terminal, system_clock);
  const target = {
    client,
    id,
    signal,
    waits: ({ message }: Problem) => terminal.say(`${message} Trying again.`),
  };
  const groups = { group_bytes: limit("cli_append_request_bytes"), idle_ms: limit("cli_append_idle_ms") };
  const of_all = input.size_bytes === null ? "" : ` of ${bytes(input.size_bytes)}`;
  try {
    for await (const group of groupBytes(input.chunks, groups, signal)) {
      await appendPiece(target, group, end);
      progress.update(() => `${bytes(end.stored_bytes)}${of_all}`);
    }
  } catch (error) {
    throw withStored(error, end);
  } finally {
    progress.clear();
  }
  const { stored_bytes, offset } = end;
  if (terminal.json) return terminal.writeJson({ id, appended_bytes: stored_bytes, size_bytes: offset });
  if (stored_bytes === 0) return terminal.say("There was nothing to append.");
  return terminal.write(`${bytes(stored_bytes)} appended, ${bytes(offset)} in all\n`);
}
