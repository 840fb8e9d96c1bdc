/**
 * The store as the rules see it. Every operation is atomic, is durable when its promise resolves, and returns a
 * promise. Operations may commit together; a refusal fails alone. Ids are ours; no row number leaves the store.
 *
 * A rule that needs the current row is handed in as a function: it is pure, it runs inside the transaction, and it
 * refuses by throwing a Problem, after which nothing of the operation is stored.
 *
 * Errors of every operation: `storage_full` (nothing stored), `unavailable` (outcome unknown), `busy` (queue full,
 * nothing stored), `integrity_failed`. Other errors are named at the operation.
 */
import type { ArtifactRow, ArtifactSort, ArtifactState } from "../schema/artifact.ts";
import type { Actor } from "../schema/common.ts";
import type { Construct, ConstructSort, ConstructStatus, StatusPeriod } from "../schema/construct.ts";
import type { AppendResult, EntryKind } from "../schema/entry.ts";
import type { Event, NewEvent } from "../schema/event.ts";
import type { Session, SessionStatus } from "../schema/session.ts";
import type { Workspace } from "../schema/workspace.ts";

/** What an insert found: `created`, or the row that had the id before, with the digest of the body that made it. */
export interface Inserted<Row> {
  created: boolean;
  row: Row;
  /** SHA-256 of the creating body in canonical form, hexadecimal. */
  create_digest: string;
}

/** The new row and what the timeline will say. A null row means: nothing to change, store nothing. */
export interface Change<Row> {
  row: Row | null;
  events: NewEvent[];
}

export type Rule<Row> = (current: Row) => Change<Row>;

/** Where a list goes on: the sort value and the id of the last item given. */
export interface ListPosition {
  value: string | number;
  id: string;
}

export interface ListPage<Row> {
  items: Row[];
  /** Null when the list ends here. */
  next: ListPosition | null;
}

export interface WorkspaceQuery {
  /** Case-insensitive part of the name. */
  q?: string;
  limit: number;
  position?: ListPosition;
}

export interface ConstructFilter {
  workspace_id?: string[];
  status?: ConstructStatus[];
  type?: string[];
  label?: string[];
  agent?: string[];
  branch?: string[];
  pinned?: boolean;
  /** False lists what lives, true lists the trash. */
  deleted: boolean;
  /** Case-insensitive part of title or brief. */
  q?: string;
  created_after?: number;
  created_before?: number;
  updated_after?: number;
  updated_before?: number;
  /** All of these; several values of one key mean any of them. */
  metadata?: Record<string, string[]>;
}

export interface ConstructQuery extends ConstructFilter {
  sort: ConstructSort;
  order: "asc" | "desc";
  limit: number;
  position?: ListPosition;
}

export interface SessionFilter {
  construct_id?: string[];
  workspace_id?: string[];
  parent_id?: string[];
  status?: SessionStatus[];
  agent?: string[];
  external_id?: string[];
  deleted: boolean;
}

export interface SessionQuery extends SessionFilter {
  sort: "updated" | "created";
  order: "asc" | "desc";
  limit: number;
  position?: ListPosition;
}

export interface ArtifactFilter {
  construct_id?: string[];
  session_id?: string[];
  type?: string[];
  state?: ArtifactState[];
  sha256?: string[];
  /** Names that begin so; case matters. */
  name_prefix?: string;
  size_at_least?: number;
  size_at_most?: number;
  created_after?: number;
  created_before?: number;
}

export interface ArtifactQuery extends ArtifactFilter {
  sort: ArtifactSort;
  order: "asc" | "desc";
  limit: number;
  position?: ListPosition;
}

/** What an artifact belongs to. */
export interface ArtifactOwner {
  workspace_id: string;
  construct_deleted: boolean;
}

/** What it takes to serve the bytes of an artifact. */
export type ArtifactContent = Pick<
  ArtifactRow,
  "id" | "construct_id" | "type" | "name" | "media_type" | "state" | "sha256" | "size_bytes" | "deleted_at_ms"
> & { construct_deleted: boolean };

/** Where a session's transcript stands. */
export interface SessionHead {
  last_seq: number;
  /** Hexadecimal SHA-256 at last_seq. */
  head: string;
  dropped_through_seq: number;
}

/** An entry ready to be stored: nothing is left to default but its seq. */
export interface NewEntry {
  kind: EntryKind;
  actor: Actor;
  at_ms: number;
  key?: string;
  /** Verbatim text of the JSON value, one line. */
  body: string;
}

export interface AppendOptions {
  received_at_ms: number;
  /** Append only when the session ends here. */
  after?: number;
  /** For entries with a key: seqs that the caller has already looked at and that do not hold this key or are replays to be skipped. */
  known?: ReadonlyMap<number, KnownKey>;
}

/** What the caller found out about the key of entry i of a request. */
export interface KnownKey {
  /** Seqs that were looked at. */
  looked_at: readonly number[];
  /** The entry is already there: it is not appended again. */
  replay_seq: number | null;
}

export type AppendOutcome =
  | { outcome: "appended"; result: AppendResult }
  /** `after` is not where the session ends; nothing was stored. */
  | { outcome: "stale"; head: SessionHead }
  /** These seqs may hold the same keys; look at them and come again. Nothing was stored. */
  | { outcome: "keys"; candidates: Map<number, number[]>; head: SessionHead };

/** Consecutive wire lines of a transcript, each with its newline (see lib/wire-line.ts). */
export interface Lines {
  /** One piece for each stretch of neighbours; an entry larger than a frame is a piece of its own. */
  pieces: Uint8Array[];
  count: number;
  first_seq: number | null;
  last_seq: number | null;
  /** The seq to go on with in the direction of the read, or null when the range is exhausted. */
  next: number | null;
}

export interface LinesQuery {
  /** Inclusive ends of the range; the store cuts it to what there is. */
  from_seq: number;
  through_seq: number;
  /** Backwards starts at through_seq; the lines come ascending all the same. */
  direction: "forward" | "backward";
  limit: number;
  /** Sum of line lengths after which the read stops; at least one line is given. */
  max_bytes: number;
  kinds?: ReadonlySet<EntryKind>;
}

/** One step of a whole-transcript stream. */
export interface TranscriptChunk {
  /** Plain wire lines, or one or more whole zstd frames of them. */
  data: Uint8Array;
  last_seq: number;
}

export interface StoreStats {
  hot_rows_bytes: number;
  wal_bytes: number;
  database_bytes: number;
  freelist_bytes: number;
  frame_cache: { hits: number; misses: number; bytes: number; count: number };
  writer: { queue_count: number; member_count: number; commit_count: number; failed_count: number };
  sealed_frame_count: number;
}

/** Everything, a workspace or a construct. */
export type UsageScope = { construct_id: string } | { workspace_id: string } | { all: true };

export interface UsageCounts {
  items_count: number;
  /** Decoded lengths. */
  logical_bytes: number;
  stored_bytes: number;
}

export interface UsageSums {
  entry_rows: UsageCounts;
  entry_frames: UsageCounts;
  artifacts: { type: string; items_count: number; logical_bytes: number }[];
  /** Those with files of artifacts. */
  construct_ids: string[];
}

export interface Store {
  /** UUID of this history: made with the store, made anew by a restore. */
  readonly generation: string;

  workspaces: {
    /** Errors: `conflict` when the name is taken. */
    insert(row: Workspace, create_digest: string, events: NewEvent[]): Promise<Inserted<Workspace>>;
    find(id: string): Promise<Workspace | null>;
    list(query: WorkspaceQuery): Promise<ListPage<Workspace>>;
    count(query: Pick<WorkspaceQuery, "q">): Promise<number>;
    /** Null when there is none. Errors: what the rule throws; `conflict` when the name is taken. */
    update(id: string, rule: Rule<Workspace>): Promise<Workspace | null>;
    /** The rule may refuse and gives the events. Null when there is none. Errors: `conflict` while it holds constructs, also trashed ones. */
    delete(id: string, rule: (current: Workspace) => NewEvent[]): Promise<Workspace | null>;
  };

  constructs: {
    /** The first status period is written with the row. Errors: `invalid_request` when the workspace is not there. */
    insert(
      row: Construct,
      create_digest: string,
      events: NewEvent[],
      actor: Actor,
    ): Promise<Inserted<Construct>>;
    /** Also trashed ones. */
    find(id: string): Promise<Construct | null>;
    list(query: ConstructQuery): Promise<ListPage<Construct>>;
    count(filter: ConstructFilter): Promise<number>;
    /** A changed status closes one period and opens the next. Null when there is none. */
    update(
      id: string,
      rule: Rule<Construct>,
      by: { actor: Actor; status_reason?: string },
    ): Promise<Construct | null>;
    /** Oldest first; of more than `children_list_count` the newest. */
    statuses(id: string): Promise<StatusPeriod[]>;
  };

  sessions: {
    /** Errors: `invalid_request` when construct or parent is not there, or the parent is of another construct; `gone` when the construct is trashed. */
    insert(
      row: Session,
      create_digest: string,
      events: (workspace_id: string) => NewEvent[],
    ): Promise<Inserted<Session>>;
    /** Also deleted ones; `construct_deleted` tells whether its construct is in the trash. */
    find(id: string): Promise<{ row: Session; workspace_id: string; construct_deleted: boolean } | null>;
    list(query: SessionQuery): Promise<ListPage<Session>>;
    count(filter: SessionFilter): Promise<number>;
    /** Never changes last_seq, head or dropped_through_seq. Null when there is none. */
    update(
      id: string,
      rule: (
        current: Session,
        context: { workspace_id: string; construct_deleted: boolean },
      ) => Change<Session>,
    ): Promise<Session | null>;
  };

  artifacts: {
    /**
     * Errors: `invalid_request` when construct, session or entry is not there or the session is of another construct;
     * `gone` when the construct is trashed.
     */
    insert(
      row: ArtifactRow,
      create_digest: string,
      events: (workspace_id: string) => NewEvent[],
    ): Promise<Inserted<ArtifactRow>>;
    /** Also deleted ones. */
    find(id: string): Promise<(ArtifactOwner & { row: ArtifactRow }) | null>;
    /** The same, no more than it takes to serve its bytes; shared by all who ask before the next transaction. */
    findContent(id: string): Promise<ArtifactContent | null>;
    list(query: ArtifactQuery): Promise<ListPage<ArtifactRow>>;
    count(filter: ArtifactFilter): Promise<number>;
    /** Changes state, digest, length and deletion only. Null when there is none. */
    update(
      id: string,
      rule: (current: ArtifactRow, owner: ArtifactOwner) => Change<ArtifactRow>,
    ): Promise<ArtifactRow | null>;
    /** Whether a row names these bytes, also a deleted one. */
    namesBlob(key: { construct_id: string; type: string; sha256: string }): Promise<boolean>;
    /** All rows, deleted ones too, in steps; begin after 0 and go on from `next`. */
    scan(after: number): Promise<{ rows: ArtifactRow[]; next: number | null }>;
    /** Removes some rows that were deleted before; gives how many. */
    purge(deleted_before_ms: number): Promise<number>;
  };

  entries: {
    /**
     * All entries or none, in the order given, with seqs that follow the session's last without a gap. Large
     * requests go straight to frames. Errors: `not_found`, `gone` (session or construct deleted), `busy` (back-pressure).
     */
    append(session_id: string, entries: NewEntry[], options: AppendOptions): Promise<AppendOutcome>;
    /** Null when there is no such session. Never waits for a transaction. */
    head(session_id: string): Promise<SessionHead | null>;
    /** The running head at a seq between dropped_through_seq and last_seq. */
    headAt(session_id: string, seq: number): Promise<string>;
    /** Ascending lines of a range. A filtered read may stop early with nothing found and `next` set. */
    read(session_id: string, query: LinesQuery): Promise<Lines>;
    /** The next piece of the transcript from a seq up to a mark, or null at its end. With `zstd`, stored frames come untouched. */
    chunk(
      session_id: string,
      from_seq: number,
      through_seq: number,
      encoding: "identity" | "zstd",
    ): Promise<TranscriptChunk | null>;
    /** Seals everything that is still rows, gives back what it can; resolves when nothing is left to do. */
    sealAll(): Promise<void>;
  };

  events: {
    /** In commit order, above `after`. */
    list(query: { after: number; limit: number; construct_id?: string }): Promise<Event[]>;
  };

  /** Sums for the bytes that are stored; a long read. */
  usage(scope: UsageScope): Promise<UsageSums>;

  stats(): StoreStats;
  /** Changes with each transaction that was or may have been committed; costs nothing. */
  transactionCount(): number;
  /** Resolves when a write would be possible; rejects with `unavailable` after a fatal engine error. */
  ready(): Promise<void>;
  /** Writes what is queued, stops the sealer, closes all connections. */
  close(): Promise<void>;
}
