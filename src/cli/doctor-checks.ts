/**
 * The checks of `synthetic doctor`: facts in, findings out. Pure, except for asking the file system about
 * names.
 */
import { statfsSync, statSync } from "node:fs";
import { join } from "node:path";
import type { StoreInspection } from "../app.ts";
import type { Config } from "../config.ts";
import { Problem } from "../errors.ts";
import { nearestFolder } from "../lib/private-files.ts";
import type { ServerRecord } from "../lib/server-record.ts";
import { bytes, count } from "./format.ts";
import { readToken } from "./token-file.ts";

export interface Finding {
  check: string;
  /** `fail` is what must be mended; `warn` works and should be known. */
  state: "ok" | "warn" | "fail";
  detail: string;
  /** What can be done. */
  hint?: string;
  /** Stored data are affected: exit code 5. */
  integrity?: boolean;
}

/** Below this the next snapshot or checkpoint may not fit. */
const LITTLE_SPACE_BYTES = 1024 ** 3;
const NO_SPACE_BYTES = 64 * 1024 ** 2;

export function checkVersions(store: StoreInspection): Finding {
  const detail = `Bun ${Bun.version}, SQLite ${store.sqlite_version}`;
  if (store.wal_reset_safe) return { check: "versions", state: "ok", detail };
  return {
    check: "versions",
    state: "warn",
    detail: `${detail}, which can spoil a database that two processes checkpoint`,
    hint: "Serving is safe; replicating needs SQLite 3.51.3 or later.",
  };
}

/** Names in the data directory that others may read. */
export function checkPermissions(data_dir: string): Finding {
  const check = "permissions";
  const folder = statSync(data_dir, { throwIfNoEntry: false });
  if (folder === undefined)
    return { check, state: "ok", detail: `${data_dir} is not there yet; it will be made for its owner only` };
  if (!folder.isDirectory()) return { check, state: "fail", detail: `${data_dir} is not a directory` };
  const open = ["token", "server.json", "config.toml", "synthetic.db", "synthetic.db-wal", "lock.db"].filter(
    (name) => {
      const status = statSync(join(data_dir, name), { throwIfNoEntry: false });
      return status !== undefined && (status.mode & 0o077) !== 0;
    },
  );
  if ((folder.mode & 0o077) !== 0)
    return {
      check,
      state: "warn",
      detail: `others can look into ${data_dir} (mode ${(folder.mode & 0o777).toString(8)})`,
      hint: `chmod 700 '${data_dir}'`,
    };
  if (open.length > 0)
    return { check, state: "warn", detail: `others could read ${open.join(", ")}`, hint: "chmod 600 them" };
  return { check, state: "ok", detail: `${data_dir} is for its owner only` };
}

export function checkFilesystem(store: StoreInspection): Finding {
  const { filesystem, filesystem_safe } = store;
  if (filesystem_safe) return { check: "file system", state: "ok", detail: filesystem };
  return {
    check: "file system",
    state: "fail",
    detail: `${filesystem} does not keep the promises that a database needs`,
    hint: "Put the data directory on a local disk.",
  };
}

export function checkSpace(data_dir: string): Finding {
  const { bavail, bsize } = statfsSync(nearestFolder(data_dir));
  const free = bavail * bsize;
  const detail = `${bytes(free)} free`;
  if (free < NO_SPACE_BYTES)
    return {
      check: "disk",
      state: "fail",
      detail,
      hint: "Writes will be refused when it is full; reads go on.",
    };
  return free < LITTLE_SPACE_BYTES
    ? { check: "disk", state: "warn", detail, hint: "Free some before it runs out." }
    : { check: "disk", state: "ok", detail };
}

/** `reachable` is null when no server was asked. */
export function checkServer(
  server: ServerRecord | null,
  reachable: boolean | null,
  locked: boolean,
): Finding {
  const check = "server";
  if (server === null)
    return { check, state: "ok", detail: locked ? "the directory is in use by a command" : "not running" };
  const detail = `process ${server.pid} at ${server.url}`;
  if (reachable === false)
    return {
      check,
      state: "fail",
      detail: `${detail} does not answer`,
      hint: "Look at its log; it can be stopped at any time without loss.",
    };
  if (!locked)
    return {
      check,
      state: "fail",
      detail: `${detail} does not hold its directory`,
      hint: "Stop it before anything else opens the directory.",
    };
  return { check, state: "ok", detail };
}

export function checkMigrations({ exists, schema_version, pending_count }: StoreInspection): Finding {
  const check = "migrations";
  if (!exists) return { check, state: "ok", detail: "no store yet" };
  if (pending_count === null)
    return {
      check,
      state: "fail",
      detail: `version ${schema_version ?? "unknown"} is newer than this binary, or not ours`,
      hint: "Use the binary that wrote it.",
    };
  if (pending_count > 0)
    return {
      check,
      state: "warn",
      detail: `version ${schema_version ?? 0}, ${pending_count} pending`,
      hint: "synthetic migrate",
    };
  return { check, state: "ok", detail: `version ${schema_version ?? 0}, up to date` };
}

export function checkDatabase({ exists, quick_check, database_bytes, wal_bytes }: StoreInspection): Finding {
  const check = "database";
  if (!exists) return { check, state: "ok", detail: "no store yet" };
  const size = `${bytes(database_bytes)}, log ${bytes(wal_bytes)}`;
  if (quick_check === null)
    return { check, state: "ok", detail: `${size}; not read through while it is in use` };
  if (quick_check === "ok") return { check, state: "ok", detail: `${size}, quick check ok` };
  return {
    check,
    state: "fail",
    detail: quick_check,
    hint: "Stop writing to it and restore from a copy.",
    integrity: true,
  };
}

export function checkToken({ data, token }: Config): Finding {
  const check = "token";
  if (token !== null) return { check, state: "ok", detail: "from SYNTHETIC_TOKEN" };
  try {
    const found = readToken(data);
    return {
      check,
      state: "ok",
      detail: found === null ? "will be made at first start" : `a file of ${count(found.length)} characters`,
    };
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return { check, state: "fail", detail: error.message, hint: "Delete it; the next start makes another." };
  }
}

export function checkSettings(config: Config): Finding[] {
  if (config.warnings.length === 0)
    return [{ check: "settings", state: "ok", detail: config.config ?? "no configuration file" }];
  return config.warnings.map((detail) => ({ check: "settings", state: "warn", detail }));
}
