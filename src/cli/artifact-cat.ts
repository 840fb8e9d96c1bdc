/** The bytes of an artifact on stdout: as they are for a program, as harmless text on a terminal. */
import { Problem } from "../errors.ts";
import { limit } from "../limits.ts";
import type { Artifact } from "../schema/artifact.ts";
import { type Content, streamContent } from "./artifact-content.ts";
import { ARTIFACT } from "./artifact-noun.ts";
import type { Cli } from "./machine.ts";
import { safeText } from "./safe-text.ts";

/** UTF-8 without NUL; a character may be cut at the end. */
function isText(sample: Uint8Array): boolean {
  if (sample.includes(0)) return false;
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(sample, { stream: true });
    return true;
  } catch {
    return false;
  }
}

function notText(id: string): Problem {
  return new Problem("usage", "This is not text: a terminal cannot show it.", {
    hint: `\`synthetic artifact get ${id}\` saves it; a pipe gets it as it is.`,
  });
}

/**
 * Pieces of bytes as text that does nothing to a terminal. Errors: `usage` before anything is given when its beginning
 * is not text.
 */
export async function* shownText(pieces: AsyncIterable<Uint8Array>, id: string): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let sample: Uint8Array[] | null = [];
  let sample_bytes = 0;
  let held = "";
  const show = (text: string): string => {
    const whole = held + text;
    // A carriage return goes only before a newline, which may be in the next piece.
    held = whole.endsWith("\r") ? "\r" : "";
    return safeText(held === "" ? whole : whole.slice(0, -1));
  };
  const open = (parts: Uint8Array[]): string => {
    const bytes = Buffer.concat(parts);
    sample = null;
    if (!isText(bytes)) throw notText(id);
    return show(decoder.decode(bytes, { stream: true }));
  };
  for await (const piece of pieces) {
    if (sample === null) {
      yield show(decoder.decode(piece, { stream: true }));
      continue;
    }
    sample.push(piece);
    sample_bytes += piece.byteLength;
    if (sample_bytes >= limit("text_sample_bytes")) yield open(sample);
  }
  if (sample !== null) yield open(sample);
  yield show(decoder.decode());
  yield safeText(held);
}

export async function writeContent(cli: Cli, content: Content): Promise<void> {
  const { terminal, interruption } = cli;
  const pieces = streamContent(await cli.client(), content, interruption.signal);
  const shown = terminal.stdout_is_terminal ? shownText(pieces, content.id) : pieces;
  for await (const piece of shown) await terminal.write(piece);
}

export async function cat(cli: Cli, given: string): Promise<void> {
  const client = await cli.client();
  const id = await ARTIFACT.resolve(client, given);
  await writeContent(cli, await client.json<Artifact>({ path: `${ARTIFACT.path}/${id}` }));
}
