/** The rows about the compiled binary as a process: how soon it answers, and how much memory it takes when idle. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { firstLine } from "./first-line.ts";
import { interleave, median, ratio, type Row, rounded } from "./measure.ts";

const ROOT = join(import.meta.dir, "../..");
const IDLE_MS = 3_000;

/** Starts a server and gives the milliseconds to its first answer and its resident memory after a while. */
async function start(
  command: string[],
  data_dir: string,
  idle_ms: number,
): Promise<{ first_ms: number; rss_mib: number }> {
  const began = performance.now();
  const child = Bun.spawn([...command, "serve", "--json", "--port", "0", "--data", data_dir], {
    stdout: "pipe",
    stderr: "ignore",
  });
  const { url, pid } = JSON.parse(await firstLine(child.stdout)) as { url: string; pid: number };
  await fetch(new URL("/healthz", url));
  const first_ms = performance.now() - began;
  await Bun.sleep(idle_ms);
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  child.kill("SIGTERM");
  await child.exited;
  return { first_ms, rss_mib: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? Number.NaN) / 1_024 };
}

export async function processRows(rounds: number, say: (line: string) => void): Promise<Row[]> {
  const data_dir = mkdtempSync(join(tmpdir(), "synthetic-bench-"));
  const compiled = [join(ROOT, "dist/synthetic")];
  const source = [process.execPath, join(ROOT, "src/main.ts")];
  await start(compiled, data_dir, 0);
  await start(source, data_dir, 0);
  const first = (command: string[]) => async () =>
    median([
      (await start(command, data_dir, 0)).first_ms,
      (await start(command, data_dir, 0)).first_ms,
      (await start(command, data_dir, 0)).first_ms,
    ]);
  const found = await interleave(rounds, { compiled: first(compiled), source: first(source) });
  const { rss_mib } = await start(compiled, data_dir, IDLE_MS);
  rmSync(data_dir, { recursive: true });
  const rows: Row[] = [
    {
      measure: "first response, compiled / from source",
      value: ratio(found.compiled, found.source),
      unit: "ratio",
      floor: { at_most: 0.6 },
      detail: `${rounded(median(found.compiled), 0)} / ${rounded(median(found.source), 0)} ms`,
    },
    {
      measure: "idle memory of the compiled binary",
      value: rss_mib,
      unit: "MiB",
      floor: { at_most: 80 },
      detail: "resident, 3 s after the start",
    },
  ];
  for (const row of rows) say(`${row.measure}: ${rounded(row.value)} ${row.unit} (${row.detail})`);
  return rows;
}
