/** Commands of the compiled binary: exit codes, what goes where, pipes; with a server and without one. */
import { afterAll, beforeAll, describe, expect, test, setDefaultTimeout } from "bun:test";
import { mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Server, startServer } from "../support/server.ts";
import { newPlace, type Place, until } from "./binary.ts";

// The longest wait of a command for a directory or a server is five seconds.
setDefaultTimeout(30_000);

const NOBODY = "01940000-0000-7000-8000-000000000000";

let place: Place;
beforeAll(() => {
  place = newPlace();
});
afterAll(() => place.remove());

describe("without a server", () => {
  test("status and doctor look and make nothing", async () => {
    expect(await place.json<object>(["status"])).toMatchObject({
      running: false,
      construct_count: null,
      database_bytes: 0,
    });
    expect(await place.json<object>(["doctor"])).toMatchObject({ ok: true });
    expect(() => statSync(place.data_dir)).toThrow();
  });

  test("the first write makes a store that only its owner can read", async () => {
    const made = await place.run(["construct", "create", "first"]);
    expect(made).toMatchObject({ code: 0 });
    expect(made.stdout).toMatch(/^[0-9a-f-]{36}\n$/);
    expect(made.stderr).toContain("A new store was made");
    expect(statSync(place.data_dir).mode & 0o777).toBe(0o700);
    expect(statSync(join(place.data_dir, "synthetic.db")).mode & 0o777).toBe(0o600);
  });

  test("the next command finds what it wrote", async () => {
    expect(await place.output(["construct", "list"])).toContain("first");
    expect(await place.json<object>(["status"])).toMatchObject({
      running: false,
      construct_count: 1,
      session_count: 0,
    });
  });
});

describe.each(["a server", "the directory itself"])("through %s", (way) => {
  let server: Server | null = null;
  beforeAll(async () => {
    if (way === "a server") server = await startServer({ data_dir: place.data_dir });
  });
  afterAll(async () => {
    await server?.stop();
  });

  const newSession = async (): Promise<string> =>
    place.output(["session", "create", await place.output(["construct", "create", "x"])]);

  test("ids come back whole or by their end, and show all there is", async () => {
    const id = await place.output([
      "construct",
      "create",
      "Fix it",
      "--status",
      "active",
      "--label",
      "b",
      "--label",
      "a",
      "--metadata",
      "k=v",
    ]);
    expect(await place.json<object>(["construct", "show", id.slice(-8)])).toMatchObject({
      id,
      title: "Fix it",
      status: "active",
      labels: ["a", "b"],
      metadata: { k: "v" },
    });
    expect(await place.output(["construct", "show", id])).toContain("Fix it");
  });

  test("a create with an id can be repeated, with another body it conflicts", async () => {
    const words = ["construct", "create", "again", "--id", crypto.randomUUID()];
    const first = await place.output(words);
    expect(await place.run(words)).toMatchObject({
      code: 0,
      stdout: `${first}\n`,
      stderr: expect.stringContaining("was there already") as string,
    });
    expect(await place.run([...words, "--type", "bug"])).toMatchObject({ code: 1, stdout: "" });
  });

  test("an update changes what it names; metadata are merged; empty clears", async () => {
    const id = await place.output([
      "construct",
      "create",
      "u",
      "--agent",
      "codex",
      "--metadata",
      "a=1",
      "--metadata",
      "b=2",
    ]);
    await place.output([
      "construct",
      "update",
      id,
      "--metadata",
      "a",
      "--metadata",
      "c=3",
      "--agent",
      "",
      "--pinned",
    ]);
    expect(await place.json<object>(["construct", "show", id])).toMatchObject({
      title: "u",
      agent: null,
      pinned: true,
      metadata: { b: "2", c: "3" },
    });
    await place.output(["construct", "update", id, "--no-pinned", "--status", "parked", "--reason", "lunch"]);
    const periods = (await place.output(["construct", "statuses", id, "--json"]))
      .split("\n")
      .map((line) => JSON.parse(line) as object);
    expect(periods).toMatchObject([
      { status: "draft" },
      { status: "parked", reason: "lunch", until_at_ms: null },
    ]);
  });

  test("what was deleted is gone, is in the trash, and comes back", async () => {
    const id = await place.output(["construct", "create", "rubbish"]);
    expect((await place.run(["construct", "delete", id])).code).toBe(0);
    expect((await place.run(["construct", "show", id])).code).toBe(3);
    expect(await place.output(["construct", "list", "--deleted"])).toContain("rubbish");
    expect((await place.run(["construct", "undelete", id.slice(-10)])).code).toBe(0);
    expect(await place.json<object>(["construct", "show", id])).toMatchObject({ id, deleted_at_ms: null });
  });

  test("lists filter, and as JSON are one object a line over all pages", async () => {
    const agent = `agent-${way.length}`;
    for (let index = 0; index < 5; index += 1)
      await place.output([
        "construct",
        "create",
        `n${index}`,
        "--agent",
        agent,
        "--status",
        index % 2 === 0 ? "active" : "parked",
      ]);
    const listed = await place.run([
      "construct",
      "list",
      "--agent",
      agent,
      "--status",
      "active",
      "--sort",
      "title",
      "--json",
    ]);
    const titles = listed.stdout
      .trimEnd()
      .split("\n")
      .map((line) => (JSON.parse(line) as { title: string }).title);
    expect(titles).toEqual(["n0", "n2", "n4"]);
    const cut = await place.run(["construct", "list", "--agent", agent, "--limit", "2", "--json"]);
    expect(cut.stdout.trimEnd().split("\n")).toHaveLength(2);
    expect(cut.stderr).toContain("more than these 2");
  });

  test("workspaces are named by name", async () => {
    const name = `Work ${way}`;
    const id = await place.output(["workspace", "create", name, "--path", "/src"]);
    expect(await place.json<object>(["workspace", "show", name.toUpperCase()])).toMatchObject({
      id,
      path: "/src",
    });
    const construct = await place.output(["construct", "create", "inside", "--workspace", name]);
    expect(await place.output(["construct", "list", "--workspace", name])).toContain(construct);
    expect((await place.run(["workspace", "delete", name])).code).toBe(1);
    expect((await place.run(["workspace", "show", "nothing like it"])).code).toBe(3);
  });

  test("bodies go in and come out byte for byte", async () => {
    const session = await newSession();
    const bodies = [
      '{"b": 1.00, "a":"\\u00e9", "c":[ ]}',
      '"\\ud83d\\ude00 é"',
      "1e2",
      "null",
      " [1,  2] ".trim(),
    ];
    const input = bodies
      .map((body) => `{"kind":"message","actor":"tool","at_ms":5,"body":${body}}\n`)
      .join("");
    const result = await place.json<object>(["append", session], { stdin: input });
    expect(result).toMatchObject({ first_seq: 1, last_seq: 5, entry_count: 5, replayed_count: 0 });
    const lines = (await place.output(["transcript", session, "--json"])).split("\n");
    expect(lines.map((line) => line.slice(line.indexOf('"body":') + 7, -1))).toEqual(bodies);
    expect(await place.json<object>(["session", "show", session])).toMatchObject({
      last_seq: 5,
      head: (result as { head: string }).head,
    });
  });

  test("text and JSON lines become bodies", async () => {
    const session = await newSession();
    await place.output(["append", session, "-", "--text", "--kind", "command", "--actor", "tool"], {
      stdin: "one\n\nthree",
    });
    const file = join(place.cwd, "raw.jsonl");
    writeFileSync(file, '{"x": 1}\n\n{"y":2}\n');
    await place.output(["append", session, file, "--raw-json", "--kind", "message"]);
    const lines = (await place.output(["transcript", session, "--raw"]))
      .split("\n")
      .map((line) => JSON.parse(line) as { kind: string; body: unknown });
    expect(lines.map(({ kind, body }) => [kind, body])).toEqual([
      ["command", "one"],
      ["command", ""],
      ["command", "three"],
      ["message", { x: 1 }],
      ["message", { y: 2 }],
    ]);
    expect(await place.output(["transcript", session])).toContain("  three\n");
  });

  test("with --after the same append can be repeated, and another is a conflict", async () => {
    const session = await newSession();
    const words = ["append", session, "--text", "--after", "0", "--json"];
    expect(JSON.parse(await place.output(words, { stdin: "a\nb\n" }))).toMatchObject({
      last_seq: 2,
      replayed_count: 0,
    });
    expect(JSON.parse(await place.output(words, { stdin: "a\nb\n" }))).toMatchObject({
      last_seq: 2,
      replayed_count: 2,
    });
    const refused = await place.run(words, { stdin: "a\nc\n" });
    expect(refused).toMatchObject({ code: 1, stdout: "" });
    expect(JSON.parse(refused.stderr)).toMatchObject({ code: "conflict", last_seq: 2 });
  });

  test("an input larger than a request goes in several, all of it once", async () => {
    const session = await newSession();
    const line = `{"kind":"message","body":"${"x".repeat(100_000)}"}\n`;
    const result = await place.json<object>(["append", session], { stdin: line.repeat(250) });
    expect(result).toMatchObject({
      first_seq: 1,
      last_seq: 250,
      entry_count: 250,
      sent_bytes: line.length * 250,
    });
    const seqs = (await place.output(["transcript", session, "--json"]))
      .split("\n")
      .map((text) => Number(/"seq":(\d+)/.exec(text)?.[1]));
    expect(seqs).toEqual(Array.from({ length: 250 }, (_, index) => index + 1));
  });

  test("a bad line is refused with its place, and what came before is said to be stored", async () => {
    const session = await newSession();
    const bad = await place.run(["append", session], {
      stdin: '{"kind":"note","body":1}\n{"kind":"nonsense","body":1}\n',
    });
    expect(bad.code).toBe(2);
    expect(
      (await place.run(["append", session, "--raw-json", "--kind", "note"], { stdin: "1\n}\n" })).stderr,
    ).toContain("Line 2 is not JSON");
    expect(await place.json<object>(["session", "show", session])).toMatchObject({ last_seq: 0 });
  });

  test("the end of a transcript is shown", async () => {
    const session = await newSession();
    await place.output(["append", session, "--text"], {
      stdin: Array.from({ length: 30 }, (_, index) => `line ${index}\n`).join(""),
    });
    const last = await place.output(["tail", session, "--no-follow", "-n", "2", "--json"]);
    expect(last.split("\n").map((line) => (JSON.parse(line) as { seq: number }).seq)).toEqual([29, 30]);
    expect((await place.output(["tail", session, "--no-follow", "--json"])).split("\n")).toHaveLength(10);
    expect(
      (await place.output(["tail", session, "--no-follow", "--after", "0", "--json"])).split("\n"),
    ).toHaveLength(30);
    expect(await place.output(["tail", session, "--no-follow", "-n", "0"])).toBe("");
  });

  test("nothing but data is on stdout with --json", async () => {
    const session = await newSession();
    const construct = await place.output(["construct", "create", "pure"]);
    const commands: [words: string[], stdin?: string][] = [
      [["version"]],
      [["config"]],
      [["status"]],
      [["doctor"]],
      [["token"]],
      [["migrate", "status"]],
      [["workspace", "list"]],
      [["construct", "list"]],
      [["session", "list"]],
      [["construct", "show", construct]],
      [["construct", "update", construct, "--title", "p"]],
      [["construct", "statuses", construct]],
      [["append", session], '{"kind":"note","body":"x"}\n'],
      [["append", session], ""],
      [["tail", session, "--no-follow"]],
      [["transcript", session]],
      [["construct", "delete", construct]],
      [["construct", "undelete", construct]],
      [["session", "delete", session]],
      [["session", "undelete", session]],
    ];
    for (const [words, stdin] of commands) {
      const { code, stdout } = await place.run([...words, "--json"], stdin === undefined ? {} : { stdin });
      expect([words, code]).toEqual([words, 0]);
      for (const line of stdout.trimEnd().split("\n"))
        expect(() => JSON.parse(line) as unknown).not.toThrow();
      expect(stdout).toEndWith("\n");
    }
  });

  test("a reader that leaves ends the command quietly", async () => {
    const session = await newSession();
    await place.output(["append", session, "--text"], {
      stdin: "some words that fill a pipe\n".repeat(20_000),
    });
    for (const words of [
      ["transcript", session],
      ["transcript", session, "--json"],
      ["tail", session, "--after", "0"],
    ]) {
      const child = place.start(words);
      const reader = child.stdout.getReader();
      await reader.read();
      await reader.cancel();
      expect([words, await child.exited]).toEqual([words, 0]);
      expect(await new Response(child.stderr).text()).toBe("");
    }
  });
});

describe("exit codes", () => {
  test("0 for help and for what was asked", async () => {
    for (const words of [
      [],
      ["--help"],
      ["help", "append"],
      ["construct", "create", "--help"],
      ["version"],
    ]) {
      const { code, stdout, stderr } = await place.run(words);
      expect([words, code, stderr]).toEqual([words, 0, ""]);
      expect(stdout).not.toBe("");
    }
    expect((await place.run(["append", "--help"])).stdout).toContain("Examples:");
  });

  test.each([
    [["nonsense"]],
    [["construct"]],
    [["construct", "show"]],
    [["construct", "list", "--colour"]],
    [["construct", "list", "--status", "sleeping"]],
    [["construct", "show", "not an id"]],
    [["construct", "create", "x", "--id", "1"]],
    [["append", NOBODY, "/no/such/file"]],
    [["append", NOBODY, "--text", "--raw-json", "--kind", "note"]],
    [["append", NOBODY, "--kind", "note"]],
    [["tail", NOBODY, "--after", "x"]],
    [["serve", "--port", "100000"]],
    [["version", "extra"]],
    [["migrate", "sideways"]],
  ])("2 for wrong use: %j", async (words) => {
    const { code, stdout, stderr } = await place.run(words);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).not.toBe("");
  });

  test("2 for a setting that cannot be, which is named", async () => {
    expect(await place.run(["status"], { env: { SYNTHETIC_PORT: "many" } })).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("SYNTHETIC_PORT") as string,
    });
  });

  test("3 for what is not there, also as JSON on stderr", async () => {
    for (const words of [
      ["construct", "show", NOBODY],
      ["session", "show", NOBODY],
      ["transcript", NOBODY],
      ["tail", NOBODY],
      ["append", NOBODY],
    ]) {
      const { code, stdout, stderr } = await place.run([...words, "--json"]);
      expect([words, code, stdout]).toEqual([words, 3, ""]);
      expect(JSON.parse(stderr)).toMatchObject({ code: "not_found" });
    }
  });

  test("4 when another command holds the directory", async () => {
    const session = await place.output([
      "session",
      "create",
      await place.output(["construct", "create", "held"]),
    ]);
    const holder = place.start(["append", session, "--text"]);
    void holder.stdin.write("first\n");
    void holder.stdin.flush();
    await until(async () => (await place.output(["doctor"])).includes("in use by a command"), "the lock");
    expect(await place.run(["serve", "--port", "0"])).toMatchObject({ code: 4, stdout: "" });
    const refused = await place.run(["construct", "list"]);
    expect(refused).toMatchObject({ code: 4, stdout: "" });
    void holder.stdin.end();
    expect(await holder.exited).toBe(0);
    expect(await place.json<object>(["session", "show", session])).toMatchObject({ last_seq: 1 });
  });

  test("6 when a named server is not there", async () => {
    const env = { SYNTHETIC_TOKEN: "t".repeat(32) };
    expect(await place.run(["construct", "list", "--url", "http://127.0.0.1:1"], { env })).toMatchObject({
      code: 6,
      stdout: "",
    });
  });

  test("130 for Ctrl-C, with what was acknowledged kept", async () => {
    const session = await place.output([
      "session",
      "create",
      await place.output(["construct", "create", "interrupted"]),
    ]);
    const child = place.start(["append", session, "--text"]);
    void child.stdin.write("kept\n");
    void child.stdin.flush();
    await Bun.sleep(700);
    child.kill("SIGINT");
    expect(await child.exited).toBe(130);
    expect(await place.json<object>(["session", "show", session])).toMatchObject({ last_seq: 1 });
  });
});

describe("a server that is named by its address", () => {
  test("is asked with the token of the environment and never with the one in the directory", async () => {
    const seen: (string | null)[] = [];
    const server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: (request) => (
        seen.push(request.headers.get("authorization")),
        Response.json({ items: [], next_cursor: null })
      ),
    });
    await place.output(["token"]);
    expect(await place.run(["construct", "list", "--url", server.url.href])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("SYNTHETIC_TOKEN") as string,
    });
    expect(seen).toEqual([]);
    const token = "s".repeat(40);
    expect(
      (await place.run(["construct", "list", "--url", server.url.href], { env: { SYNTHETIC_TOKEN: token } }))
        .code,
    ).toBe(0);
    expect(seen).toEqual([`Bearer ${token}`]);
    await server.stop(true);
  });
});

describe("what lies in the current directory", () => {
  test("is neither read nor run", async () => {
    const cwd = join(place.cwd, "planted");
    mkdirSync(cwd);
    const mark = join(cwd, "it-ran");
    writeFileSync(join(cwd, ".env"), `SYNTHETIC_PORT=bad\nSYNTHETIC_DATA=${cwd}/stolen\n`);
    writeFileSync(join(cwd, "bunfig.toml"), 'preload = ["./evil.ts"]\n');
    writeFileSync(join(cwd, "evil.ts"), `require("node:fs").writeFileSync(${JSON.stringify(mark)}, "x");`);
    writeFileSync(join(cwd, "package.json"), '{"name":"x","bun":{"preload":["./evil.ts"]}}');
    writeFileSync(join(cwd, "tsconfig.json"), "{ broken");
    writeFileSync(join(cwd, "config.toml"), "port = 1\n");
    const { data, port } = await place.json<Record<string, { value: unknown }>>(["config"], { cwd });
    expect([data?.value, port?.value]).toEqual([place.data_dir, 8420]);
    expect((await place.run(["construct", "list"], { cwd })).code).toBe(0);
    expect(() => statSync(mark)).toThrow();
    // The control: Bun itself does run what was planted.
    writeFileSync(join(cwd, "empty.ts"), "");
    await Bun.spawn([process.execPath, "empty.ts"], { cwd, stdout: "ignore", stderr: "ignore" }).exited;
    expect(statSync(mark).isFile()).toBe(true);
  });
});
