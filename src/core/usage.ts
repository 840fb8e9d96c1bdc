/** How much is stored: what the database sums, and what the files of artifacts take. */
import { Problem } from "../errors.ts";
import type { Usage } from "../schema/usage.ts";
import type { UsageScope } from "../store/contract.ts";
import type { Context } from "./context.ts";

/** Of everything, of a workspace or of a construct, also a trashed one. Errors: `not_found`. */
export async function getUsage(context: Context, scope: UsageScope): Promise<Usage> {
  await requireScope(context, scope);
  const { entry_rows, entry_frames, artifacts, construct_ids } = await context.store.usage(scope);
  const by_type = new Map<string, Usage["artifacts"][number]>();
  const of = (type: string): Usage["artifacts"][number] => {
    const found = by_type.get(type) ?? { type, items_count: 0, logical_bytes: 0, stored_bytes: 0 };
    by_type.set(type, found);
    return found;
  };
  for (const { type, items_count, logical_bytes } of artifacts)
    Object.assign(of(type), { items_count, logical_bytes });
  for (const id of construct_ids)
    for (const [type, { stored_bytes }] of await context.blobs.usage(id))
      of(type).stored_bytes += stored_bytes;
  const all = [entry_rows, entry_frames, ...by_type.values()];
  return {
    entry_rows,
    entry_frames,
    artifacts: [...by_type.values()].sort((a, b) => (a.type < b.type ? -1 : 1)),
    total: {
      logical_bytes: all.reduce((sum, { logical_bytes }) => sum + logical_bytes, 0),
      stored_bytes: all.reduce((sum, { stored_bytes }) => sum + stored_bytes, 0),
    },
  };
}

async function requireScope({ store }: Context, scope: UsageScope): Promise<void> {
  if ("construct_id" in scope && (await store.constructs.find(scope.construct_id)) === null)
    throw new Problem("not_found", "There is no such construct.");
  if ("workspace_id" in scope && (await store.workspaces.find(scope.workspace_id)) === null)
    throw new Problem("not_found", "There is no such workspace.");
}
