/**
 * Words of the schema that help and parsing need before anything heavy is loaded; a test compares them with
 * the schema.
 */
import type { Actor } from "../schema/common.ts";
import type { ConstructSort, ConstructStatus } from "../schema/construct.ts";
import type { EntryKind } from "../schema/entry.ts";
import type { SessionStatus } from "../schema/session.ts";

export const CONSTRUCT_STATUSES = [
  "draft",
  "provisioning",
  "active",
  "awaiting_input",
  "reviewing",
  "completed",
  "parked",
  "archived",
  "error",
] as const satisfies readonly ConstructStatus[];
export const CONSTRUCT_SORTS = [
  "updated",
  "created",
  "status_since",
  "title",
] as const satisfies readonly ConstructSort[];
export const SESSION_STATUSES = [
  "active",
  "waiting",
  "ended",
  "error",
] as const satisfies readonly SessionStatus[];
export const ACTORS = ["user", "agent", "system", "tool"] as const satisfies readonly Actor[];
export const ENTRY_KINDS = [
  "message",
  "reasoning",
  "tool_call",
  "tool_result",
  "command",
  "file_change",
  "plan",
  "todo",
  "permission",
  "question",
  "compaction",
  "checkpoint",
  "subagent",
  "mode_change",
  "title",
  "error",
  "retry",
  "usage",
  "status",
  "note",
  "unparsed",
] as const satisfies readonly EntryKind[];
