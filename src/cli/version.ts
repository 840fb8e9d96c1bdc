/** `synthetic version`: what this binary is made of. */
import type { Command } from "commander";
import type { Act } from "./program.ts";

export function defineVersion(program: Command, act: Act): void {
  program
    .command("version")
    .summary("print the versions of synthetic, Bun and SQLite")
    .action(
      act(async ({ machine, terminal }) => {
        const { version, commit } = machine;
        const sqlite = process.versions["sqlite"] ?? "";
        if (terminal.json) return terminal.writeJson({ version, commit, bun: Bun.version, sqlite });
        return terminal.write(
          `synthetic ${version}${commit === "" ? "" : ` (${commit.slice(0, 12)})`}, Bun ${Bun.version}, SQLite ${sqlite}\n`,
        );
      }),
    );
}
