/** `synthetic doctor`: looks at everything that service depends on and changes nothing. */
import type { Command } from "commander";
import { ERRORS } from "../errors.ts";
import type { Style } from "./colour.ts";
import {
  checkDatabase,
  checkFilesystem,
  checkMigrations,
  checkPermissions,
  checkServer,
  checkSettings,
  checkSpace,
  checkToken,
  checkVersions,
  type Finding,
} from "./doctor-checks.ts";
import type { Cli } from "./machine.ts";
import type { Act } from "./program.ts";
import { safeLine } from "./safe-text.ts";
import { livingServer } from "./living-server.ts";
import { answers } from "./transports.ts";

async function examine(cli: Cli): Promise<Finding[]> {
  const config = cli.config();
  const { inspectStore } = await import("../app.ts");
  const store = await inspectStore(config.data);
  const server = livingServer(config.data);
  const reachable = server === null ? null : await answers(server.url, cli.interruption.signal);
  return [
    checkVersions(store),
    ...checkSettings(config),
    checkPermissions(config.data),
    checkFilesystem(store),
    checkSpace(config.data),
    checkServer(server, reachable, store.locked),
    checkToken(config),
    checkMigrations(store),
    checkDatabase(store),
  ];
}

export function exitOf(findings: readonly Finding[]): number {
  if (findings.some(({ integrity }) => integrity === true)) return ERRORS.integrity_failed.exit;
  return findings.some(({ state }) => state === "fail") ? 1 : 0;
}

/** One line a finding, and what can be done below those that need it. */
export function renderFindings(findings: readonly Finding[], style: Style): string {
  const marks = { ok: style.green("✓"), warn: style.yellow("!"), fail: style.red("✗") };
  const width = findings.reduce((most, { check }) => Math.max(most, check.length), 0);
  return findings
    .map(({ check, state, detail, hint }) => {
      const line = `${marks[state]} ${check.padEnd(width)}  ${safeLine(detail)}\n`;
      return state === "ok" || hint === undefined
        ? line
        : `${line}  ${" ".repeat(width)}  ${style.dim(safeLine(hint))}\n`;
    })
    .join("");
}

export function defineDoctor(program: Command, act: Act): void {
  program
    .command("doctor")
    .summary("look at everything that service depends on")
    .action(
      act(async (cli) => {
        const { terminal } = cli;
        const findings = await examine(cli);
        const exit_code = exitOf(findings);
        if (terminal.json) await terminal.writeJson({ ok: exit_code === 0, checks: findings });
        else await terminal.write(renderFindings(findings, terminal.style));
        return exit_code;
      }),
    );
}
