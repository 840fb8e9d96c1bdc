/** Entries as people read them: one line that says what it is, and the text of the body below it. Pure. */
import type { Style } from "./colour.ts";
import { bytes, count, instant } from "./format.ts";
import { safeText } from "./safe-text.ts";

export interface ShownEntry {
  seq: number;
  kind: string;
  actor: string;
  at_ms: number;
  key?: string;
  body: unknown;
  /** Only when the body was left out. */
  body_bytes?: number;
  preview?: string;
}

export interface View {
  style: Style;
  columns: number;
  /** Lines of one body before it is cut; Infinity for all. */
  most_lines: number;
}

/** Members that hold the words of a body in the formats of agents, the most telling first. */
const WORDS = [
  "text",
  "content",
  "message",
  "output",
  "command",
  "input",
  "result",
  "summary",
  "title",
  "error",
];
/** Bodies nest a few levels; deeper ones are shown as JSON. */
const LEVELS = 8;

function wordsOf(value: unknown, level: number): string | null {
  if (typeof value === "string") return value;
  if (level > LEVELS || typeof value !== "object" || value === null) return null;
  if (Array.isArray(value)) {
    const parts = value.map((item) => wordsOf(item, level + 1) ?? JSON.stringify(item));
    return parts.length === 0 ? null : parts.join("\n");
  }
  for (const name of WORDS) {
    const words = wordsOf((value as Record<string, unknown>)[name], level + 1);
    if (words !== null) return words;
  }
  return null;
}

/** The words of a body, or its JSON where there are none. */
export function bodyText(body: unknown): string {
  return wordsOf(body, 0) ?? JSON.stringify(body) ?? "";
}

function textOf(entry: ShownEntry): string {
  if (entry.body_bytes === undefined) return bodyText(entry.body);
  return `${entry.preview ?? ""}…\n(${bytes(entry.body_bytes)}; --json shows all of it)`;
}

/** What differs from the usual is seen at once. */
function kindText(kind: string, { red, cyan, yellow, dim, bold }: Style): string {
  if (kind === "error" || kind === "unparsed") return red(kind);
  if (kind === "message") return bold(kind);
  if (kind === "permission" || kind === "question") return yellow(kind);
  return kind === "reasoning" || kind === "usage" || kind === "status" ? dim(kind) : cyan(kind);
}

const INDENT = "  ";

/** The entry with a newline at its end. Nothing in it can act on the terminal. */
export function renderEntry(entry: ShownEntry, { style, columns, most_lines }: View): string {
  const { seq, kind, actor, at_ms, key } = entry;
  const name = key === undefined ? "" : ` ${safeText(key)}`;
  const when = style.dim(instant(at_ms) + name);
  const head = `${style.dim(`#${seq}`)} ${kindText(kind, style)} ${actor} ${when}`;
  const width = Math.max(20, columns - INDENT.length);
  const text = safeText(textOf(entry)).trimEnd();
  const lines =
    text === "" ? [] : Bun.wrapAnsi(text, Math.min(width, 100_000), { hard: true, trim: false }).split("\n");
  const shown = lines.slice(0, most_lines).map((line) => (INDENT + line).trimEnd());
  if (lines.length > shown.length)
    shown.push(style.dim(`${INDENT}… ${count(lines.length - shown.length)} more lines; --full shows them`));
  return `${[head, ...shown].join("\n")}\n`;
}
