/**
 * Settings: where each comes from and what it may be. The only file that reads the environment of the
 * process. Precedence: flag, then SYNTHETIC_*, then `<data>/config.toml` or --config, then the default. A
 * value that cannot be used, or a name in a file that is not a setting, is refused before anything is opened.
 */
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { Problem } from "./errors.ts";
import { limit } from "./limits.ts";
import { LOG_LEVELS, type LogLevel } from "./lib/log.ts";

export interface Setting {
  env: string;
  /** As `--help` shows it; null when there is none, so that secrets stay out of argument lists. */
  flag: string | null;
  /** Whether a configuration file may give it. */
  in_file: boolean;
  /** What holds when nothing is said, in words. */
  default: string;
  description: string;
}

/** Every setting. The README's table is generated from it. */
export const SETTINGS = {
  data: {
    env: "SYNTHETIC_DATA",
    flag: "--data <dir>",
    in_file: true,
    default: "$XDG_DATA_HOME/synthetic (macOS: ~/Library/Application Support/synthetic)",
    description: "the data directory; in a file only with --config",
  },
  config: {
    env: "SYNTHETIC_CONFIG",
    flag: "--config <file>",
    in_file: false,
    default: "config.toml in the data directory, if there is one",
    description: "a TOML file with settings",
  },
  url: {
    env: "SYNTHETIC_URL",
    flag: "--url <url>",
    in_file: true,
    default: "the server of the data directory, or the directory itself",
    description: "talk to this server; SYNTHETIC_TOKEN must be its token",
  },
  token: {
    env: "SYNTHETIC_TOKEN",
    flag: null,
    in_file: false,
    default: "the file `token` in the data directory, made at first start",
    description: "the bearer token",
  },
  host: {
    env: "SYNTHETIC_HOST",
    flag: "--host <address>",
    in_file: true,
    default: "127.0.0.1",
    description: "the address that serve listens on",
  },
  port: {
    env: "SYNTHETIC_PORT",
    flag: "--port <number>",
    in_file: true,
    default: "8420",
    description: "the port that serve listens on; 0 picks a free one",
  },
  hosts: {
    env: "SYNTHETIC_HOSTS",
    flag: "--hosts <names>",
    in_file: true,
    default: "none",
    description: "further host names that requests may use, separated by commas",
  },
  log_level: {
    env: "SYNTHETIC_LOG_LEVEL",
    flag: "--log-level <level>",
    in_file: true,
    default: "info; warn on a terminal",
    description: "debug, info, warn or error; JSON lines on stderr",
  },
  migrate: {
    env: "SYNTHETIC_MIGRATE",
    flag: "--migrate",
    in_file: true,
    default: "false",
    description: "bring an older store up to date at start, after a snapshot",
  },
  seal_idle_ms: {
    env: "SYNTHETIC_SEAL_IDLE_MS",
    flag: null,
    in_file: true,
    default: "300000",
    description: "a session that was quiet for this many milliseconds is compressed, however short",
  },
} as const satisfies Record<string, Setting>;

export type SettingName = keyof typeof SETTINGS;
export type SettingSource = "flag" | "environment" | "file" | "default";
export type Environment = Readonly<Record<string, string | undefined>>;

/** What the flags say, by the name of the setting; absent ones are undefined. */
export type Flags = Partial<Record<SettingName, string | boolean>>;

export interface Config {
  /** Absolute. */
  data: string;
  /** The file that was read, absolute, or null. */
  config: string | null;
  url: string | null;
  token: string | null;
  host: string;
  port: number;
  hosts: string[];
  /** Null: info, or warn on a terminal. */
  log_level: LogLevel | null;
  migrate: boolean;
  seal_idle_ms: number;
  sources: Record<SettingName, SettingSource>;
  /** What works but should be known; for serve and doctor to say. */
  warnings: string[];
}

const NAMES = Object.keys(SETTINGS) as SettingName[];
const DEFAULT_PORT = 8420;

type Found = { value: unknown; source: SettingSource; where: string } | null;

function wrong(where: string, expected: string): Problem {
  return new Problem("usage", `${where}: ${expected} is expected.`);
}

function textOf({ value, where }: NonNullable<Found>): string {
  if (typeof value !== "string" || value === "" || /\p{Cc}/u.test(value)) throw wrong(where, "a text");
  return value;
}

function pathOf(found: NonNullable<Found>, base: string, home: string): string {
  const path = textOf(found);
  return path === "~" || path.startsWith("~/") ? join(home, path.slice(2)) : resolve(base, path);
}

function portOf({ value, where }: NonNullable<Found>): number {
  const port = typeof value === "string" && /^\d{1,5}$/.test(value) ? Number(value) : value;
  if (typeof port !== "number" || !Number.isInteger(port) || port < 0 || port > 65_535)
    throw wrong(where, "a port from 0 to 65535");
  return port;
}

function durationOf({ value, where }: NonNullable<Found>): number {
  const duration = typeof value === "string" && /^\d{1,12}$/.test(value) ? Number(value) : value;
  if (typeof duration !== "number" || !Number.isInteger(duration) || duration < 1)
    throw wrong(where, "a whole number of milliseconds above 0");
  return duration;
}

function booleanOf({ value, where }: NonNullable<Found>): boolean {
  if (typeof value === "boolean") return value;
  if (value === "true" || value === "1") return true;
  if (value === "false" || value === "0" || value === "") return false;
  throw wrong(where, "true or false");
}

function hostsOf({ value, where }: NonNullable<Found>): string[] {
  const list: unknown[] = Array.isArray(value)
    ? value
    : typeof value === "string"
      ? value.split(",")
      : [null];
  const names = list
    .map((name) => (typeof name === "string" ? name.trim().toLowerCase() : null))
    .filter((name) => name !== "");
  return names.map((name) => {
    if (name === null || !/^[a-z0-9._-]+(:\d+)?$|^\[[0-9a-f:]+\](:\d+)?$/.test(name))
      throw wrong(where, "host names, each with a port if it has one");
    return name;
  });
}

function levelOf(found: NonNullable<Found>): LogLevel {
  const level = LOG_LEVELS.find((name) => name === found.value);
  if (level === undefined) throw wrong(found.where, LOG_LEVELS.join(", "));
  return level;
}

function urlOf(found: NonNullable<Found>): string {
  const url = URL.parse(textOf(found));
  if (url === null || !/^https?:$/.test(url.protocol)) throw wrong(found.where, "an http or https address");
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "")
    throw wrong(found.where, "an address without a name, a password or a query");
  return url.href.replace(/\/+$/, "");
}

function hostOf(found: NonNullable<Found>): string {
  const host = textOf(found).replace(/^\[(.*)\]$/, "$1");
  if (!/^[A-Za-z0-9.:_-]+$/.test(host)) throw wrong(found.where, "an address or a host name");
  return host;
}

/** True for addresses that only this machine can reach. */
export function isLoopback(host: string): boolean {
  return /^(localhost|::1|\[::1\])$/.test(host) || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}

function defaultData(env: Environment, platform: NodeJS.Platform, home: string): string {
  const base = env["XDG_DATA_HOME"];
  // The XDG specification says that a relative path is to be ignored.
  if (base !== undefined && isAbsolute(base)) return join(base, "synthetic");
  return platform === "darwin"
    ? join(home, "Library", "Application Support", "synthetic")
    : join(home, ".local", "share", "synthetic");
}

/** The settings of a file. Null when there is no file and none was asked for. */
function readFile(path: string, required: boolean): Record<string, unknown> | null {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (!required && (code === "ENOENT" || code === "ENOTDIR")) return null;
    throw new Problem("usage", `${path}: the configuration cannot be read (${code ?? "error"}).`);
  }
  let values: Record<string, unknown>;
  try {
    values = Bun.TOML.parse(text) as Record<string, unknown>;
  } catch (error) {
    throw new Problem("usage", `${path}: ${(error as Error).message}.`);
  }
  for (const name of Object.keys(values)) {
    const setting = Object.hasOwn(SETTINGS, name) ? SETTINGS[name as SettingName] : undefined;
    if (setting === undefined)
      throw new Problem("usage", `${path}: \`${name}\` is not a setting.`, {
        hint: `Settings: ${NAMES.filter((known) => SETTINGS[known].in_file).join(", ")}.`,
      });
    if (!setting.in_file)
      throw new Problem("usage", `${path}: \`${name}\` cannot be set in a file.`, {
        hint: `Use ${setting.env}.`,
      });
  }
  return values;
}

/**
 * All settings, checked. Reads at most one file and creates nothing. Errors: `usage` with the place and what
 * is expected there; a value is never repeated, it may be a secret.
 */
export function loadConfig(
  flags: Flags,
  env: Environment = process.env,
  platform: NodeJS.Platform = process.platform,
): Config {
  const home = env["HOME"] ?? homedir();
  const sources = Object.fromEntries(NAMES.map((name) => [name, "default"])) as Record<
    SettingName,
    SettingSource
  >;
  let file: { path: string; values: Record<string, unknown> } | null = null;

  const find = (name: SettingName): Found => {
    const { env: variable, flag } = SETTINGS[name];
    const from_env = env[variable];
    const from_file = file === null || !Object.hasOwn(file.values, name) ? undefined : file.values[name];
    if (flags[name] !== undefined)
      return { value: flags[name], source: "flag", where: String(flag).replace(/ .*/, "") };
    if (from_env !== undefined && from_env !== "")
      return { value: from_env, source: "environment", where: variable };
    if (from_file !== undefined) return { value: from_file, source: "file", where: `${file?.path}: ${name}` };
    return null;
  };
  const take = <T, D>(name: SettingName, read: (found: NonNullable<Found>) => T, otherwise: D): T | D => {
    const found = find(name);
    if (found === null) return otherwise;
    sources[name] = found.source;
    return read(found);
  };
  const takePath = <D>(name: SettingName, otherwise: D): string | D =>
    take(
      name,
      (found) =>
        pathOf(found, found.source === "file" && file !== null ? dirname(file.path) : process.cwd(), home),
      otherwise,
    );

  let config = takePath("config", null);
  if (config !== null) file = { path: config, values: readFile(config, true) ?? {} };
  const data = takePath("data", defaultData(env, platform, home));
  if (config === null) {
    const path = join(data, "config.toml");
    const values = readFile(path, false);
    if (values !== null) {
      if (Object.hasOwn(values, "data"))
        throw new Problem("usage", `${path}: \`data\` cannot be set inside the data directory.`, {
          hint: "Use --data, SYNTHETIC_DATA or --config.",
        });
      file = { path, values };
      config = path;
    }
  }
  const result: Config = {
    data,
    config,
    url: take("url", urlOf, null),
    token: take("token", textOf, null),
    host: take("host", hostOf, "127.0.0.1"),
    port: take("port", portOf, DEFAULT_PORT),
    hosts: take("hosts", hostsOf, []),
    log_level: take("log_level", levelOf, null),
    migrate: take("migrate", booleanOf, false),
    seal_idle_ms: take("seal_idle_ms", durationOf, limit("seal_idle_ms")),
    sources,
    warnings: [],
  };
  return { ...result, warnings: warningsOf(result, env) };
}

function warningsOf(config: Config, env: Environment): string[] {
  const warnings: string[] = [];
  if (!isLoopback(config.host))
    warnings.push(
      `Other machines may reach it at ${config.host}, without encryption: put a proxy with TLS before it.`,
    );
  const known = new Set<string>(NAMES.map((name) => SETTINGS[name].env));
  for (const name of Object.keys(env)) {
    if (name.startsWith("SYNTHETIC_") && !known.has(name))
      warnings.push(`${name} is set, but there is no such setting.`);
  }
  return warnings;
}

export interface TerminalSettings {
  /** NO_COLOR (no-color.org) or a terminal that cannot. */
  plain: boolean;
  /** COLUMNS, when it is a sensible number. */
  columns: number | null;
}

/** What the environment says about the terminal. */
export function terminalSettings(env: Environment = process.env): TerminalSettings {
  const columns = Number(env["COLUMNS"]);
  return {
    plain: (env["NO_COLOR"] ?? "") !== "" || env["TERM"] === "dumb",
    columns: Number.isInteger(columns) && columns > 0 ? columns : null,
  };
}
