/** Rules of constructs: any status may follow any other, each change is an event, deleting is soft and can be undone. */
import { Problem } from "../errors.ts";
import { DEFAULT_WORKSPACE_ID } from "../lib/ids.ts";
import type { Page } from "../schema/common.ts";
import type {
  Construct,
  ConstructCreate,
  ConstructPatch,
  ConstructSort,
  StatusPeriod,
} from "../schema/construct.ts";
import type { EventType, NewEvent } from "../schema/event.ts";
import type { ConstructFilter } from "../store/contract.ts";
import { changedFields } from "./changed.ts";
import { type Caller, type Context, newEvent } from "./context.ts";
import { createDigest, type Created, settleCreate } from "./create.ts";
import { pageOfList, type PageRequest } from "./paging.ts";
import { type Expected, requireRevision } from "./revision.ts";

function missing(): Problem {
  return new Problem("not_found", "There is no such construct.");
}

function trashed(): Problem {
  return new Problem("gone", "This construct is in the trash.", { hint: "POST …/undelete brings it back." });
}

function eventOf(
  context: Context,
  caller: Caller,
  type: EventType,
  row: Construct,
  data: NewEvent["data"] = {},
): NewEvent {
  return newEvent(context, caller, {
    type,
    workspace_id: row.workspace_id,
    construct_id: row.id,
    session_id: null,
    data: { title: row.title, ...data },
  });
}

const sortedLabels = (labels: readonly string[]): string[] => [...labels].sort();

/** Creates a construct, or gives the one that the same body made. Errors: `conflict`, `gone`, `invalid_request` (no such workspace). */
export async function createConstruct(
  context: Context,
  input: ConstructCreate,
  caller: Caller,
): Promise<Created<Construct>> {
  const now = context.clock.now_ms();
  const row: Construct = {
    id: input.id ?? context.ids.next(),
    workspace_id: input.workspace_id ?? DEFAULT_WORKSPACE_ID,
    title: input.title,
    brief: input.brief ?? "",
    type: input.type ?? "task",
    status: input.status ?? "draft",
    labels: sortedLabels(input.labels ?? []),
    agent: input.agent ?? null,
    branch: input.branch ?? null,
    worktree_path: input.worktree_path ?? null,
    pinned: input.pinned ?? false,
    metadata: input.metadata ?? {},
    status_since_at_ms: now,
    revision: 1,
    created_at_ms: now,
    updated_at_ms: now,
    deleted_at_ms: null,
  };
  const digest = createDigest({ ...input, id: undefined });
  const events = [eventOf(context, caller, "construct.created", row, { status: row.status })];
  return settleCreate(await context.store.constructs.insert(row, digest, events, caller.actor), digest);
}

/** Errors: `not_found`, `gone` (in the trash). */
export async function getConstruct(context: Context, id: string): Promise<Construct> {
  const row = await context.store.constructs.find(id);
  if (row === null) throw missing();
  if (row.deleted_at_ms !== null) throw trashed();
  return row;
}

/** Errors: `invalid_request` for a foreign cursor. */
export function listConstructs(
  context: Context,
  filter: ConstructFilter,
  order: { sort: ConstructSort; order: "asc" | "desc" },
  page: PageRequest,
): Promise<Page<Construct>> {
  return pageOfList(
    { list: "constructs", ...filter, ...order },
    page,
    (limit, position) =>
      context.store.constructs.list({ ...filter, ...order, limit, ...(position && { position }) }),
    () => context.store.constructs.count(filter),
  );
}

/** Errors: `not_found`, `gone`, `precondition_failed`. A patch that changes nothing keeps the revision. */
export async function updateConstruct(
  context: Context,
  id: string,
  patch: ConstructPatch,
  expected: Expected,
  caller: Caller,
): Promise<Construct> {
  const { status_reason, ...given } = patch;
  const values = {
    ...given,
    ...(given.labels && { labels: sortedLabels(given.labels) }),
  } as Partial<Construct>;
  const by = { actor: caller.actor, ...(status_reason !== undefined && { status_reason }) };
  const updated = await context.store.constructs.update(
    id,
    (current) => {
      if (current.deleted_at_ms !== null) throw trashed();
      requireRevision(expected, current.revision);
      const fields = changedFields(current, values);
      if (fields.length === 0) return { row: null, events: [] };
      const now = context.clock.now_ms();
      const row: Construct = { ...current, ...values, revision: current.revision + 1, updated_at_ms: now };
      const events: NewEvent[] = [];
      if (fields.includes("status")) {
        row.status_since_at_ms = now;
        events.push(
          eventOf(context, caller, "construct.status_changed", row, {
            from: current.status,
            to: row.status,
            reason: status_reason ?? null,
          }),
        );
      }
      const others = fields.filter((name) => name !== "status");
      if (others.length > 0)
        events.push(eventOf(context, caller, "construct.updated", row, { fields: others }));
      return { row, events };
    },
    by,
  );
  if (updated === null) throw missing();
  return updated;
}

/** To the trash. Errors: `not_found`, `gone` (already there), `precondition_failed`. */
export async function deleteConstruct(
  context: Context,
  id: string,
  expected: Expected,
  caller: Caller,
): Promise<void> {
  const deleted = await context.store.constructs.update(
    id,
    (current) => {
      if (current.deleted_at_ms !== null) throw trashed();
      requireRevision(expected, current.revision);
      const now = context.clock.now_ms();
      const row: Construct = {
        ...current,
        deleted_at_ms: now,
        revision: current.revision + 1,
        updated_at_ms: now,
      };
      return { row, events: [eventOf(context, caller, "construct.deleted", row)] };
    },
    caller,
  );
  if (deleted === null) throw missing();
  context.bell.ring(id);
}

/** Back from the trash; harmless when it is not there. Errors: `not_found`. */
export async function undeleteConstruct(context: Context, id: string, caller: Caller): Promise<Construct> {
  const restored = await context.store.constructs.update(
    id,
    (current) => {
      if (current.deleted_at_ms === null) return { row: null, events: [] };
      const row: Construct = {
        ...current,
        deleted_at_ms: null,
        revision: current.revision + 1,
        updated_at_ms: context.clock.now_ms(),
      };
      return { row, events: [eventOf(context, caller, "construct.undeleted", row)] };
    },
    caller,
  );
  if (restored === null) throw missing();
  return restored;
}

/** Every status that it had, oldest first; of more than `children_list_count` the newest. Errors: `not_found`, `gone`. */
export async function listStatuses(context: Context, id: string): Promise<Page<StatusPeriod>> {
  await getConstruct(context, id);
  return { items: await context.store.constructs.statuses(id), next_cursor: null };
}
