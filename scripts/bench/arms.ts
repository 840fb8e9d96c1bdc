/**
 * What the benchmark compares with: stores in temporary directories, with and without the sealer, and a store that
 * keeps nothing. Every arm is made anew for each round, so that rounds are independent.
 */
import type { Database } from "bun:sqlite";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createBlobs } from "../../src/blob/blobs.ts";
import { createConstruct } from "../../src/core/construct.ts";
import type { Context } from "../../src/core/context.ts";
import { createSession } from "../../src/core/session.ts";
import { createBytesCache } from "../../src/lib/bytes-cache.ts";
import { system_clock } from "../../src/lib/clock.ts";
import { system_ids } from "../../src/lib/ids.ts";
import { createLog } from "../../src/lib/log.ts";
import { createBell } from "../../src/lib/wake.ts";
import type { AppendOptions, NewEntry, Store } from "../../src/store/contract.ts";
import { append, type AppendParts } from "../../src/store/sqlite/append.ts";
import { closeConnection, openReader } from "../../src/store/sqlite/connection.ts";
import type { LineBlock } from "../../src/store/sqlite/entry-row.ts";
import { createGate } from "../../src/lib/gate.ts";
import { openDatabase } from "../../src/store/sqlite/open.ts";
import { createSealer, type Sealer } from "../../src/store/sqlite/sealer.ts";
import { finalizeStatements } from "../../src/store/sqlite/statement.ts";
import { createSqliteStore } from "../../src/store/sqlite/store.ts";
import { createTranscriptReader, type TranscriptReader } from "../../src/store/sqlite/transcript.ts";
import { createWriter } from "../../src/store/sqlite/writer.ts";

export const log = createLog(system_clock, "error", (line) => process.stderr.write(line));
const caller = { actor: "user" } as const;

export interface Arm {
  db: Database;
  path: string;
  append(session_id: string, entries: NewEntry[], options: AppendOptions): Promise<unknown>;
  transcripts: TranscriptReader;
  sealer: Sealer;
  close(): Promise<void>;
}

export interface OpenStore {
  context: Context;
  db: Database;
  path: string;
  close(): Promise<void>;
}

function directory(): string {
  return mkdtempSync(join(tmpdir(), "synthetic-bench-"));
}

/** The whole store of a directory, as the server has it. */
async function openWhole(data_dir: string): Promise<OpenStore> {
  const opened = await openDatabase({ data_dir, migrate: false, clock: system_clock, ids: system_ids });
  const { store } = createSqliteStore({
    writer: opened.writer,
    path: opened.path,
    generation: opened.generation,
    clock: system_clock,
    log,
    seal_idle_ms: 3_600_000,
  });
  return {
    context: {
      store,
      blobs: createBlobs({
        root: data_dir,
        clock: system_clock,
        ids: system_ids,
        noteFailure: () => undefined,
      }),
      clock: system_clock,
      ids: system_ids,
      bell: createBell(),
    },
    db: opened.writer,
    path: opened.path,
    async close() {
      await store.close();
      opened.lock.release();
    },
  };
}

/** A whole store in a directory of its own, which goes when it is closed. */
export async function openStore(): Promise<OpenStore> {
  const data_dir = directory();
  const open = await openWhole(data_dir);
  return {
    ...open,
    async close() {
      await open.close();
      rmSync(data_dir, { recursive: true });
    },
  };
}

export async function makeSessions(context: Context, count: number): Promise<string[]> {
  const { row: construct } = await createConstruct(context, { title: "bench" }, caller);
  return Promise.all(
    Array.from(
      { length: count },
      async () => (await createSession(context, { construct_id: construct.id }, caller)).row.id,
    ),
  );
}

/** A sealer that does nothing: what is appended stays rows. */
const no_sealer: Sealer = {
  noteAppend() {},
  noteSealed() {},
  hold: async () => () => {},
  room: () => null,
  sealAll: async () => {},
  stats: { hot_rows_bytes: 0, sealed_frame_count: 0 },
  stop: async () => {},
};

/** Makes the sessions with a whole store and closes it again, so that no second sealer is at work in an arm. */
async function fillSessions(data_dir: string, count: number): Promise<string[]> {
  const whole = await openWhole(data_dir);
  const sessions = await makeSessions(whole.context, count);
  await whole.close();
  return sessions;
}

/** The appending part of the store alone, with the sealer or without it. Gives the ids of `session_count` sessions. */
export async function openArm(
  sealing: boolean,
  session_count: number,
): Promise<{ arm: Arm; sessions: string[] }> {
  const data_dir = directory();
  const sessions = await fillSessions(data_dir, session_count);
  const opened = await openDatabase({ data_dir, migrate: false, clock: system_clock, ids: system_ids });
  const db = opened.writer;
  const reader = openReader(opened.path);
  const writer = createWriter(db);
  const cache = createBytesCache<LineBlock>(16 << 20);
  const sealer = sealing
    ? createSealer({ db, writer, cache, clock: system_clock, log, seal_idle_ms: 3_600_000 })
    : no_sealer;
  const parts: AppendParts = { db, writer, sealer, gate: createGate(), cache };
  const arm: Arm = {
    db,
    path: opened.path,
    append: (session_id, entries, options) => append(parts, session_id, entries, options),
    transcripts: createTranscriptReader(reader, cache),
    sealer,
    async close() {
      await sealer.stop();
      await writer.close();
      finalizeStatements(reader);
      closeConnection(reader);
      finalizeStatements(db);
      closeConnection(db);
      opened.lock.release();
      rmSync(data_dir, { recursive: true });
    },
  };
  return { arm, sessions };
}

/** The same handler without a database: every append is acknowledged and forgotten. */
export function forgettingStore(store: Store): Store {
  const head = "0".repeat(64);
  let last_seq = 0;
  return {
    ...store,
    entries: {
      ...store.entries,
      async append(_session_id, entries, options) {
        const first_seq = last_seq + 1;
        last_seq += entries.length;
        return {
          outcome: "appended",
          result: { first_seq, last_seq, head, received_at_ms: options.received_at_ms, replayed: false },
        };
      },
    },
  };
}
