/** `synthetic gc`: removes files that nobody names any more, and tells which are missing. */
import { type Command, InvalidArgumentError } from "commander";
import { ERRORS } from "../errors.ts";
import { system_clock } from "../lib/clock.ts";
import { limit } from "../limits.ts";
import type { GarbageReport } from "../schema/gc.ts";
import type { Client } from "./client.ts";
import { bytes, counted, duration } from "./format.ts";
import type { Cli } from "./machine.ts";
import type { Act } from "./program.ts";
import { createProgress } from "./progress.ts";
import { safeLine } from "./safe-text.ts";
import { renderFacts } from "./table.ts";
import type { Terminal } from "./terminal.ts";

const SPANS: Readonly<Record<string, number>> = {
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};

interface GcOptions {
  dryRun?: boolean;
  grace?: number;
}

/** `90s`, `30m`, `12h`, `7d`, `2w`, or `0`, in milliseconds. */
function readSpan(value: string): number {
  if (value === "0") return 0;
  const [, number = "", unit = ""] = /^(\d{1,6})([smhdw])$/.exec(value) ?? [];
  const unit_ms = SPANS[unit];
  if (unit_ms === undefined)
    throw new InvalidArgumentError("A span such as 30m, 12h or 7d, or 0, is expected.");
  return Number(number) * unit_ms;
}

async function collect(client: Client, terminal: Terminal, options: GcOptions): Promise<GarbageReport> {
  const progress = createProgress(terminal, system_clock);
  const began_ms = system_clock.elapsed_ms();
  const timer = setInterval(
    () =>
      progress.update(() => `looking through all files, ${duration(system_clock.elapsed_ms() - began_ms)}`),
    limit("cli_wait_step_ms"),
  );
  try {
    return await client.json<GarbageReport>({
      method: "POST",
      path: "/v1/gc",
      query: { dry_run: options.dryRun, grace_ms: options.grace },
      endless: true,
    });
  } finally {
    clearInterval(timer);
    progress.clear();
  }
}

function render(report: GarbageReport, terminal: Terminal): string {
  const { dry_run, purged_rows_count, unreferenced_files, temporary_files, removed_bytes, missing } = report;
  const { style } = terminal;
  const files = counted(unreferenced_files.length, "file", "files");
  const facts = renderFacts(
    [
      ...(dry_run
        ? []
        : [
            {
              name: "rows",
              value: `${counted(purged_rows_count, "row", "rows")} of deleted artifacts removed`,
            },
          ]),
      { name: "unnamed", value: `${files} that nothing names` },
      { name: "unfinished", value: counted(temporary_files.length, "file", "files") },
      { name: dry_run ? "would free" : "freed", value: bytes(removed_bytes) },
      {
        name: "missing",
        value: counted(missing.length, "file", "files"),
        ...(missing.length > 0 && { paint: style.red }),
      },
    ],
    style,
  );
  const lines = missing.map(({ artifact_id, name }) => `  ${style.cyan(artifact_id)}  ${safeLine(name)}\n`);
  return facts + lines.join("");
}

async function gc(cli: Cli, options: GcOptions): Promise<number> {
  const { terminal } = cli;
  const report = await collect(await cli.client(), terminal, options);
  if (terminal.json) await terminal.writeJson(report);
  else {
    await terminal.write(render(report, terminal));
    if (report.missing.length > 0)
      terminal.say("Files are missing: restore them from a copy, or delete these artifacts.");
  }
  return report.missing.length > 0 ? ERRORS.integrity_failed.exit : 0;
}

export function defineGc(program: Command, act: Act): void {
  program
    .command("gc")
    .summary("remove files that nothing names, and tell which are missing")
    .option("--dry-run", "remove nothing, only tell")
    .option("--grace <span>", "spare what is younger: 30m, 12h, 7d; a day if absent", readSpan)
    .action(act((cli, options: GcOptions) => gc(cli, options)));
}
