/** A real store in a directory of its own, for tests of the floors above SQLite. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { system_clock } from "../../src/lib/clock.ts";
import { system_ids } from "../../src/lib/ids.ts";
import { createLog } from "../../src/lib/log.ts";
import { createBell } from "../../src/lib/wake.ts";
import { createConstruct } from "../../src/core/construct.ts";
import type { Context } from "../../src/core/context.ts";
import { createSession } from "../../src/core/session.ts";
import type { Session } from "../../src/schema/session.ts";
import { openDatabase } from "../../src/store/sqlite/open.ts";
import { createSqliteStore } from "../../src/store/sqlite/store.ts";
import { sharedBlobs } from "./blobs.ts";

export interface TestStore {
  context: Context;
  data_dir: string;
  path: string;
  failed: Promise<string>;
  /** Closes the store and opens it again on the same directory. */
  reopen(): Promise<void>;
  /** Closes the store and removes the directory. */
  remove(): Promise<void>;
}

export const quiet_log = createLog(system_clock, "error", (line) => process.stderr.write(line));
export const caller = { actor: "user" } as const;

export async function openTestStore(
  options: { seal_idle_ms?: number; data_dir?: string } = {},
): Promise<TestStore> {
  const data_dir = options.data_dir ?? mkdtempSync(join(tmpdir(), "synthetic-test-"));
  const open = async () => {
    const opened = await openDatabase({ data_dir, migrate: false, clock: system_clock, ids: system_ids });
    const made = createSqliteStore({
      writer: opened.writer,
      path: opened.path,
      generation: opened.generation,
      clock: system_clock,
      log: quiet_log,
      seal_idle_ms: options.seal_idle_ms ?? 3_600_000,
    });
    return { opened, ...made };
  };
  let current = await open();
  const context: Context = {
    store: current.store,
    blobs: sharedBlobs(),
    clock: system_clock,
    ids: system_ids,
    bell: createBell(),
  };
  const close = async (): Promise<void> => {
    await current.store.close();
    current.opened.lock.release();
  };
  return {
    context,
    data_dir,
    path: current.opened.path,
    failed: current.failed,
    async reopen() {
      await close();
      current = await open();
      context.store = current.store;
    },
    async remove() {
      await close();
      rmSync(data_dir, { recursive: true, force: true });
    },
  };
}

/** A fresh session in a fresh construct. */
export async function newSession(context: Context): Promise<Session> {
  const { row: construct } = await createConstruct(context, { title: "test" }, caller);
  const { row } = await createSession(context, { construct_id: construct.id }, caller);
  return row;
}
