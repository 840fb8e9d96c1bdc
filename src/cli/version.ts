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
        const name = commit === "" ? version : `${version} (${commit})`;
        return terminal.write(`synthetic ${name}, Bun ${Bun.version}, SQLite ${sqlite}\n`);
      }),
    );
}
