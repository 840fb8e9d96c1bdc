/**
 * The store's contract in memory: Maps, wire lines and nothing else. It is what the doors are tested over,
 * and the model that the real store is compared with. Simple before fast; it keeps no promise about disks.
 */
import { assert, invalid, Problem } from "../../src/errors.ts";
import { headHex, nextHead, ZERO_HEAD } from "../../src/lib/head.ts";
import { DEFAULT_WORKSPACE_ID } from "../../src/lib/ids.ts";
import { headedText, wireLine } from "../../src/lib/wire-line.ts";
import type { ArtifactRow } from "../../src/schema/artifact.ts";
import type { Construct, StatusPeriod } from "../../src/schema/construct.ts";
import type { Event, NewEvent } from "../../src/schema/event.ts";
import type { Session } from "../../src/schema/session.ts";
import type { Workspace } from "../../src/schema/workspace.ts";
import type {
  AppendOptions,
  AppendOutcome,
  ArtifactFilter,
  ConstructFilter,
  Inserted,
  Lines,
  LinesQuery,
  ListPage,
  ListPosition,
  NewEntry,
  SessionFilter,
  SessionHead,
  Store,
  StoreStats,
} from "../../src/store/contract.ts";

interface StoredEntry {
  entry: NewEntry;
  /** With its newline. */
  line: Uint8Array;
  /** The running head after it. */
  head: Uint8Array;
}

interface Transcript {
  entries: StoredEntry[];
  dropped_through_seq: number;
}

export interface MemoryStoreOptions {
  generation?: string;
  /** Lines that one filtered read may look through. */
  filtered_scan_count?: number;
}

/** A store, and what tests need to see and spoil. */
export interface MemoryStore extends Store {
  readonly recorded: Event[];
  /** Forgets entries as retention would. */
  drop(session_id: string, through_seq: number): void;
  /** Makes every operation fail with this until it is null again. */
  failing: unknown;
}

const CHUNK_BYTES = 64 * 1_024;

/** One page of rows in the order of (value, place of insertion). */
function pageOut<Row extends { id: string }>(
  rows: readonly Row[],
  value: (row: Row) => string | number,
  query: { limit: number; position?: ListPosition },
  order: "asc" | "desc",
): ListPage<Row> {
  const place = new Map(rows.map((row, index) => [row.id, index]));
  const sign = order === "asc" ? 1 : -1;
  const compare = (
    a: { value: string | number; id: string },
    b: { value: string | number; id: string },
  ): number =>
    sign *
    (a.value === b.value ? (place.get(a.id) ?? 0) - (place.get(b.id) ?? 0) : a.value < b.value ? -1 : 1);
  const { position } = query;
  const keyed = rows.map((row) => ({ row, value: value(row), id: row.id })).sort(compare);
  const rest = position === undefined ? keyed : keyed.filter((item) => compare(item, position) > 0);
  const items = rest.slice(0, query.limit);
  const last = items.at(-1);
  return {
    items: items.map(({ row }) => structuredClone(row)),
    next: rest.length > items.length && last !== undefined ? { value: last.value, id: last.id } : null,
  };
}

const anyOf = <T>(wanted: readonly T[] | undefined, value: T): boolean =>
  wanted === undefined || wanted.includes(value);
const contains = (text: string, part: string): boolean => text.toLowerCase().includes(part.toLowerCase());

function constructMatches(row: Construct, filter: ConstructFilter): boolean {
  const { q, created_after, created_before, updated_after, updated_before } = filter;
  return (
    (row.deleted_at_ms !== null) === filter.deleted &&
    anyOf(filter.workspace_id, row.workspace_id) &&
    anyOf(filter.status, row.status) &&
    anyOf(filter.type, row.type) &&
    (filter.label === undefined || filter.label.some((label) => row.labels.includes(label))) &&
    (filter.agent === undefined || (row.agent !== null && filter.agent.includes(row.agent))) &&
    (filter.branch === undefined || (row.branch !== null && filter.branch.includes(row.branch))) &&
    (filter.pinned === undefined || filter.pinned === row.pinned) &&
    (q === undefined || contains(row.title, q) || contains(row.brief, q)) &&
    (created_after === undefined || row.created_at_ms > created_after) &&
    (created_before === undefined || row.created_at_ms < created_before) &&
    (updated_after === undefined || row.updated_at_ms > updated_after) &&
    (updated_before === undefined || row.updated_at_ms < updated_before) &&
    Object.entries(filter.metadata ?? {}).every(
      ([key, values]) => Object.hasOwn(row.metadata, key) && values.includes(row.metadata[key] ?? ""),
    )
  );
}

function artifactMatches(row: ArtifactRow, filter: ArtifactFilter): boolean {
  const {
    name_prefix = "",
    size_at_least = 0,
    size_at_most = Infinity,
    created_after,
    created_before,
  } = filter;
  return (
    row.deleted_at_ms === null &&
    anyOf(filter.construct_id, row.construct_id) &&
    (filter.session_id === undefined ||
      (row.session_id !== null && filter.session_id.includes(row.session_id))) &&
    anyOf(filter.type, row.type) &&
    anyOf(filter.state, row.state) &&
    (filter.sha256 === undefined || (row.sha256 !== null && filter.sha256.includes(row.sha256))) &&
    row.name.startsWith(name_prefix) &&
    row.size_bytes >= size_at_least &&
    row.size_bytes <= size_at_most &&
    (created_after === undefined || row.created_at_ms > created_after) &&
    (created_before === undefined || row.created_at_ms < created_before)
  );
}

export function createMemoryStore(options: MemoryStoreOptions = {}): MemoryStore {
  const workspaces = new Map<string, { row: Workspace; digest: string }>();
  const constructs = new Map<string, { row: Construct; digest: string; periods: StatusPeriod[] }>();
  const sessions = new Map<string, { row: Session; digest: string; transcript: Transcript }>();
  const artifacts = new Map<string, { row: ArtifactRow; digest: string }>();
  const recorded: Event[] = [];
  const generation = options.generation ?? Bun.randomUUIDv7();

  workspaces.set(DEFAULT_WORKSPACE_ID, {
    row: {
      id: DEFAULT_WORKSPACE_ID,
      name: "default",
      description: "",
      repository: null,
      path: null,
      metadata: {},
      revision: 1,
      created_at_ms: 0,
      updated_at_ms: 0,
    },
    digest: "",
  });

  const record = (events: readonly NewEvent[]): void => {
    for (const event of events) recorded.push({ ...event, seq: recorded.length + 1 });
  };

  /**
   * Every operation passes here: atomic because it is synchronous, a promise because the contract says so.
   */
  const atomic = async <T>(work: () => T): Promise<T> => {
    if (memory.failing !== null) throw memory.failing;
    return work();
  };

  const found = <Row>(stored: { row: Row; digest: string }): Inserted<Row> => ({
    created: false,
    row: structuredClone(stored.row),
    create_digest: stored.digest,
  });
  const inserted = <Row>(row: Row, create_digest: string): Inserted<Row> => ({
    created: true,
    row: structuredClone(row),
    create_digest,
  });

  const requireFreeName = (row: Workspace): void => {
    for (const other of workspaces.values()) {
      if (other.row.id !== row.id && other.row.name.toLowerCase() === row.name.toLowerCase()) {
        throw new Problem("conflict", "Another workspace has this name.", {
          errors: [{ pointer: "/name", detail: "is taken" }],
        });
      }
    }
  };

  const headOf = ({ entries, dropped_through_seq }: Transcript): SessionHead => ({
    last_seq: entries.length,
    head: headHex(entries.at(-1)?.head ?? ZERO_HEAD),
    dropped_through_seq,
  });
  const withHead = (stored: { row: Session; transcript: Transcript }): Session => ({
    ...structuredClone(stored.row),
    ...headOf(stored.transcript),
  });
  const isTrashed = (construct_id: string): boolean =>
    (constructs.get(construct_id)?.row.deleted_at_ms ?? null) !== null;
  const workspaceOf = (construct_id: string): string => constructs.get(construct_id)?.row.workspace_id ?? "";

  const sessionMatches = (row: Session, filter: SessionFilter): boolean =>
    (row.deleted_at_ms !== null) === filter.deleted &&
    !isTrashed(row.construct_id) &&
    anyOf(filter.construct_id, row.construct_id) &&
    anyOf(filter.workspace_id, workspaceOf(row.construct_id)) &&
    (filter.parent_id === undefined ||
      (row.parent_id !== null && filter.parent_id.includes(row.parent_id))) &&
    anyOf(filter.status, row.status) &&
    (filter.agent === undefined || (row.agent !== null && filter.agent.includes(row.agent))) &&
    (filter.external_id === undefined ||
      (row.external_id !== null && filter.external_id.includes(row.external_id)));

  const transcriptOf = (session_id: string): Transcript => {
    const stored = sessions.get(session_id);
    if (stored === undefined) throw new Problem("not_found", "There is no such session.");
    return stored.transcript;
  };

  const append = (
    session_id: string,
    entries: readonly NewEntry[],
    { received_at_ms, after, known }: AppendOptions,
  ): AppendOutcome => {
    const transcript = transcriptOf(session_id);
    const { row } = sessions.get(session_id) ?? {};
    if (row === undefined || row.deleted_at_ms !== null || isTrashed(row.construct_id))
      throw new Problem("gone", "The session or its construct was deleted.");
    const candidates = new Map<number, number[]>();
    for (const [index, { key }] of entries.entries()) {
      if (key === undefined) continue;
      const looked_at = known?.get(index)?.looked_at ?? [];
      const seqs = transcript.entries.flatMap(({ entry }, place) =>
        entry.key === key && !looked_at.includes(place + 1) ? [place + 1] : [],
      );
      if (seqs.length > 0) candidates.set(index, seqs);
    }
    const head = headOf(transcript);
    if (candidates.size > 0) return { outcome: "keys", candidates, head };
    if (after !== undefined && after !== head.last_seq) return { outcome: "stale", head };
    const items = entries.map((entry, index) => {
      const replay_seq = known?.get(index)?.replay_seq ?? null;
      if (replay_seq !== null) return { seq: replay_seq, replayed: true };
      const seq = transcript.entries.length + 1;
      const headed = headedText({ ...entry, seq });
      const line = Buffer.from(`${wireLine(received_at_ms, headed)}\n`);
      transcript.entries.push({
        entry,
        line,
        head: nextHead(transcript.entries.at(-1)?.head ?? ZERO_HEAD, headed),
      });
      return { seq, replayed: false };
    });
    const last_seq = transcript.entries.length;
    assert(last_seq > head.last_seq, "the caller answers a request whose entries are all known");
    const result = {
      first_seq: head.last_seq + 1,
      last_seq,
      head: headOf(transcript).head,
      received_at_ms,
      replayed: false,
    };
    return {
      outcome: "appended",
      result: entries.some(({ key }) => key !== undefined) ? { ...result, items } : result,
    };
  };

  const read = (session_id: string, query: LinesQuery): Lines => {
    const transcript = transcriptOf(session_id);
    const forward = query.direction === "forward";
    const low = Math.max(query.from_seq, transcript.dropped_through_seq + 1);
    const high = Math.min(query.through_seq, transcript.entries.length);
    const taken: number[] = [];
    let bytes = 0;
    let scanned = 0;
    let at = forward ? low : high;
    let next: number | null = null;
    for (; at >= low && at <= high; at += forward ? 1 : -1) {
      const stored = transcript.entries[at - 1];
      const full = taken.length >= query.limit || (taken.length > 0 && bytes >= query.max_bytes);
      if (
        stored === undefined ||
        full ||
        (query.kinds !== undefined && scanned >= (options.filtered_scan_count ?? 6_400))
      ) {
        next = at;
        break;
      }
      scanned += 1;
      if (query.kinds !== undefined && !query.kinds.has(stored.entry.kind)) continue;
      taken.push(at);
      bytes += stored.line.byteLength;
    }
    const seqs = taken.toSorted((a, b) => a - b);
    const runs: number[][] = [];
    for (const seq of seqs) {
      const run = runs.at(-1);
      if (run?.at(-1) === seq - 1) run.push(seq);
      else runs.push([seq]);
    }
    const pieces = runs.map((run) =>
      Buffer.concat(run.map((seq) => transcript.entries[seq - 1]?.line ?? Buffer.alloc(0))),
    );
    return { pieces, count: seqs.length, first_seq: seqs[0] ?? null, last_seq: seqs.at(-1) ?? null, next };
  };

  const memory: MemoryStore = {
    generation,
    recorded,
    failing: null,
    drop(session_id, through_seq) {
      transcriptOf(session_id).dropped_through_seq = through_seq;
    },
    workspaces: {
      insert: (row, digest, events) =>
        atomic(() => {
          const existing = workspaces.get(row.id);
          if (existing !== undefined) return found(existing);
          requireFreeName(row);
          workspaces.set(row.id, { row, digest });
          record(events);
          return inserted(row, digest);
        }),
      find: (id) => atomic(() => structuredClone(workspaces.get(id)?.row ?? null)),
      list: (query) =>
        atomic(() =>
          pageOut(
            [...workspaces.values()].map(({ row }) => row).filter((row) => contains(row.name, query.q ?? "")),
            (row) => row.name,
            query,
            "asc",
          ),
        ),
      count: ({ q }) =>
        atomic(() => [...workspaces.values()].filter(({ row }) => contains(row.name, q ?? "")).length),
      update: (id, rule) =>
        atomic(() => {
          const stored = workspaces.get(id);
          if (stored === undefined) return null;
          const { row, events } = rule(structuredClone(stored.row));
          if (row === null) return structuredClone(stored.row);
          requireFreeName(row);
          stored.row = row;
          record(events);
          return structuredClone(row);
        }),
      delete: (id, rule) =>
        atomic(() => {
          const stored = workspaces.get(id);
          if (stored === undefined) return null;
          const events = rule(structuredClone(stored.row));
          if ([...constructs.values()].some(({ row }) => row.workspace_id === id))
            throw new Problem("conflict", "The workspace still holds constructs, possibly in the trash.");
          workspaces.delete(id);
          record(events);
          return stored.row;
        }),
    },
    constructs: {
      insert: (row, digest, events, actor) =>
        atomic(() => {
          const existing = constructs.get(row.id);
          if (existing !== undefined) return found(existing);
          if (!workspaces.has(row.workspace_id))
            throw invalid("/workspace_id", "There is no such workspace.");
          constructs.set(row.id, {
            row,
            digest,
            periods: [
              {
                status: row.status,
                from_at_ms: row.status_since_at_ms,
                until_at_ms: null,
                actor,
                reason: null,
              },
            ],
          });
          record(events);
          return inserted(row, digest);
        }),
      find: (id) => atomic(() => structuredClone(constructs.get(id)?.row ?? null)),
      list: (query) =>
        atomic(() => {
          const column = (
            {
              updated: "updated_at_ms",
              created: "created_at_ms",
              status_since: "status_since_at_ms",
              title: "title",
            } as const
          )[query.sort];
          return pageOut(
            [...constructs.values()].map(({ row }) => row).filter((row) => constructMatches(row, query)),
            (row) => row[column],
            query,
            query.order,
          );
        }),
      count: (filter) =>
        atomic(() => [...constructs.values()].filter(({ row }) => constructMatches(row, filter)).length),
      update: (id, rule, { actor, status_reason }) =>
        atomic(() => {
          const stored = constructs.get(id);
          if (stored === undefined) return null;
          const { row, events } = rule(structuredClone(stored.row));
          if (row === null) return structuredClone(stored.row);
          if (row.status !== stored.row.status) {
            const present = stored.periods.at(-1);
            if (present !== undefined) present.until_at_ms = row.status_since_at_ms;
            stored.periods.push({
              status: row.status,
              from_at_ms: row.status_since_at_ms,
              until_at_ms: null,
              actor,
              reason: status_reason ?? null,
            });
          }
          stored.row = row;
          record(events);
          return structuredClone(row);
        }),
      statuses: (id) => atomic(() => structuredClone(constructs.get(id)?.periods ?? [])),
    },
    sessions: {
      insert: (row, digest, events) =>
        atomic(() => {
          const existing = sessions.get(row.id);
          if (existing !== undefined) return found({ row: withHead(existing), digest: existing.digest });
          const construct = constructs.get(row.construct_id);
          if (construct === undefined) throw invalid("/construct_id", "There is no such construct.");
          if (construct.row.deleted_at_ms !== null)
            throw new Problem("gone", "The construct is in the trash.");
          const parent = row.parent_id === null ? undefined : sessions.get(row.parent_id);
          if (row.parent_id !== null && parent?.row.construct_id !== row.construct_id)
            throw invalid("/parent_id", "There is no such session in this construct.");
          sessions.set(row.id, { row, digest, transcript: { entries: [], dropped_through_seq: 0 } });
          record(events(construct.row.workspace_id));
          return inserted(row, digest);
        }),
      find: (id) =>
        atomic(() => {
          const stored = sessions.get(id);
          if (stored === undefined) return null;
          const { construct_id } = stored.row;
          return {
            row: withHead(stored),
            workspace_id: workspaceOf(construct_id),
            construct_deleted: isTrashed(construct_id),
          };
        }),
      list: (query) =>
        atomic(() =>
          pageOut(
            [...sessions.values()].map(withHead).filter((row) => sessionMatches(row, query)),
            (row) => row[`${query.sort}_at_ms`],
            query,
            query.order,
          ),
        ),
      count: (filter) =>
        atomic(() => [...sessions.values()].filter(({ row }) => sessionMatches(row, filter)).length),
      update: (id, rule) =>
        atomic(() => {
          const stored = sessions.get(id);
          if (stored === undefined) return null;
          const { construct_id } = stored.row;
          const { row, events } = rule(withHead(stored), {
            workspace_id: workspaceOf(construct_id),
            construct_deleted: isTrashed(construct_id),
          });
          if (row !== null) {
            stored.row = row;
            record(events);
          }
          return withHead(stored);
        }),
    },
    artifacts: {
      insert: (row, digest, events) =>
        atomic(() => {
          const existing = artifacts.get(row.id);
          if (existing !== undefined) return found(existing);
          const construct = constructs.get(row.construct_id);
          if (construct === undefined) throw invalid("construct_id", "There is no such construct.");
          if (construct.row.deleted_at_ms !== null)
            throw new Problem("gone", "The construct is in the trash.");
          const session = row.session_id === null ? undefined : sessions.get(row.session_id);
          if (row.session_id !== null && session?.row.construct_id !== row.construct_id)
            throw invalid("session_id", "There is no such session in this construct.");
          if (row.entry_seq !== null && row.entry_seq > (session?.transcript.entries.length ?? 0))
            throw invalid("entry_seq", "There is no such entry.");
          artifacts.set(row.id, { row, digest });
          record(events(construct.row.workspace_id));
          return inserted(row, digest);
        }),
      find: (id) =>
        atomic(() => {
          const stored = artifacts.get(id);
          if (stored === undefined) return null;
          const { construct_id } = stored.row;
          return {
            row: structuredClone(stored.row),
            workspace_id: workspaceOf(construct_id),
            construct_deleted: isTrashed(construct_id),
          };
        }),
      findContent: (id) =>
        atomic(() => {
          const stored = artifacts.get(id);
          return stored === undefined
            ? null
            : { ...stored.row, construct_deleted: isTrashed(stored.row.construct_id) };
        }),
      list: (query) =>
        atomic(() =>
          pageOut(
            [...artifacts.values()]
              .map(({ row }) => row)
              .filter((row) => artifactMatches(row, query) && !isTrashed(row.construct_id)),
            (row) => ({ created: row.created_at_ms, name: row.name, size: row.size_bytes })[query.sort],
            query,
            query.order,
          ),
        ),
      count: (filter) =>
        atomic(
          () =>
            [...artifacts.values()].filter(
              ({ row }) => artifactMatches(row, filter) && !isTrashed(row.construct_id),
            ).length,
        ),
      update: (id, rule) =>
        atomic(() => {
          const stored = artifacts.get(id);
          if (stored === undefined) return null;
          const { construct_id } = stored.row;
          const { row, events } = rule(structuredClone(stored.row), {
            workspace_id: workspaceOf(construct_id),
            construct_deleted: isTrashed(construct_id),
          });
          if (row !== null) {
            stored.row = row;
            record(events);
          }
          return structuredClone(stored.row);
        }),
      namesBlob: ({ construct_id, type, sha256 }) =>
        atomic(() =>
          [...artifacts.values()].some(
            ({ row }) => row.construct_id === construct_id && row.type === type && row.sha256 === sha256,
          ),
        ),
      scan: () =>
        atomic(() => ({ rows: [...artifacts.values()].map(({ row }) => structuredClone(row)), next: null })),
      purge: (before) =>
        atomic(() => {
          const old = [...artifacts.values()].filter(({ row }) => (row.deleted_at_ms ?? Infinity) < before);
          for (const { row } of old) artifacts.delete(row.id);
          return old.length;
        }),
    },
    entries: {
      append: (session_id, entries, append_options) =>
        atomic(() => append(session_id, entries, append_options)),
      head: async (session_id) => {
        const stored = sessions.get(session_id);
        return stored === undefined ? null : headOf(stored.transcript);
      },
      headAt: (session_id, seq) =>
        atomic(() => headHex(transcriptOf(session_id).entries[seq - 1]?.head ?? ZERO_HEAD)),
      read: (session_id, query) => atomic(() => read(session_id, query)),
      chunk: (session_id, from_seq, through_seq, encoding) =>
        atomic(() => {
          const { pieces, last_seq } = read(session_id, {
            from_seq,
            through_seq,
            direction: "forward",
            limit: 1_000,
            max_bytes: CHUNK_BYTES,
          });
          if (last_seq === null) return null;
          const data = Buffer.concat(pieces);
          return { data: encoding === "zstd" ? Bun.zstdCompressSync(data) : data, last_seq };
        }),
      sealAll: async () => undefined,
    },
    events: {
      list: ({ after, limit, construct_id }) =>
        atomic(() =>
          recorded
            .filter(
              (event) =>
                event.seq > after && (construct_id === undefined || event.construct_id === construct_id),
            )
            .slice(0, limit),
        ),
    },
    usage: (scope) =>
      atomic(() => {
        const is_within = (construct_id: string): boolean =>
          "construct_id" in scope
            ? scope.construct_id === construct_id
            : !("workspace_id" in scope) || workspaceOf(construct_id) === scope.workspace_id;
        const entries = [...sessions.values()]
          .filter(({ row }) => is_within(row.construct_id))
          .flatMap(({ transcript }) => transcript.entries);
        const bytes = entries.reduce((sum, { entry }) => sum + Buffer.byteLength(entry.body), 0);
        const rows = [...artifacts.values()]
          .map(({ row }) => row)
          .filter((row) => is_within(row.construct_id));
        const living = Map.groupBy(
          rows.filter((row) => row.deleted_at_ms === null),
          (row) => row.type,
        );
        return {
          entry_rows: { items_count: entries.length, logical_bytes: bytes, stored_bytes: bytes },
          entry_frames: { items_count: 0, logical_bytes: 0, stored_bytes: 0 },
          artifacts: [...living].map(([type, of_type]) => ({
            type,
            items_count: of_type.length,
            logical_bytes: of_type.reduce((sum, { size_bytes }) => sum + size_bytes, 0),
          })),
          construct_ids: [...new Set(rows.map(({ construct_id }) => construct_id))],
        };
      }),
    stats: (): StoreStats => ({
      hot_rows_bytes: 0,
      wal_bytes: 0,
      database_bytes: 0,
      freelist_bytes: 0,
      sealed_frame_count: 0,
      frame_cache: { hits: 0, misses: 0, bytes: 0, count: 0 },
      writer: { queue_count: 0, member_count: 0, commit_count: recorded.length, failed_count: 0 },
    }),
    transactionCount: () => recorded.length,
    ready: () => atomic(() => undefined),
    close: async () => undefined,
  };
  return memory;
}
