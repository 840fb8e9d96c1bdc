/**
 * `synthetic artifact get`: an artifact becomes a file. Its name comes from others: it never decides about a folder,
 * and nothing that is there is replaced unasked. The file appears whole and checked, or not at all.
 */
import { lstatSync, renameSync, rmSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Problem } from "../errors.ts";
import { system_clock } from "../lib/clock.ts";
import { systemCode } from "../lib/private-files.ts";
import { limit } from "../limits.ts";
import type { Artifact } from "../schema/artifact.ts";
import { writeContent } from "./artifact-cat.ts";
import { streamContent } from "./artifact-content.ts";
import { ARTIFACT } from "./artifact-noun.ts";
import { bytes } from "./format.ts";
import type { Cli } from "./machine.ts";
import { createProgress } from "./progress.ts";
import { safeLine } from "./safe-text.ts";

export interface GetOptions {
  output?: string;
  force?: boolean;
}

const UNNAMED = "artifact";

/**
 * A file name out of the name of an artifact: its last part, without what is not seen, and with nothing in front that
 * hides a file (a dot) or makes it an option (a dash).
 */
export function fileName(name: string): string {
  const last = name.split(/[/\\]/).at(-1) ?? "";
  const visible = last
    .toWellFormed()
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "")
    .replace(/^[.\s-]+/, "");
  // A character that is cut in two becomes U+FFFD.
  const short = Buffer.from(visible)
    .subarray(0, limit("cli_file_name_bytes"))
    .toString()
    .replace(/\ufffd+$/, "");
  return short.trimEnd() || UNNAMED;
}

/** Errors: `usage` when something is there that may not be replaced. */
function requireFree(path: string, force: boolean): void {
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (there === undefined) return;
  // A device or a link would itself be replaced by the file.
  if (!there.isFile()) throw new Problem("usage", `${path} is there and is not a regular file.`);
  if (!force) throw new Problem("usage", `${path} is there already.`, { hint: "--force replaces it." });
}

/** A new file beside its place, for which no name can be too long. */
async function openBeside(path: string): Promise<{ file: FileHandle; temporary: string }> {
  const temporary = join(dirname(path), `.synthetic-${process.pid}.part`);
  rmSync(temporary, { force: true });
  try {
    return { file: await open(temporary, "wx", 0o600), temporary };
  } catch (error) {
    throw new Problem("usage", `${path} cannot be written (${systemCode(error) ?? "error"}).`, {
      cause: error,
    });
  }
}

async function writeAll(file: FileHandle, piece: Uint8Array): Promise<void> {
  for (let rest = piece; rest.byteLength > 0;) rest = rest.subarray((await file.write(rest)).bytesWritten);
}

async function download(cli: Cli, artifact: Artifact, path: string, force: boolean): Promise<void> {
  const { terminal, interruption } = cli;
  requireFree(path, force);
  const client = await cli.client();
  const progress = createProgress(terminal, system_clock);
  const { file, temporary } = await openBeside(path);
  let got_bytes = 0;
  try {
    try {
      for await (const piece of streamContent(client, artifact, interruption.signal)) {
        await writeAll(file, piece);
        got_bytes += piece.byteLength;
        progress.update(() => `${bytes(got_bytes)} of ${bytes(artifact.size_bytes)}`);
      }
      await file.sync();
    } finally {
      progress.clear();
      await file.close();
    }
    requireFree(path, force);
    renameSync(temporary, path);
  } finally {
    rmSync(temporary, { force: true });
  }
}

export async function get(cli: Cli, given: string, { output, force = false }: GetOptions): Promise<void> {
  const { terminal } = cli;
  const client = await cli.client();
  const id = await ARTIFACT.resolve(client, given);
  const artifact = await client.json<Artifact>({ path: `${ARTIFACT.path}/${id}` });
  if (output === "-") return writeContent(cli, artifact);
  const path = output ?? fileName(artifact.name);
  await download(cli, artifact, path, force);
  const { size_bytes, sha256 } = artifact;
  if (terminal.json) return terminal.writeJson({ id, path, size_bytes, sha256 });
  await terminal.write(terminal.stdout_is_terminal ? `${safeLine(path)}\n` : `${path}\n`);
  const checked = sha256 === null ? "it still grows, so there is no digest yet" : "its digest is right";
  terminal.say(terminal.talk_style.dim(`${bytes(size_bytes)}, ${checked}`));
}
