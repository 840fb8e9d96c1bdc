import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig, SETTINGS, terminalSettings } from "../../src/config.ts";
import { Problem } from "../../src/errors.ts";

const dir = mkdtempSync(join(tmpdir(), "synthetic-config-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function fileWith(text: string, name = `${crypto.randomUUID()}.toml`): string {
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
}

function refusal(attempt: () => unknown): string {
  try {
    attempt();
  } catch (error) {
    expect(error).toBeInstanceOf(Problem);
    expect((error as Problem).code).toBe("usage");
    return (error as Problem).message;
  }
  throw new Error("it was not refused");
}

const HOME = { HOME: join(dir, "home") };

describe("where a setting comes from", () => {
  const file = fileWith('port = 3\nhosts = ["a.example"]\n');

  test("a flag wins over the environment, that over the file, that over the default", () => {
    expect(loadConfig({ port: "1", config: file }, { ...HOME, SYNTHETIC_PORT: "2" })).toMatchObject({
      port: 1,
      sources: { port: "flag" },
    });
    expect(loadConfig({ config: file }, { ...HOME, SYNTHETIC_PORT: "2" })).toMatchObject({
      port: 2,
      sources: { port: "environment" },
    });
    expect(loadConfig({ config: file }, HOME)).toMatchObject({ port: 3, sources: { port: "file" } });
    expect(loadConfig({}, HOME)).toMatchObject({ port: 8420, sources: { port: "default" } });
  });

  test("an empty variable is as good as none", () => {
    expect(loadConfig({}, { ...HOME, SYNTHETIC_PORT: "", SYNTHETIC_TOKEN: "" })).toMatchObject({
      port: 8420,
      token: null,
    });
  });

  test("config.toml of the data directory is read when there is one", () => {
    const data = join(dir, "data");
    mkdirSync(data);
    expect(loadConfig({ data }, HOME).config).toBeNull();
    writeFileSync(join(data, "config.toml"), "port = 9\n");
    expect(loadConfig({ data }, HOME)).toMatchObject({ port: 9, config: join(data, "config.toml") });
  });

  test("a file that was asked for replaces the one of the data directory", () => {
    const data = join(dir, "other");
    mkdirSync(data);
    writeFileSync(join(data, "config.toml"), "port = 9\n");
    expect(loadConfig({ data, config: fileWith("migrate = true") }, HOME)).toMatchObject({
      port: 8420,
      migrate: true,
    });
  });

  test("only a file that was asked for may name the data directory, relative to itself", () => {
    expect(loadConfig({ config: fileWith('data = "here"') }, HOME).data).toBe(join(dir, "here"));
    const data = join(dir, "self");
    mkdirSync(data);
    writeFileSync(join(data, "config.toml"), 'data = "elsewhere"');
    expect(refusal(() => loadConfig({ data }, HOME))).toContain(
      "`data` cannot be set inside the data directory",
    );
  });
});

describe("the data directory", () => {
  test("follows XDG_DATA_HOME when that is absolute", () => {
    expect(loadConfig({}, { ...HOME, XDG_DATA_HOME: "/x" }, "linux").data).toBe("/x/synthetic");
    expect(loadConfig({}, { ...HOME, XDG_DATA_HOME: "x" }, "linux").data).toBe(
      join(HOME.HOME, ".local/share/synthetic"),
    );
  });

  test("has its place on every system", () => {
    expect(loadConfig({}, HOME, "linux").data).toBe(join(HOME.HOME, ".local/share/synthetic"));
    expect(loadConfig({}, HOME, "darwin").data).toBe(
      join(HOME.HOME, "Library/Application Support/synthetic"),
    );
  });

  test("may begin with the home directory", () => {
    expect(loadConfig({}, { ...HOME, SYNTHETIC_DATA: "~/d" }).data).toBe(join(HOME.HOME, "d"));
  });
});

describe("what is refused", () => {
  test.each([
    ["port", "65536"],
    ["port", "-1"],
    ["port", "80x"],
    ["port", ""],
    ["host", "a b"],
    ["hosts", "http://x"],
    ["log_level", "loud"],
    ["url", "ftp://x"],
    ["url", "http://u:p@x"],
    ["migrate", "perhaps"],
  ] as const)("%s %p", (name, value) => {
    const message = refusal(() => loadConfig({ [name]: value }, HOME));
    expect(message).toStartWith(SETTINGS[name].flag.replace(/ .*/, ""));
  });

  test("a name that is no setting, with the file and the name", () => {
    const path = fileWith("prot = 1\n");
    expect(refusal(() => loadConfig({ config: path }, HOME))).toBe(`${path}: \`prot\` is not a setting.`);
    expect(refusal(() => loadConfig({ config: fileWith("[server]\nport = 1\n") }, HOME))).toContain(
      "`server` is not a setting",
    );
    expect(refusal(() => loadConfig({ config: fileWith("__proto__ = 1\n") }, HOME))).toContain(
      "`__proto__` is not a setting",
    );
  });

  test("a token in a file", () => {
    expect(refusal(() => loadConfig({ config: fileWith('token = "secret-secret"\n') }, HOME))).not.toContain(
      "secret-secret",
    );
  });

  test("a file that is not there or is not TOML", () => {
    expect(refusal(() => loadConfig({ config: join(dir, "none.toml") }, HOME))).toContain("ENOENT");
    expect(refusal(() => loadConfig({ config: fileWith("port = ") }, HOME))).toContain("TOML");
  });

  test("values are not repeated in the refusal", () => {
    expect(refusal(() => loadConfig({}, { ...HOME, SYNTHETIC_URL: "hunter2" }))).not.toContain("hunter2");
  });
});

describe("what works but is said", () => {
  test("a host that other machines can reach", () => {
    expect(loadConfig({ host: "0.0.0.0" }, HOME).warnings.join()).toContain("0.0.0.0");
    for (const host of ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
      expect(loadConfig({ host }, HOME).warnings).toEqual([]);
  });

  test("a variable that is no setting", () => {
    expect(loadConfig({}, { ...HOME, SYNTHETIC_PROT: "1" }).warnings.join()).toContain("SYNTHETIC_PROT");
  });
});

test("lists of hosts come as text or as a list", () => {
  expect(loadConfig({ hosts: "A.example, b:1 ,[::2]:3," }, HOME).hosts).toEqual([
    "a.example",
    "b:1",
    "[::2]:3",
  ]);
  expect(loadConfig({ config: fileWith('hosts = ["a", "b"]') }, HOME).hosts).toEqual(["a", "b"]);
});

test("every setting has a variable of its own", () => {
  const variables = Object.values(SETTINGS).map(({ env }) => env);
  expect(new Set(variables).size).toBe(variables.length);
});

test("the terminal is plain with NO_COLOR or a dumb terminal", () => {
  expect(terminalSettings({ NO_COLOR: "1", COLUMNS: "70" })).toEqual({ plain: true, columns: 70 });
  expect(terminalSettings({ NO_COLOR: "", COLUMNS: "wide" })).toEqual({ plain: false, columns: null });
  expect(terminalSettings({ TERM: "dumb" }).plain).toBe(true);
});
