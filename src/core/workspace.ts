/** Rules of workspaces. */
import { Problem } from "../errors.ts";
import { DEFAULT_WORKSPACE_ID } from "../lib/ids.ts";
import type { Page } from "../schema/common.ts";
import type { EventType, NewEvent } from "../schema/event.ts";
import type { Workspace, WorkspaceCreate, WorkspacePatch } from "../schema/workspace.ts";
import { changedFields } from "./changed.ts";
import { type Caller, type Context, newEvent } from "./context.ts";
import { createDigest, type Created, settleCreate } from "./create.ts";
import { pageOfList, type PageRequest } from "./paging.ts";
import { type Expected, requireRevision } from "./revision.ts";

function missing(): Problem {
  return new Problem("not_found", "There is no such workspace.");
}

function eventOf(
  context: Context,
  caller: Caller,
  type: EventType,
  row: Workspace,
  data: NewEvent["data"] = {},
): NewEvent {
  return newEvent(context, caller, {
    type,
    workspace_id: row.id,
    construct_id: null,
    session_id: null,
    data: { name: row.name, ...data },
  });
}

/** Creates a workspace, or gives the one that the same body made. Errors: `conflict` (id or name is taken). */
export async function createWorkspace(
  context: Context,
  input: WorkspaceCreate,
  caller: Caller,
): Promise<Created<Workspace>> {
  const now = context.clock.now_ms();
  const row: Workspace = {
    id: input.id ?? context.ids.next(),
    name: input.name,
    description: input.description ?? "",
    repository: input.repository ?? null,
    path: input.path ?? null,
    metadata: input.metadata ?? {},
    revision: 1,
    created_at_ms: now,
    updated_at_ms: now,
  };
  const digest = createDigest({ ...input, id: undefined });
  return settleCreate(
    await context.store.workspaces.insert(row, digest, [eventOf(context, caller, "workspace.created", row)]),
    digest,
  );
}

/** Errors: `not_found`. */
export async function getWorkspace(context: Context, id: string): Promise<Workspace> {
  const row = await context.store.workspaces.find(id);
  if (row === null) throw missing();
  return row;
}

/** By name. Errors: `invalid_request` for a foreign cursor. */
export function listWorkspaces(
  context: Context,
  filter: { q?: string },
  page: PageRequest,
): Promise<Page<Workspace>> {
  return pageOfList(
    { list: "workspaces", ...filter },
    page,
    (limit, position) => context.store.workspaces.list({ ...filter, limit, ...(position && { position }) }),
    () => context.store.workspaces.count(filter),
  );
}

/** Errors: `not_found`, `precondition_failed`, `conflict` (name is taken). A patch that changes nothing keeps the revision. */
export async function updateWorkspace(
  context: Context,
  id: string,
  patch: WorkspacePatch,
  expected: Expected,
  caller: Caller,
): Promise<Workspace> {
  const updated = await context.store.workspaces.update(id, (current) => {
    requireRevision(expected, current.revision);
    const fields = changedFields(current, patch as Partial<Workspace>);
    if (fields.length === 0) return { row: null, events: [] };
    const row = {
      ...current,
      ...patch,
      revision: current.revision + 1,
      updated_at_ms: context.clock.now_ms(),
    } as Workspace;
    return { row, events: [eventOf(context, caller, "workspace.updated", row, { fields })] };
  });
  if (updated === null) throw missing();
  return updated;
}

/** Errors: `not_found`, `precondition_failed`, `conflict` (it holds constructs, or is the default one). */
export async function deleteWorkspace(
  context: Context,
  id: string,
  expected: Expected,
  caller: Caller,
): Promise<void> {
  if (id === DEFAULT_WORKSPACE_ID) throw new Problem("conflict", "The default workspace cannot be deleted.");
  const deleted = await context.store.workspaces.delete(id, (current) => {
    requireRevision(expected, current.revision);
    return [eventOf(context, caller, "workspace.deleted", current)];
  });
  if (deleted === null) throw missing();
}
