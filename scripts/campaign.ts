/**
 * Runs one of the campaigns in test/campaign/: long, randomised, repeatable attempts to break a promise.
 *
 *   npm run campaign                                              lists them
 *   npm run campaign -- NAME [--seed N] [--size short|full]       progress on stderr, the result as JSON on stdout
 *
 * Exit code 0 when nothing failed, 1 when something did, 2 for a wrong use.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { z } from "zod";
import type { Campaign, CampaignOptions, CampaignResult } from "../test/support/campaign.ts";

const FOLDER = join(import.meta.dir, "..", "test", "campaign");

const Arguments = z.object({
  seed: z.coerce.number().int().min(0).max(0xffff_ffff).optional(),
  size: z.enum(["short", "full"]).default("full"),
});

const CampaignModule = z.object({ run: z.custom<Campaign>((value) => typeof value === "function") });

/** Files that export `run`; the others are their parts. */
function names(): string[] {
  if (!existsSync(FOLDER)) return [];
  return [...new Bun.Glob("*.ts").scanSync({ cwd: FOLDER })]
    .filter((file) =>
      /^export (async )?(function|const) run\b/m.test(readFileSync(join(FOLDER, file), "utf8")),
    )
    .map((file) => file.slice(0, -".ts".length))
    .sort();
}

function usage(message: string): number {
  console.error(message);
  console.error("npm run campaign -- NAME [--seed N] [--size short|full]");
  console.error(`campaigns: ${names().join(", ") || "none yet"}`);
  return 2;
}

function seconds(since_ms: number): number {
  return Math.round((performance.now() - since_ms) / 100) / 10;
}

/** The result of a campaign; one that throws or tries nothing has failed. */
async function settle(name: string, options: CampaignOptions): Promise<CampaignResult> {
  try {
    const { run } = CampaignModule.parse(await import(join(FOLDER, `${name}.ts`)));
    const result = await run(options);
    return result.cases > 0 ? result : { ...result, failures: [...result.failures, "no case was run"] };
  } catch (error) {
    const words = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { cases: 0, failures: [words], notes: {} };
  }
}

async function main(words: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: words,
    allowPositionals: true,
    options: { seed: { type: "string" }, size: { type: "string" } },
  });
  const [name, ...more] = positionals;
  if (name === undefined) {
    for (const each of names()) console.log(each);
    return 0;
  }
  const parsed = Arguments.safeParse(values);
  if (!parsed.success) return usage(z.prettifyError(parsed.error));
  if (more.length > 0 || !names().includes(name))
    return usage(`there is no campaign ${positionals.join(" ")}`);
  const { seed = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0, size } = parsed.data;
  const began = performance.now();
  const log = (line: string): void => console.error(`${seconds(began).toFixed(1).padStart(7)} s  ${line}`);
  log(`${name}, ${size}, seed ${seed}`);
  const { cases, failures, notes } = await settle(name, { seed, size, log });
  console.log(JSON.stringify({ name, size, seed, cases, failures, seconds: seconds(began), ...notes }));
  return failures.length === 0 ? 0 : 1;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.exitCode = usage(error instanceof Error ? error.message : String(error));
}
