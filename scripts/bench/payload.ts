/** What is written: real transcript lines from the corpus where it is, from the fixtures elsewhere. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");
const CORPUS = ["claude-code", "codex"].map((agent) => join(ROOT, "../shared/corpus", agent));
const FIXTURES = [join(ROOT, "test/fixtures/transcripts")];

function jsonlFiles(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".jsonl"))
    .sort()
    .map((name) => join(folder, name));
}

function isJson(line: string): boolean {
  try {
    JSON.parse(line);
    return true;
  } catch {
    return false;
  }
}

/** Lines of real transcripts that fit a row, in the order of the files; about 2.1 KB each on the corpus. */
export function realLines(): string[] {
  const folders = CORPUS.every((folder) => existsSync(folder)) ? CORPUS : FIXTURES;
  return folders
    .flatMap(jsonlFiles)
    .flatMap((file) => readFileSync(file, "utf8").split("\n"))
    .filter((line) => line.length > 0 && line.length < 100_000 && isJson(line));
}

/** Lines of the wanted mean size: small ones are left out until the mean is reached. */
export function linesOfMean(mean_bytes: number): string[] {
  const all = realLines();
  for (let floor = 0; floor < mean_bytes; floor += 50) {
    const kept = all.filter((line) => line.length >= floor);
    if (kept.reduce((sum, line) => sum + Buffer.byteLength(line), 0) / kept.length >= mean_bytes) return kept;
  }
  return all;
}

/** Bodies of about 1 KB out of the same texts. */
export function kilobyteLines(): string[] {
  return realLines()
    .filter((line) => line.length > 1_000)
    .map((line) => JSON.stringify({ text: line.slice(0, 930).toWellFormed() }));
}

export const totalBytes = (lines: readonly string[]): number =>
  lines.reduce((sum, line) => sum + Buffer.byteLength(line), 0);
