/**
 * The one writer. Work is queued; what arrives in the same tick shares one transaction and one sync (group commit),
 * each member in a savepoint of its own, so that a refusal fails alone. A member is told only after the commit.
 *
 * Engine errors: SQLITE_FULL rolls the whole transaction back, also inside a savepoint (facts 10): then nobody's
 * work is stored, everybody is told, and the next group starts afresh. A failed sync or a corrupt page is final:
 * nothing more is acknowledged, and `failed` tells the app to leave.
 */
import type { Database } from "bun:sqlite";
import { Problem } from "../../errors.ts";
import { limit } from "../../limits.ts";
import { classifySqliteError } from "./connection.ts";
import { run } from "./statement.ts";

export interface WorkOptions {
  /** Payload; bounds what shares a transaction. */
  bytes?: number;
  /** May wait a moment for other work to ride with. */
  lazy?: boolean;
}

export interface Writer {
  /**
   * Runs `work` in a transaction; resolves with its result once that is on disk. `work` is synchronous and touches
   * nothing but the database. Errors: what `work` throws (it alone is undone), `busy`, `storage_full`, `unavailable`.
   */
  run<T>(work: (db: Database) => T, options?: WorkOptions): Promise<T>;
  /** Counts payload against the bound until the returned function is called. Errors: `busy` when it is too much. */
  admit(bytes: number): () => void;
  /** Resolves with the reason when nothing more can be written. */
  readonly failed: Promise<string>;
  /** Begins no transaction until the returned function is called; work is queued meanwhile. */
  hold(): () => void;
  /** Stops for good, as after a final engine error. */
  fail(reason: string): void;
  /** Throws `unavailable` after a final engine error. */
  requireReady(): void;
  readonly stats: { queue_count: number; member_count: number; commit_count: number; failed_count: number };
  /** Writes what is queued; later work is refused. */
  close(): Promise<void>;
}

interface Member {
  work: (db: Database) => unknown;
  bytes: number;
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
}

const BEGIN = "BEGIN IMMEDIATE";
const COMMIT = "COMMIT";
const ROLLBACK = "ROLLBACK";
const SAVEPOINT = "SAVEPOINT member";
const RELEASE = "RELEASE member";
const ROLLBACK_MEMBER = "ROLLBACK TO member";

function isPromise(value: unknown): boolean {
  return typeof value === "object" && value !== null && "then" in value;
}

export function createWriter(
  db: Database,
  commit: (db: Database) => void = (open) => void run(open, COMMIT),
  noteCommit: () => void = () => undefined,
): Writer {
  const queue: Member[] = [];
  const lazy: Member[] = [];
  const stats = { queue_count: 0, member_count: 0, commit_count: 0, failed_count: 0 };
  const { promise: failed, resolve: tellFailed } = Promise.withResolvers<string>();
  let admitted_bytes = 0;
  let scheduled = false;
  let held = false;
  /** Of the group that comes next: turns it waited, and how long the queue was then. */
  let waited_turns = 0;
  let waited_count = 0;
  let lazy_timer: ReturnType<typeof setTimeout> | null = null;
  let failure: string | null = null;
  let closed = false;
  let when_empty: (() => void) | null = null;

  function fail(reason: string): void {
    failure ??= reason;
    tellFailed(failure);
  }

  /** The public form of an engine error; a final one stops the writer. */
  function engineProblem(error: unknown): Problem {
    const kind = classifySqliteError(error);
    if (kind === "full")
      return new Problem("storage_full", "The disk is full; nothing of this request was stored.", {
        cause: error,
        retry_after_s: 10,
      });
    if (kind === "busy")
      return new Problem("busy", "The database is held by another process.", {
        cause: error,
        retry_after_s: 1,
      });
    fail(error instanceof Error ? error.message : String(error));
    return new Problem("unavailable", "The database failed; the outcome of this request is unknown.", {
      cause: error,
      retry_after_s: 5,
    });
  }

  function tellAll(members: readonly Member[], problem: Problem): void {
    stats.failed_count += members.length;
    for (const member of members) member.reject(problem);
  }

  /** Undoes whatever is left of the transaction. */
  function abandon(): void {
    if (db.inTransaction) run(db, ROLLBACK);
  }

  /** One member in its savepoint. True when its work stands; throws when the transaction is lost. */
  function runMember(member: Member): { stands: true; value: unknown } | { stands: false } {
    run(db, SAVEPOINT);
    try {
      const value = member.work(db);
      if (isPromise(value)) throw new Error("work of a transaction must be synchronous");
      run(db, RELEASE);
      return { stands: true, value };
    } catch (error) {
      if (!db.inTransaction || isEngineError(error)) throw error;
      run(db, ROLLBACK_MEMBER);
      run(db, RELEASE);
      member.reject(error);
      return { stands: false };
    }
  }

  function runGroup(members: Member[]): void {
    const done: { member: Member; value: unknown }[] = [];
    let open = members;
    try {
      run(db, BEGIN);
      for (const member of members) {
        const result = runMember(member);
        if (result.stands) done.push({ member, value: result.value });
        else open = open.filter((other) => other !== member);
      }
      commit(db);
    } catch (error) {
      const problem = engineProblem(error);
      try {
        abandon();
      } catch (rollback_error) {
        engineProblem(rollback_error);
      }
      tellAll(open, problem);
      return;
    }
    stats.commit_count += 1;
    stats.member_count += done.length;
    for (const { member, value } of done) member.resolve(value);
  }

  /** How many of the queue share the next transaction: bounded by number and, beyond the first, by payload. */
  function groupSize(): number {
    const most = Math.min(queue.length, limit("writer_group_count"));
    let bytes = 0;
    for (let size = 0; size < most; size += 1) {
      bytes += queue[size]?.bytes ?? 0;
      if (size > 0 && bytes > limit("writer_group_bytes")) return size;
    }
    return most;
  }

  /** While each turn brings more, the group waits for it: all of it shares one sync. */
  function waitsForMore(): boolean {
    const grows = queue.length > waited_count && queue.length < limit("writer_group_count");
    if (!grows || waited_turns >= limit("writer_turns_count")) return false;
    waited_turns += 1;
    waited_count = queue.length;
    return true;
  }

  function drain(): void {
    scheduled = false;
    if (held) return;
    if (waitsForMore()) return schedule();
    waited_turns = 0;
    waited_count = 0;
    if (lazy_timer !== null) {
      clearTimeout(lazy_timer);
      lazy_timer = null;
    }
    const members = [...queue.splice(0, groupSize()), ...lazy.splice(0)];
    stats.queue_count = queue.length;
    if (members.length > 0) {
      if (failure === null) {
        runGroup(members);
        if (failure === null) noteCommit();
      } else
        tellAll(
          members,
          new Problem("unavailable", "The database failed; the server is about to restart.", {
            retry_after_s: 5,
          }),
        );
    }
    if (queue.length > 0) schedule();
    else if (lazy.length === 0) when_empty?.();
  }

  function schedule(): void {
    if (scheduled) return;
    scheduled = true;
    setImmediate(drain);
  }

  function enqueue(member: Member, is_lazy: boolean): void {
    if (is_lazy && !closed) {
      lazy.push(member);
      if (!scheduled) lazy_timer ??= setTimeout(schedule, limit("lazy_write_ms"));
      return;
    }
    queue.push(member);
    stats.queue_count = queue.length;
    schedule();
  }

  function requireReady(): void {
    if (failure !== null)
      throw new Problem("unavailable", "The database failed; the server is about to restart.", {
        retry_after_s: 5,
      });
    if (closed) throw new Problem("unavailable", "The server is stopping.", { retry_after_s: 1 });
  }

  return {
    failed,
    stats,
    fail,
    hold() {
      held = true;
      return () => {
        held = false;
        if (queue.length + lazy.length > 0) schedule();
      };
    },
    requireReady,
    admit(bytes) {
      if (admitted_bytes > 0 && admitted_bytes + bytes > limit("writer_queue_bytes")) throw tooMuch();
      admitted_bytes += bytes;
      return () => {
        admitted_bytes -= bytes;
      };
    },
    run<T>(work: (open: Database) => T, options: WorkOptions = {}): Promise<T> {
      requireReady();
      const bytes = options.bytes ?? 0;
      if (queue.length >= limit("writer_queue_count")) throw tooMuch();
      return new Promise<T>((resolve, reject) => {
        enqueue({ work, bytes, resolve: resolve as (value: unknown) => void, reject }, options.lazy === true);
      });
    },
    async close() {
      closed = true;
      while (queue.length > 0 || lazy.length > 0) {
        const empty = new Promise<void>((resolve) => {
          when_empty = resolve;
        });
        schedule();
        await empty;
      }
    },
  };
}

function tooMuch(): Problem {
  return new Problem("busy", "Too many writes are waiting.", { retry_after_s: 1 });
}

/** A constraint is a defect of one member; anything else that SQLite says concerns the whole transaction. */
function isEngineError(error: unknown): boolean {
  const kind = classifySqliteError(error);
  return kind === "full" || kind === "io" || kind === "corrupt" || kind === "busy";
}
