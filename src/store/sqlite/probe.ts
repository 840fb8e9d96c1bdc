/**
 * Looking at a database without leaving a trace: before it is known to be ours, whole and of a version that this
 * program understands, nothing of it may change. Opening it as usual would create `-wal` and `-shm`, and closing it
 * would move the log into the file and delete it. It judges nothing.
 */
import { constants, Database } from "bun:sqlite";
import { existsSync, statSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { limit } from "../../limits.ts";

/**
 * How to open it so that no file is made (https://sqlite.org/wal.html#readonly, https://sqlite.org/uri.html):
 * with a log and its index, `readonly_shm` reads both and, alone, rebuilds the index in memory; without a log,
 * `immutable` reads the file as it is, which is sound because a process that serves it would have its index there.
 * A log that lost its index (a power failure, a copy) cannot be read without making one: an empty `-shm` appears.
 */
function mode(path: string): string {
  const log = statSync(`${path}-wal`, { throwIfNoEntry: false });
  if (log !== undefined && existsSync(`${path}-shm`)) return "mode=ro&readonly_shm=1";
  return log !== undefined && log.size > 0 ? "mode=ro" : "mode=ro&immutable=1";
}

/**
 * A connection that sees all that was committed and changes nothing on disk, also beside a running server. The file
 * is not opened before the first query. Errors: SQLiteError as it comes.
 */
export function openProbe(path: string): Database {
  const uri = `${pathToFileURL(path).href}?${mode(path)}`;
  const db = new Database(uri, constants.SQLITE_OPEN_READONLY | constants.SQLITE_OPEN_URI);
  db.run(`PRAGMA busy_timeout = ${limit("sqlite_busy_ms")}`);
  db.run("PRAGMA query_only = ON");
  db.run("PRAGMA trusted_schema = OFF");
  return db;
}
