/**
 * The tables of README.md that are made from the source: limits, errors, commands, settings. Each stands between
 * `<!-- generated:NAME -->` and `<!-- /generated:NAME -->`.
 *
 *   node scripts/with-bun.mjs scripts/docs.ts            writes them anew
 *   node scripts/with-bun.mjs scripts/docs.ts --check    changes nothing; exit code 1 when README.md is behind the source
 */
import { join } from "node:path";
import { COMMANDS } from "../src/cli/commands.ts";
import { type Setting, SETTINGS } from "../src/config.ts";
import { CLI_ONLY_CODES, ERRORS } from "../src/errors.ts";
import { LIMITS } from "../src/limits.ts";

const README = join(import.meta.dir, "..", "README.md");

type Row = readonly string[];

/** A Markdown table; a bar in a cell is escaped, also inside a code span. */
function table(header: Row, rows: readonly Row[]): string {
  const line = (cells: Row): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|").replaceAll("\n", " ")).join(" | ")} |`;
  return [line(header), `|${" --- |".repeat(header.length)}`, ...rows.map(line)].join("\n");
}

function code(text: string): string {
  return text === "" ? "" : `\`${text}\``;
}

function whole(value: number): string {
  return value.toLocaleString("en-US");
}

/** The largest of the units that leaves no remainder: 32 MiB, 90 s, or the bare number. */
function humanise(value: number, unit: string): string {
  const steps: [number, string][] =
    unit === "bytes"
      ? [
          [1024 ** 3, "GiB"],
          [1024 ** 2, "MiB"],
          [1024, "KiB"],
        ]
      : unit === "ms"
        ? [
            [3_600_000, "h"],
            [60_000, "min"],
            [1_000, "s"],
          ]
        : [];
  const step = steps.find(([size]) => value >= size && value % size === 0);
  return step === undefined ? whole(value) : `${whole(value / step[0])} ${step[1]}`;
}

function limitsTable(): string {
  const rows = Object.entries(LIMITS).map(([name, { value, unit, why }]) => [
    code(name),
    humanise(value, unit),
    unit,
    why,
  ]);
  return table(["limit", "value", "unit", "why"], rows);
}

function errorsTable(): string {
  const only_cli = new Set<string>(CLI_ONLY_CODES);
  const rows = Object.entries(ERRORS).map(([name, row]) => {
    const status = only_cli.has(name) ? "—" : String(row.status);
    return [code(name), status, String(row.exit), row.retryable ? "yes" : "no", row.title, row.hint];
  });
  return table(["code", "HTTP", "exit code", "retry", "meaning", "what to do"], rows);
}

function commandsTable(): string {
  return table(
    ["command", "what it does"],
    COMMANDS.map(({ usage, summary }) => [code(usage), summary]),
  );
}

function settingsTable(): string {
  const rows = Object.entries<Setting>(SETTINGS).map(([key, setting]) => {
    const in_file = setting.in_file ? code(key) : "—";
    return [
      in_file,
      code(setting.env),
      setting.flag === null ? "—" : code(setting.flag),
      setting.default,
      setting.description,
    ];
  });
  return table(["in a file", "environment", "flag", "default", "what it is"], rows);
}

const BLOCKS: Readonly<Record<string, () => string>> = {
  commands: commandsTable,
  settings: settingsTable,
  errors: errorsTable,
  limits: limitsTable,
};

/** The text with every block made anew. Throws when a block's marks are missing or stand more than once. */
function withBlocks(text: string, blocks: Readonly<Record<string, () => string>>): string {
  return Object.entries(blocks).reduce((before, [name, make]) => {
    const [open, close] = [`<!-- generated:${name} -->`, `<!-- /generated:${name} -->`];
    const parts = before.split(open);
    const [head, rest] = parts;
    const end = rest?.indexOf(close) ?? -1;
    if (head === undefined || rest === undefined || parts.length !== 2 || end < 0) {
      throw new Error(`README.md has no one block between ${open} and ${close}`);
    }
    return `${head}${open}\n\n${make()}\n\n${rest.slice(end)}`;
  }, text);
}

async function main(is_check: boolean): Promise<number> {
  const before = await Bun.file(README).text();
  const after = withBlocks(before, BLOCKS);
  if (before === after) return 0;
  if (!is_check) {
    await Bun.write(README, after);
    console.error("README.md is written anew");
    return 0;
  }
  const lines = new Set(before.split("\n"));
  console.error("README.md is behind the source; `node scripts/with-bun.mjs scripts/docs.ts` writes:");
  for (const line of after
    .split("\n")
    .filter((each) => !lines.has(each))
    .slice(0, 20))
    console.error(`  + ${line}`);
  return 1;
}

if (import.meta.main) process.exitCode = await main(process.argv.includes("--check"));
