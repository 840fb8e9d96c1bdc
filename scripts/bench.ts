/**
 * The benchmark: every figure is a ratio to something measured in the same run, arms interleaved, medians of five
 * rounds. `npm run bench` prints the table, compares each row with its floor, and writes the table into the README;
 * `-- --rounds 1` is a quick look that writes nothing; `-- --only store` runs one part.
 */
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { artifactRows } from "./bench/artifact-rows.ts";
import { httpRows } from "./bench/http-rows.ts";
import { listRows } from "./bench/list-rows.ts";
import { holds, type Row, rounded } from "./bench/measure.ts";
import { processRows } from "./bench/process-rows.ts";
import { storeRows } from "./bench/store-rows.ts";

const ROUNDS = 5;
const README = join(import.meta.dir, "../README.md");
const BEGIN = "<!-- bench -->";
const END = "<!-- /bench -->";

const PARTS = {
  store: storeRows,
  list: listRows,
  http: httpRows,
  artifact: artifactRows,
  process: processRows,
};
type Part = keyof typeof PARTS;

const { values } = parseArgs({ options: { rounds: { type: "string" }, only: { type: "string" } } });
const rounds = Number(values.rounds ?? ROUNDS);
const parts = (values.only === undefined ? Object.keys(PARTS) : [values.only]) as Part[];
const say = (line: string): void => console.error(line);

function table(rows: readonly Row[]): string {
  const lines = rows.map((row) => {
    const floor = "at_least" in row.floor ? `≥ ${row.floor.at_least}` : `≤ ${row.floor.at_most}`;
    return `| ${row.measure} | ${rounded(row.value)}${row.unit === "ratio" ? "" : ` ${row.unit}`} | ${floor} | ${row.detail} |`;
  });
  return ["| measure | value | floor | sides |", "|---|---|---|---|", ...lines].join("\n");
}

async function writeReadme(rows: readonly Row[]): Promise<void> {
  const text = await Bun.file(README).text();
  const [before, rest] = text.split(BEGIN);
  const after = rest?.split(END)[1];
  if (before === undefined || after === undefined) throw new Error("the README has no place for the table");
  const where = `Last run: ${new Date().toISOString().slice(0, 10)}, ${availableParallelism()} cores, Bun ${Bun.version}, ${rounds} rounds.`;
  await Bun.write(README, `${before}${BEGIN}\n\n${where}\n\n${table(rows)}\n\n${END}${after}`);
}

const rows: Row[] = [];
for (const part of parts) rows.push(...(await PARTS[part](rounds, say)));
console.log(table(rows));
const missed = rows.filter((row) => !holds(row));
for (const row of missed) say(`below its floor: ${row.measure}: ${rounded(row.value)}`);
if (rounds >= ROUNDS && values.only === undefined) await writeReadme(rows);
process.exit(missed.length === 0 ? 0 : 1);
