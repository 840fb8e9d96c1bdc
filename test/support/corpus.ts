/** Real transcripts: the whole corpus where it lies beside the repository, a few small samples of it everywhere. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");
const CORPUS = join(ROOT, "../shared/corpus");
const SAMPLES = join(ROOT, "test/fixtures/transcripts");
const AGENTS = ["claude-code", "codex", "pi", "copilot"];

export interface TranscriptFile {
  /** Relative to its folder. */
  name: string;
  /** Verbatim JSON texts, one an entry; a line that is not JSON as `{"text":…}`. */
  bodies: string[];
}

export const has_corpus = existsSync(CORPUS);

function isJson(line: string): boolean {
  try {
    JSON.parse(line);
    return true;
  } catch {
    return false;
  }
}

function read(folder: string, name: string): TranscriptFile {
  const lines = readFileSync(join(folder, name), "utf8")
    .split("\n")
    .map((line) => (line.endsWith("\r") ? line.slice(0, -1) : line))
    .filter((line) => line.trim() !== "");
  return { name, bodies: lines.map((line) => (isJson(line) ? line.trim() : JSON.stringify({ text: line }))) };
}

function jsonlIn(folder: string): TranscriptFile[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".jsonl"))
    .sort()
    .map((name) => read(folder, name));
}

/** Every JSONL transcript of Claude Code, Codex, pi and Copilot. Throws when there is no corpus here. */
export function corpusTranscripts(): TranscriptFile[] {
  if (!has_corpus) throw new Error("there is no corpus beside the repository");
  return AGENTS.flatMap((agent) => jsonlIn(join(CORPUS, agent)));
}

/** The samples that the project keeps with their licences. */
export function sampleTranscripts(): TranscriptFile[] {
  return jsonlIn(SAMPLES);
}
