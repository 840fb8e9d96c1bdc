/** The input of a command: a file, or stdin. */
import { statSync } from "node:fs";
import { Problem } from "../errors.ts";
import { systemCode } from "../lib/private-files.ts";
import { limit } from "../limits.ts";
import { bytes } from "./format.ts";
import type { Machine } from "./machine.ts";
import type { Terminal } from "./terminal.ts";

export interface Input {
  chunks: AsyncIterable<Uint8Array>;
  /** Null where it is not known beforehand. */
  size_bytes: number | null;
}

/** `-` or nothing is stdin. Errors: `usage` when the file cannot be read. */
export function openInput(machine: Machine, terminal: Terminal, path: string | undefined): Input {
  if (path === undefined || path === "-") {
    if (machine.stdin.is_terminal) terminal.say("Reading from the terminal; Ctrl-D ends it.");
    return { chunks: machine.stdin.chunks(), size_bytes: null };
  }
  try {
    const status = statSync(path);
    if (status.isDirectory()) throw new Problem("usage", `${path} is a directory.`);
    return { chunks: chunksOfFile(path), size_bytes: status.isFile() ? status.size : null };
  } catch (error) {
    throw error instanceof Problem
      ? error
      : new Problem("usage", `${path} cannot be read (${systemCode(error) ?? "error"}).`);
  }
}

async function* chunksOfFile(path: string): AsyncGenerator<Uint8Array> {
  try {
    yield* Bun.file(path).stream();
  } catch (error) {
    throw new Problem("usage", `${path} cannot be read (${systemCode(error) ?? "error"}).`, { cause: error });
  }
}

/** All of it as text, which has to fit into a request. Errors: `usage`, `too_large`. */
export async function readText(input: Input): Promise<string> {
  const most = limit("resource_body_bytes");
  const pieces: Uint8Array[] = [];
  let text_bytes = 0;
  for await (const piece of input.chunks) {
    text_bytes += piece.byteLength;
    if (text_bytes > most) throw new Problem("too_large", `The text is longer than ${bytes(most)}.`);
    pieces.push(piece);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(pieces));
  } catch {
    throw new Problem("usage", "The text is not UTF-8.");
  }
}
