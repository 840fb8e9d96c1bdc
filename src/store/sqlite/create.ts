/**
 * The birth of a store. It gets its name only when it is whole: built beside, log emptied, synced, renamed,
 * folder synced. So a stop at any moment leaves nothing or a store, and an empty or cut `synthetic.db` is
 * never one that we began; what is there is never replaced.
 */
import { renameSync } from "node:fs";
import { dirname } from "node:path";
import { assert } from "../../errors.ts";
import type { Ids } from "../../lib/ids.ts";
import { makePrivateFolder, syncFile, syncFolder } from "../../lib/private-files.ts";
import { closeConnection, immediate, openWriter } from "./connection.ts";
import { buildingPath, databasePath, formerStoreSigns, removeDatabase } from "./files.ts";
import { STORE_SQL } from "./inspect.ts";
import { type AppliedMigration, applyMigrations } from "./migrate.ts";
import type { Migration } from "./migrations.ts";
import { refused, wayBack } from "./refuse.ts";

export interface CreateOptions {
  data_dir: string;
  migrations: readonly Migration[];
  now_ms: number;
  ids: Ids;
}

function requireNoFormerStore(data_dir: string): void {
  const signs = formerStoreSigns(data_dir);
  if (signs.length === 0) return;
  throw refused(
    `${data_dir} has no synthetic.db, but ${signs.join(", ")}: a store was here, and no new one is begun over it. ` +
      wayBack(data_dir),
  );
}

/** A complete database under its temporary name, with nothing left in its log, and closed. */
function build(path: string, options: CreateOptions): AppliedMigration[] {
  const db = openWriter(path, { create: true });
  try {
    const { applied } = applyMigrations(db, options.migrations, { now_ms: options.now_ms });
    immediate(db, () => {
      db.query(STORE_SQL.insert).run({ generation: options.ids.next(), created_at_ms: options.now_ms });
    });
    const [busy, log_pages] = db.query("PRAGMA wal_checkpoint(TRUNCATE)").values()[0] ?? [];
    assert(busy === 0 && log_pages === 0, "the log of a new store is empty before the store gets its name");
    return applied;
  } finally {
    // SQLite has to be done with the file before a descriptor of ours touches it (facts 1).
    closeConnection(db);
  }
}

/**
 * There is a whole store in the directory, on disk, when this returns; when it throws there is none, and what
 * it had begun is gone, or goes at the next attempt. The caller holds the directory's lock and saw no
 * `synthetic.db`. Errors: `refused_store` where a store has been before; SQLiteError and the file system's
 * errors as they come.
 */
export function createStore(options: CreateOptions): AppliedMigration[] {
  const { data_dir } = options;
  requireNoFormerStore(data_dir);
  const building = buildingPath(data_dir);
  makePrivateFolder(dirname(building));
  removeDatabase(building);
  try {
    const applied = build(building, options);
    syncFile(building);
    renameSync(building, databasePath(data_dir));
    syncFolder(data_dir);
    return applied;
  } catch (error) {
    removeDatabase(building);
    throw error;
  }
}
