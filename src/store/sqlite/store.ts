/** The store on SQLite: connections opened, parts put together, and the contract's operations given to them. */
import type { Database } from "bun:sqlite";
import { statSync } from "node:fs";
import { type BytesCache, createBytesCache } from "../../lib/bytes-cache.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import { limit } from "../../limits.ts";
import type { ArtifactContent, Store, StoreStats, UsageCounts, UsageSums } from "../contract.ts";
import { append } from "./append.ts";
import {
  artifactCountSql,
  artifactListScans,
  artifactListSql,
  artifactPage,
  findArtifact,
  findArtifactContent,
  insertArtifact,
  namesBlob,
  purgeArtifacts,
  scanArtifacts,
  updateArtifact,
} from "./artifact.ts";
import { createCommittedRows } from "./committed-rows.ts";
import { createCheckpointer } from "./checkpointer.ts";
import { classifySqliteError, closeConnection, openReader } from "./connection.ts";
import {
  constructCountSql,
  constructListScans,
  constructListSql,
  constructPage,
  findConstruct,
  insertConstruct,
  listStatuses,
  updateConstruct,
} from "./construct.ts";
import type { LineBlock } from "./entry-row.ts";
import { listEvents } from "./event.ts";
import { createGate } from "../../lib/gate.ts";
import { findHead, toSessionHead } from "./head.ts";
import { createReaderPool } from "./reader-pool.ts";
import { damaged } from "./refuse.ts";
import { createSealer } from "./sealer.ts";
import {
  findSession,
  insertSession,
  sessionCountSql,
  sessionListScans,
  sessionListSql,
  sessionPage,
  updateSession,
} from "./session.ts";
import { freelist } from "./space.ts";
import { allBuilt, finalizeStatements, type Parameters } from "./statement.ts";
import { createTranscriptReader } from "./transcript.ts";
import {
  deleteWorkspace,
  findWorkspace,
  insertWorkspace,
  listWorkspaces,
  updateWorkspace,
  workspaceCountSql,
} from "./workspace.ts";
import { artifactFoldersSql, artifactUsageSql, frameUsageSql, rowUsageSql } from "./usage.ts";
import { createWriter } from "./writer.ts";

export interface SqliteStoreOptions {
  /** The writing connection, open and migrated (see open.ts); closed with the store. */
  writer: Database;
  path: string;
  generation: string;
  clock: Clock;
  log: Log;
  /** A quiet session's tail is sealed after this. */
  seal_idle_ms: number;
}

function fileBytes(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** The store of contract.ts, and `failed`, which resolves when it can no longer write. */
export function createSqliteStore(options: SqliteStoreOptions): { store: Store; failed: Promise<string> } {
  const { path, clock, log } = options;
  const reader = openReader(path);
  const pool = createReaderPool(path);
  const writer = createWriter(options.writer, undefined, () => checkpointer.noteCommit());
  const checkpointer = createCheckpointer(options.writer, path, writer);
  const cache: BytesCache<LineBlock> = createBytesCache(limit("frame_cache_bytes"));
  const sealer = createSealer({
    db: options.writer,
    writer,
    cache,
    clock,
    log,
    seal_idle_ms: options.seal_idle_ms,
  });
  const transcripts = createTranscriptReader(reader, cache);
  const parts = { db: options.writer, writer, sealer, gate: createGate(), cache };

  const total = async ({ sql, parameters }: { sql: string; parameters: Parameters }): Promise<number> => {
    const [row] = await pool.all<{ total: number }>(sql, parameters);
    return row?.total ?? 0;
  };
  /** A list that has to look at texts goes to a thread; the others follow an index and are answered here. */
  const rows = (
    long: boolean,
    { sql, parameters }: { sql: string; parameters: Parameters },
  ): Promise<unknown[]> | unknown[] => (long ? pool.all(sql, parameters) : allBuilt(reader, sql, parameters));

  const stats = (): StoreStats => {
    const { pages, free_pages, page_bytes } = freelist(reader);
    return {
      ...sealer.stats,
      wal_bytes: fileBytes(`${path}-wal`),
      database_bytes: pages * page_bytes,
      freelist_bytes: free_pages * page_bytes,
      frame_cache: cache.stats,
      writer: writer.stats,
    };
  };

  const transactionCount = (): number => writer.stats.commit_count + writer.stats.failed_count;
  const contents = createCommittedRows<ArtifactContent>(transactionCount);

  const store: Store = {
    generation: options.generation,
    workspaces: {
      insert: async (row, digest, events) => writer.run((db) => insertWorkspace(db, row, digest, events)),
      find: async (id) => findWorkspace(reader, id),
      list: async (query) => listWorkspaces(reader, query),
      count: async (query) => total(workspaceCountSql(query)),
      update: async (id, rule) => writer.run((db) => updateWorkspace(db, id, rule)),
      delete: async (id, rule) => writer.run((db) => deleteWorkspace(db, id, rule)),
    },
    constructs: {
      insert: async (row, digest, events, actor) =>
        writer.run((db) => insertConstruct(db, row, digest, events, actor)),
      find: async (id) => findConstruct(reader, id),
      list: async (query) =>
        constructPage(await rows(constructListScans(query), constructListSql(query)), query),
      count: async (filter) => total(constructCountSql(filter)),
      update: async (id, rule, by) => writer.run((db) => updateConstruct(db, id, rule, by)),
      statuses: async (id) => listStatuses(reader, id),
    },
    sessions: {
      insert: async (row, digest, events) => writer.run((db) => insertSession(db, row, digest, events)),
      find: async (id) => findSession(reader, id),
      list: async (query) => sessionPage(await rows(sessionListScans(query), sessionListSql(query)), query),
      count: async (filter) => total(sessionCountSql(filter)),
      update: async (id, rule) => writer.run((db) => updateSession(db, id, rule)),
    },
    artifacts: {
      insert: async (row, digest, events) => writer.run((db) => insertArtifact(db, row, digest, events)),
      find: async (id) => findArtifact(reader, id),
      findContent: async (id) => contents(id, () => findArtifactContent(reader, id)),
      list: async (query) =>
        artifactPage(await rows(artifactListScans(query), artifactListSql(query)), query),
      count: async (filter) => total(artifactCountSql(filter)),
      update: async (id, rule) => writer.run((db) => updateArtifact(db, id, rule)),
      namesBlob: async (key) => namesBlob(reader, key),
      scan: async (after) => scanArtifacts(reader, after, limit("scanned_artifacts_count")),
      purge: async (before) =>
        writer.run((db) => purgeArtifacts(db, before, limit("purged_artifacts_count"))),
    },
    entries: {
      append: (session_id, entries, append_options) => append(parts, session_id, entries, append_options),
      head: async (session_id) => {
        const row = findHead(reader, session_id);
        return row === null ? null : toSessionHead(row);
      },
      headAt: transcripts.headAt,
      read: transcripts.read,
      chunk: transcripts.chunk,
      sealAll: sealer.sealAll,
    },
    events: { list: async (query) => listEvents(reader, query) },
    async usage(scope) {
      const sums = async (query: { sql: string; parameters: Parameters }): Promise<UsageCounts> => {
        const [row] = await pool.all<UsageCounts>(query.sql, query.parameters);
        return row ?? { items_count: 0, logical_bytes: 0, stored_bytes: 0 };
      };
      const rows_of = <Row>({ sql, parameters }: { sql: string; parameters: Parameters }): Promise<Row[]> =>
        pool.all<Row>(sql, parameters);
      return {
        entry_rows: await sums(rowUsageSql(scope)),
        entry_frames: await sums(frameUsageSql(scope)),
        artifacts: await rows_of<UsageSums["artifacts"][number]>(artifactUsageSql(scope)),
        construct_ids: (await rows_of<{ id: string }>(artifactFoldersSql(scope))).map(({ id }) => id),
      };
    },
    stats,
    transactionCount,
    ready: async () => writer.requireReady(),
    close: async () => {
      await sealer.stop();
      await writer.close();
      await pool.close();
      await checkpointer.close();
      closeConnections(reader, options.writer);
    },
  };
  return { store: withDamageTold(store), failed: writer.failed };
}

type Group = Record<string, (...given: never[]) => Promise<unknown>>;

/** The same operations; an engine error that means damage comes out as `integrity_failed`. */
function withDamageTold(store: Store): Store {
  const wrapped = (group: Group): Group =>
    Object.fromEntries(
      Object.entries(group).map(([name, operation]) => [
        name,
        (...given: never[]) =>
          operation(...given).catch((error: unknown) => {
            throw classifySqliteError(error) === "corrupt" ? damaged(error) : error;
          }),
      ]),
    );
  const { workspaces, constructs, sessions, artifacts, entries, events } = store;
  const groups = { workspaces, constructs, sessions, artifacts, entries, events } as unknown as Record<
    string,
    Group
  >;
  const told = Object.fromEntries(Object.entries(groups).map(([name, group]) => [name, wrapped(group)]));
  return { ...store, ...(told as unknown as Omit<Store, "generation" | "stats" | "ready" | "close">) };
}

/** Readers first: the last connection to close moves the WAL into the database. */
function closeConnections(reader: Database, writing: Database): void {
  for (const db of [reader, writing]) {
    finalizeStatements(db);
    closeConnection(db);
  }
}
