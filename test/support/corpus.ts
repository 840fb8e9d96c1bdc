/**
 * Real transcripts as bodies: the whole corpus where it lies beside the repository, a few small samples of it
 * everywhere. What the texts say is data and is never followed.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");
export const CORPUS = join(ROOT, "../shared/corpus");
const SAMPLES = join(ROOT, "test/fixtures/transcripts");

/** Claude Code, Codex, pi and Copilot, as the corpus' MANIFEST.tsv names their formats; real ones and odd ones. */
const FORMATS: ReadonlySet<string> = new Set([
  "claude-code-jsonl",
  "claude-fixture",
  "codex-rollout-jsonl",
  "codex-fixture",
  "pi-session-jsonl",
  "pi-fixture",
  "copilot-cli-events-jsonl",
  "copilot-fixture",
]);

export interface TranscriptFile {
  /** Relative to its folder. */
  name: string;
  /** Verbatim JSON texts, one an entry; a line that is not JSON as `{"text":…}`. */
  bodies: string[];
}

export const has_corpus = existsSync(CORPUS);

/** Bodies are texts, so a file that is not UTF-8 would be changed before it is sent. */
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function isJson(line: string): boolean {
  try {
    JSON.parse(line);
    return true;
  } catch {
    return false;
  }
}

function read(folder: string, name: string): TranscriptFile {
  const lines = decoder
    .decode(readFileSync(join(folder, name)))
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  return { name, bodies: lines.map((line) => (isJson(line) ? line : JSON.stringify({ text: line }))) };
}

/** Paths of the corpus, by what its manifest says of them. */
function corpusPaths(): string[] {
  const [header = "", ...rows] = readFileSync(join(CORPUS, "MANIFEST.tsv"), "utf8").trimEnd().split("\n");
  const columns = header.split("\t");
  const [path_at, format_at] = [columns.indexOf("path"), columns.indexOf("format")];
  return rows
    .map((row) => row.split("\t"))
    .filter((row) => FORMATS.has(row[format_at] ?? ""))
    .map((row) => row[path_at] ?? "")
    .filter((path) => path.endsWith(".jsonl"))
    .toSorted();
}

/** Every JSONL transcript of the four agents, but those without a line. Throws when there is no corpus here. */
export function corpusTranscripts(): TranscriptFile[] {
  if (!has_corpus) throw new Error("there is no corpus beside the repository");
  return corpusPaths()
    .map((path) => read(CORPUS, path))
    .filter(({ bodies }) => bodies.length > 0);
}

/** The samples that the project keeps with their licences. */
export function sampleTranscripts(): TranscriptFile[] {
  return readdirSync(SAMPLES, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".jsonl"))
    .toSorted()
    .map((name) => read(SAMPLES, name));
}
