/**
 * The one place that knows everyone: opens the parts in order, hands down the context, and closes in reverse. Also
 * what may be done to a data directory without serving it: migrating and inspecting.
 */
import { statSync } from "node:fs";
import { join } from "node:path";
import { createBlobs } from "./blob/blobs.ts";
import type { Context } from "./core/context.ts";
import { scheduleGarbage } from "./core/gc.ts";
import { type Clock, system_clock } from "./lib/clock.ts";
import { type Ids, system_ids } from "./lib/ids.ts";
import { errorText, type Log } from "./lib/log.ts";
import { makePrivateFolder } from "./lib/private-files.ts";
import { createBell } from "./lib/wake.ts";
import { limit } from "./limits.ts";
import {
  inspectDatabase,
  migrateDatabase,
  type MigrateAction,
  type MigrationReport,
  type StoreInspection,
} from "./store/sqlite/maintain.ts";
import { openDatabase } from "./store/sqlite/open.ts";
import { createSqliteStore } from "./store/sqlite/store.ts";

export type { MigrationReport, StoreInspection };

export interface AppOptions {
  data_dir: string;
  /** Whether an older store may be brought up to date. */
  migrate: boolean;
  log: Log;
  /** A quiet session's tail is sealed after this; the limit of that name when absent. */
  seal_idle_ms?: number;
  clock?: Clock;
  ids?: Ids;
}

export interface App {
  context: Context;
  /** Whether the store was made by this start. */
  created: boolean;
  warnings: string[];
  /** Resolves with the reason when the store can no longer write: the process has to end and be started again. */
  failed: Promise<string>;
  /** Writes what is queued and closes everything, in reverse. */
  close(): Promise<void>;
}

/** Opens the store of a data directory. Errors: `locked`, `refused_store`, `storage_full`. */
export async function openApp(options: AppOptions): Promise<App> {
  const { data_dir, migrate, log } = options;
  const clock = options.clock ?? system_clock;
  const ids = options.ids ?? system_ids;
  const opened = await openDatabase({ data_dir, migrate, clock, ids });
  const { writer, path, generation } = opened;
  const { store, failed } = createSqliteStore({
    writer,
    path,
    generation,
    clock,
    log,
    seal_idle_ms: options.seal_idle_ms ?? limit("seal_idle_ms"),
  });
  const artifacts = join(data_dir, "artifacts");
  makePrivateFolder(artifacts);
  const blobs = createBlobs({
    root: artifacts,
    clock,
    ids,
    noteFailure: (error) => log.warn("compression_failed", { error: errorText(error) }),
    othersProgress: () => store.transactionCount(),
  });
  if (!opened.created && opened.applied.length > 0) {
    const { path: snapshot, restore_command } = opened.snapshot ?? { path: null, restore_command: null };
    log.warn("migrated", {
      applied: opened.applied.map(({ name }) => name).join(" "),
      snapshot,
      restore_command,
    });
  }
  log.info("store_opened", { created: opened.created, generation, database_bytes: statSync(path).size });
  const context: Context = { store, blobs, clock, ids, bell: createBell() };
  const stopCollecting = scheduleGarbage(context, log);
  return {
    context,
    created: opened.created,
    warnings: opened.warnings,
    failed,
    async close() {
      await stopCollecting();
      await blobs.close();
      await store.close();
      opened.lock.release();
    },
  };
}

/** `synthetic migrate`. Errors: `locked`, `refused_store`, `not_found` when there is no store. */
export async function migrateStore(
  options: { data_dir: string; log: Log; clock?: Clock; ids?: Ids },
  action: MigrateAction,
): Promise<MigrationReport> {
  return migrateDatabase(
    { data_dir: options.data_dir, clock: options.clock ?? system_clock, ids: options.ids ?? system_ids },
    action,
  );
}

/** What can be seen of a store from outside; changes nothing, and does not need the lock. */
export async function inspectStore(data_dir: string): Promise<StoreInspection> {
  return inspectDatabase(data_dir);
}
