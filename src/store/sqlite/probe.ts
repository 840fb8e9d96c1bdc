/**
 * Looking at a database without leaving a trace: before it is known to be ours, whole and of a version that
 * this program understands, nothing of it may change. Opening it as usual would create `-wal` and `-shm`, and
 * closing it would move the log into the file and delete it. It judges nothing.
 */
import { constants, Database } from "bun:sqlite";
import { existsSync, statSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { limit } from "../../limits.ts";

/**
 * How to open it (https://sqlite.org/wal.html#readonly, https://sqlite.org/uri.html). With a log, as a
 * reader: a descriptor that cannot write can neither move the log nor delete it; only its index, `-shm`,
 * which every first opener makes anew, is made anew. Without one, `immutable` reads the file alone and makes
 * nothing: whoever serves it would have both beside it. (`readonly_shm` would spare the index, but ends in
 * SQLITE_PROTOCOL after ten seconds where a crash came between the log's header and its first commit.)
 */
function mode(path: string): string {
  const log = statSync(`${path}-wal`, { throwIfNoEntry: false });
  const is_read = log !== undefined && (log.size > 0 || existsSync(`${path}-shm`));
  return is_read ? "mode=ro" : "mode=ro&immutable=1";
}

/**
 * A connection that sees all that was committed and leaves the database and its log byte for byte as they
 * are, also beside a running server. The file is not read before the first query. Errors: SQLiteError as it
 * comes.
 */
export function openProbe(path: string): Database {
  const uri = `${pathToFileURL(path).href}?${mode(path)}`;
  const db = new Database(uri, constants.SQLITE_OPEN_READONLY | constants.SQLITE_OPEN_URI);
  db.run(`PRAGMA busy_timeout = ${limit("sqlite_busy_ms")}`);
  db.run("PRAGMA query_only = ON");
  db.run("PRAGMA trusted_schema = OFF");
  return db;
}
