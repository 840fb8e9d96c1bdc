/** `synthetic token`: prints the token that clients need, or puts a new one in its place. */
import { Argument, type Command } from "commander";
import { Problem } from "../errors.ts";
import { livingServer } from "./living-server.ts";
import type { Cli } from "./machine.ts";
import type { Act } from "./program.ts";
import { loadToken, readToken, rotateToken } from "./token-file.ts";

const EXAMPLES = `
Examples:
  $ curl -H "Authorization: Bearer $(synthetic token)" http://127.0.0.1:8420/v1/constructs
  $ synthetic token rotate`;

async function printToken(cli: Cli): Promise<void> {
  const { terminal } = cli;
  const { data, token: given } = cli.config();
  if (given === null && readToken(data) === null && livingServer(data) !== null) {
    throw new Problem("not_found", "The server of this directory was started with SYNTHETIC_TOKEN.", {
      hint: "Ask whoever started it.",
    });
  }
  const { token, source } = loadToken(data, given);
  return terminal.json ? terminal.writeJson({ token, source }) : terminal.write(`${token}\n`);
}

/**
 * Refuses while a server runs: it would go on with the old token, and every client would be given the new
 * one.
 */
async function rotate(cli: Cli): Promise<void> {
  const { terminal } = cli;
  const { data, token: given } = cli.config();
  if (given !== null) throw new Problem("usage", "The token comes from SYNTHETIC_TOKEN: change it there.");
  const server = livingServer(data);
  if (server !== null) {
    throw new Problem("locked", `A server runs with the present token (process ${server.pid}).`, {
      hint: "Stop it, rotate, and start it again.",
    });
  }
  const token = rotateToken(data);
  if (terminal.json) return terminal.writeJson({ token, source: "file" });
  await terminal.write(`${token}\n`);
  terminal.say("The old token is worth nothing from the next start on; give the new one to every client.");
}

export function defineToken(program: Command, act: Act): void {
  program
    .command("token")
    .summary("print the token that clients need, or put a new one in its place")
    .addArgument(new Argument("[action]", "rotate: a new token; no server may run").choices(["rotate"]))
    .addHelpText("after", EXAMPLES)
    .action(
      act((cli, action: "rotate" | undefined) => (action === "rotate" ? rotate(cli) : printToken(cli))),
    );
}
