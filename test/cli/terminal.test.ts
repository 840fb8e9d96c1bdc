/** What people see: the compiled binary on a terminal. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { newPlace, type Place, until } from "./binary.ts";

setDefaultTimeout(30_000);

const ESCAPE = "\u001b";
const COLOUR = new RegExp(`${ESCAPE}\\[\\d+m`, "g");

let place: Place;
let id: string;
beforeAll(async () => {
  place = newPlace();
  const title = `A title that is far too long for a narrow terminal, and hostile ${ESCAPE}[2J${ESCAPE}]0;owned\u0007`;
  id = await place.output([
    "construct",
    "create",
    title,
    "--status",
    "active",
    "--agent",
    "codex",
    "--label",
    "one",
    "--label",
    "two",
  ]);
});
afterAll(() => place.remove());

/** The text without our colours. */
function bare(text: string): string {
  return text.replaceAll("\r\n", "\n").replace(COLOUR, "");
}

async function shown(
  words: readonly string[],
  columns: number,
  env?: Record<string, string>,
): Promise<string> {
  const terminal = place.onTerminal(words, columns, env);
  expect(await terminal.ended).toBe(0);
  return terminal.text();
}

test.each([60, 80, 200])("a table fits a terminal of %d columns", async (columns) => {
  const lines = bare(await shown(["construct", "list"], columns))
    .trimEnd()
    .split("\n");
  expect(lines).toHaveLength(2);
  for (const line of lines) expect(Bun.stringWidth(line)).toBeLessThanOrEqual(columns);
});

test("COLUMNS wins over the terminal's own width", async () => {
  for (const line of bare(await shown(["construct", "list"], 200, { COLUMNS: "70" })).split("\n"))
    expect(Bun.stringWidth(line)).toBeLessThanOrEqual(70);
});

test("ids are short, statuses coloured, times relative", async () => {
  const text = await shown(["construct", "list"], 100);
  expect(text).toContain(id.slice(-8));
  expect(text).not.toContain(id);
  expect(text).toContain(`${ESCAPE}[32mactive${ESCAPE}[39m`);
  expect(bare(text)).toMatch(/(now|\ds ago)\n$/);
});

test.each([[{ NO_COLOR: "1" }], [{ TERM: "dumb" }]])("with %j there are no colours", async (env) => {
  expect(await shown(["construct", "list"], 100, env)).not.toContain(ESCAPE);
});

test("nothing of others acts on the terminal", async () => {
  for (const words of [
    ["construct", "list"],
    ["construct", "show", id],
  ]) {
    const text = await shown(words, 300);
    expect(bare(text)).not.toMatch(/(?!\n)\p{Cc}/u);
    expect(text).toContain("owned");
  }
});

test("JSON on a terminal is indented and has no colours", async () => {
  const text = await shown(["construct", "show", id, "--json"], 100);
  expect(text).not.toContain(ESCAPE);
  expect(text.split("\n").length).toBeGreaterThan(10);
  expect((JSON.parse(text) as { id: string }).id).toBe(id);
});

test("a server says in three lines where it is, and ends well by Ctrl-C", async () => {
  const terminal = place.onTerminal(["serve", "--port", "0"], 100);
  await until(() => terminal.text().includes("token"), "the three lines");
  const lines = bare(terminal.text()).trimEnd().split("\n");
  expect(lines).toHaveLength(3);
  expect(lines[0]).toMatch(/^synthetic \S+ listens on http:\/\/127\.0\.0\.1:\d+$/);
  expect(lines[1]).toContain(place.data_dir);
  expect(lines[1]).toContain("nothing is replicated");
  expect(lines[2]).toContain("synthetic token");
  terminal.type("\u0003");
  expect(await terminal.ended).toBe(0);
  expect(existsSync(join(place.data_dir, "server.json"))).toBe(false);
});

test("something long shows how far it is, and leaves no trace of that", async () => {
  const session = await place.output(["session", "create", id]);
  const terminal = place.onTerminal(["append", session, "--text"], 100);
  await until(() => terminal.text().includes("Reading from the terminal"), "the invitation");
  terminal.type("first\r");
  await Bun.sleep(1_300);
  terminal.type("second\r");
  await until(() => terminal.text().includes("2 entries"), "the progress");
  terminal.type("\u0004");
  expect(await terminal.ended).toBe(0);
  const [, last] = terminal.text().split(`\r${ESCAPE}[K`).slice(-2);
  expect(last).toMatch(/^2 entries, 1 to 2, head [0-9a-f]{64}\r\n$/);
});
