/** `synthetic migrate`: brings the store up to date, or says what that would do. */
import { Argument, type Command } from "commander";
import type { MigrationReport } from "../app.ts";
import { system_clock } from "../lib/clock.ts";
import { createLog } from "../lib/log.ts";
import { instant } from "./format.ts";
import type { Cli } from "./machine.ts";
import type { Act } from "./program.ts";
import { type Fact, renderFacts } from "./table.ts";

const ACTIONS = ["apply", "status", "plan", "verify"] as const;
type MigrateAction = (typeof ACTIONS)[number];

const EXAMPLES = `
Examples:
  $ synthetic migrate plan        what would be done; changes nothing
  $ synthetic migrate             does it; a snapshot is kept before
  $ synthetic migrate verify      the store is what its migrations say`;

const named = ({ version, name }: { version: number; name: string }): string => `${version} ${name}`;

/** A report as names and values. */
export function factsOf(report: MigrationReport): Fact[] {
  switch (report.action) {
    case "apply": {
      const { created, from_version, to_version, applied, snapshot } = report;
      const done = created
        ? "a new store was made"
        : applied.length === 0
          ? "up to date already"
          : applied.map(named).join("\n");
      const kept =
        snapshot === null
          ? []
          : [
              { name: "snapshot", value: snapshot.path },
              { name: "to go back", value: snapshot.restore_command },
            ];
      return [
        {
          name: "version",
          value: from_version === to_version ? String(to_version) : `${from_version} to ${to_version}`,
        },
        { name: "applied", value: done },
        ...kept,
      ];
    }
    case "status": {
      const { version, latest_version, applied, pending, fault } = report;
      return [
        { name: "version", value: `${version} of ${latest_version}` },
        ...(fault === null ? [] : [{ name: "fault", value: fault }]),
        { name: "pending", value: pending.map(named).join("\n") || "none" },
        {
          name: "applied",
          value: applied.map((row) => `${instant(row.applied_at_ms)}  ${named(row)}`).join("\n") || "none",
        },
      ];
    }
    case "plan": {
      const { version, latest_version, pending } = report;
      const facts = pending.map(({ sql, ...row }) => ({ name: named(row), value: `\n${sql.trim()}` }));
      return [
        { name: "version", value: `${version} of ${latest_version}` },
        ...(facts.length === 0 ? [{ name: "pending", value: "none" }] : facts),
      ];
    }
    case "verify":
      return [
        { name: "version", value: String(report.version) },
        { name: "check", value: "the schema is what its migrations make" },
      ];
  }
}

async function migrate(cli: Cli, action: MigrateAction): Promise<void> {
  const { terminal } = cli;
  const { data, log_level } = cli.config();
  const { migrateStore } = await import("../app.ts");
  const log = createLog(system_clock, log_level ?? "warn", terminal.sayRaw);
  const report = await migrateStore({ data_dir: data, log }, action);
  return terminal.json
    ? terminal.writeJson(report)
    : terminal.write(renderFacts(factsOf(report), terminal.style));
}

export function defineMigrate(program: Command, act: Act): void {
  program
    .command("migrate")
    .summary("bring the store up to date, or say what that would do")
    .addArgument(new Argument("[action]", "apply is the default").choices(ACTIONS).default("apply"))
    .addHelpText("after", EXAMPLES)
    .action(act((cli, action: MigrateAction) => migrate(cli, action)));
}
