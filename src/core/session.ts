/** Rules of sessions. The transcript's own state (last_seq, head) changes only by appending. */
import { Problem } from "../errors.ts";
import { headHex, ZERO_HEAD } from "../lib/head.ts";
import type { Page } from "../schema/common.ts";
import type { EventType, NewEvent } from "../schema/event.ts";
import type { Session, SessionCreate, SessionPatch } from "../schema/session.ts";
import type { SessionFilter } from "../store/contract.ts";
import { changedFields } from "./changed.ts";
import { type Caller, type Context, newEvent } from "./context.ts";
import { createDigest, type Created, settleCreate } from "./create.ts";
import { pageOfList, type PageRequest } from "./paging.ts";
import { type Expected, requireRevision } from "./revision.ts";

function missing(): Problem {
  return new Problem("not_found", "There is no such session.");
}

function deleted(): Problem {
  return new Problem("gone", "This session was deleted.", { hint: "POST …/undelete brings it back." });
}

function constructTrashed(): Problem {
  return new Problem("gone", "The construct of this session is in the trash.", {
    hint: "Undelete the construct.",
  });
}

function eventOf(
  context: Context,
  caller: Caller,
  type: EventType,
  row: Session,
  workspace_id: string,
  data: NewEvent["data"] = {},
): NewEvent {
  return newEvent(context, caller, {
    type,
    workspace_id,
    construct_id: row.construct_id,
    session_id: row.id,
    data: { title: row.title, ...data },
  });
}

/** Creates a session, or gives the one that the same body made. Errors: `conflict`, `gone`, `invalid_request` (no such construct or parent). */
export async function createSession(
  context: Context,
  input: SessionCreate,
  caller: Caller,
): Promise<Created<Session>> {
  const now = context.clock.now_ms();
  const row: Session = {
    id: input.id ?? context.ids.next(),
    construct_id: input.construct_id,
    parent_id: input.parent_id ?? null,
    title: input.title ?? "",
    agent: input.agent ?? null,
    model: input.model ?? null,
    status: input.status ?? "active",
    external_id: input.external_id ?? null,
    working_directory: input.working_directory ?? null,
    branch: input.branch ?? null,
    started_at_ms: input.started_at_ms ?? now,
    ended_at_ms: input.ended_at_ms ?? null,
    metadata: input.metadata ?? {},
    status_since_at_ms: now,
    last_seq: 0,
    head: headHex(ZERO_HEAD),
    dropped_through_seq: 0,
    revision: 1,
    created_at_ms: now,
    updated_at_ms: now,
    deleted_at_ms: null,
  };
  const digest = createDigest({ ...input, id: undefined });
  const inserted = await context.store.sessions.insert(row, digest, (workspace_id) => [
    eventOf(context, caller, "session.created", row, workspace_id, {
      agent: row.agent,
      parent_id: row.parent_id,
    }),
  ]);
  return settleCreate(inserted, digest);
}

/** Errors: `not_found`, `gone` (it or its construct is deleted). */
export async function getSession(context: Context, id: string): Promise<Session> {
  const found = await context.store.sessions.find(id);
  if (found === null) throw missing();
  if (found.row.deleted_at_ms !== null) throw deleted();
  if (found.construct_deleted) throw constructTrashed();
  return found.row;
}

/** Errors: `invalid_request` for a foreign cursor. */
export function listSessions(
  context: Context,
  filter: SessionFilter,
  order: { sort: "updated" | "created"; order: "asc" | "desc" },
  page: PageRequest,
): Promise<Page<Session>> {
  return pageOfList(
    { list: "sessions", ...filter, ...order },
    page,
    (limit, position) =>
      context.store.sessions.list({ ...filter, ...order, limit, ...(position && { position }) }),
    () => context.store.sessions.count(filter),
  );
}

/** Errors: `not_found`, `gone`, `precondition_failed`. Ending a session without a time sets it to now. */
export async function updateSession(
  context: Context,
  id: string,
  patch: SessionPatch,
  expected: Expected,
  caller: Caller,
): Promise<Session> {
  const updated = await context.store.sessions.update(id, (current, { workspace_id, construct_deleted }) => {
    if (current.deleted_at_ms !== null) throw deleted();
    if (construct_deleted) throw constructTrashed();
    requireRevision(expected, current.revision);
    const fields = changedFields(current, patch as Partial<Session>);
    if (fields.length === 0) return { row: null, events: [] };
    const now = context.clock.now_ms();
    const row = { ...current, ...patch, revision: current.revision + 1, updated_at_ms: now } as Session;
    const events: NewEvent[] = [];
    if (fields.includes("status")) {
      row.status_since_at_ms = now;
      if (row.status === "ended" && patch.ended_at_ms === undefined && row.ended_at_ms === null)
        row.ended_at_ms = now;
      events.push(
        eventOf(context, caller, "session.status_changed", row, workspace_id, {
          from: current.status,
          to: row.status,
        }),
      );
    }
    const others = fields.filter((name) => name !== "status");
    if (others.length > 0)
      events.push(eventOf(context, caller, "session.updated", row, workspace_id, { fields: others }));
    return { row, events };
  });
  if (updated === null) throw missing();
  return updated;
}

/** Hides the session and its transcript; nothing is removed. Errors: `not_found`, `gone`, `precondition_failed`. */
export async function deleteSession(
  context: Context,
  id: string,
  expected: Expected,
  caller: Caller,
): Promise<void> {
  const hidden = await context.store.sessions.update(id, (current, { workspace_id }) => {
    if (current.deleted_at_ms !== null) throw deleted();
    requireRevision(expected, current.revision);
    const now = context.clock.now_ms();
    const row: Session = {
      ...current,
      deleted_at_ms: now,
      revision: current.revision + 1,
      updated_at_ms: now,
    };
    return { row, events: [eventOf(context, caller, "session.deleted", row, workspace_id)] };
  });
  if (hidden === null) throw missing();
  context.bell.ring(id);
}

/** Brings a deleted session back; harmless when it lives. Errors: `not_found`. */
export async function undeleteSession(context: Context, id: string, caller: Caller): Promise<Session> {
  const restored = await context.store.sessions.update(id, (current, { workspace_id }) => {
    if (current.deleted_at_ms === null) return { row: null, events: [] };
    const row: Session = {
      ...current,
      deleted_at_ms: null,
      revision: current.revision + 1,
      updated_at_ms: context.clock.now_ms(),
    };
    return { row, events: [eventOf(context, caller, "session.undeleted", row, workspace_id)] };
  });
  if (restored === null) throw missing();
  return restored;
}
