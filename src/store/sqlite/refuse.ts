/**
 * The words in which a data directory is refused: the reason, the way out, and that nothing was changed.
 * Written for the operator at the command line, so paths are named. It decides nothing.
 */
import { SQLiteError } from "bun:sqlite";
import { Problem } from "../../errors.ts";
import { systemCode } from "../../lib/private-files.ts";
import { classifySqliteError, isNoRoom } from "./connection.ts";
import { databasePath } from "./files.ts";
import { listSnapshots } from "./snapshot.ts";

export function refused(detail: string, cause?: unknown): Problem {
  return new Problem("refused_store", detail, { cause });
}

/** What the operator can do about a store that is lost or damaged. */
export function wayBack(data_dir: string): string {
  const newest = listSnapshots(data_dir)[0];
  if (newest === undefined) {
    return `Put a copy of it back, or move ${data_dir} away to begin anew.`;
  }
  return `The newest snapshot comes back, with the server stopped, by: ${newest.restore_command}`;
}

/**
 * The Problem for an error of the files or the engine; anything else is a defect of ours and stays what it
 * is.
 */
export function storeProblem(data_dir: string, error: unknown): unknown {
  if (error instanceof Problem) return error;
  const path = databasePath(data_dir);
  if (isNoRoom(error))
    return new Problem("storage_full", `There is no room in ${data_dir}.`, { cause: error });
  if (!(error instanceof SQLiteError)) {
    const code = systemCode(error);
    if (code === null) return error;
    return refused(`${data_dir} cannot hold a store (${code}). Check its path, owner, mode and disk.`, error);
  }
  const kind = classifySqliteError(error);
  if (kind === "busy") {
    const detail = `${path} is held by another program. Close it, or stop a replication that was left running.`;
    return new Problem("locked", detail, { cause: error });
  }
  if (kind === "io") {
    return refused(
      `${path} cannot be read and written (${error.code}). Check its owner, mode and disk.`,
      error,
    );
  }
  return refused(`${path} is damaged, or is no database. ${wayBack(data_dir)}`, error);
}

/** What a reader of a damaged page is told. */
export function damaged(cause: unknown): Problem {
  return new Problem("integrity_failed", "A part of the database is damaged.", { cause });
}
