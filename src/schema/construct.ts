/** A construct: one unit of agent work, with its lifecycle; the unit of export, retention and recovery. */
import { z } from "zod";
import { limit } from "../limits.ts";
import { Actor, Id, Instant, Metadata, Name, pageOf, Path, Revision, Slug, text, Title } from "./common.ts";

export const ConstructStatus = z
  .enum([
    "draft",
    "provisioning",
    "active",
    "awaiting_input",
    "reviewing",
    "completed",
    "parked",
    "archived",
    "error",
  ])
  .meta({ id: "ConstructStatus", description: "Any change is allowed; each is kept with its time" });
export type ConstructStatus = z.infer<typeof ConstructStatus>;

const Labels = z
  .array(Name)
  .max(limit("labels_count"))
  .refine((labels) => new Set(labels).size === labels.length, "a label may be given once");

const fields = {
  title: Title,
  brief: text(0, limit("brief_characters")).meta({ description: "What the work is about, Markdown" }),
  type: Slug.meta({ description: "A short word of the user's: task, bug, spike …" }),
  status: ConstructStatus,
  labels: Labels.meta({ description: "A set; kept and given in alphabetical order" }),
  agent: Name.nullable().meta({ description: "The agent that works on it" }),
  branch: Name.nullable(),
  worktree_path: Path.nullable(),
  pinned: z.boolean().meta({ description: "Pinned constructs are spared by retention" }),
  metadata: Metadata,
};

export const Construct = z
  .object({
    id: Id,
    workspace_id: Id,
    ...fields,
    status_since_at_ms: Instant,
    revision: Revision,
    created_at_ms: Instant,
    updated_at_ms: Instant,
    deleted_at_ms: Instant.nullable().meta({ description: "Set while it is in the trash" }),
  })
  .meta({ id: "Construct" });
export type Construct = z.infer<typeof Construct>;

export const ConstructCreate = z
  .strictObject({
    id: Id.optional(),
    workspace_id: Id.optional().meta({ description: "The workspace named `default` when absent" }),
    title: fields.title,
    brief: fields.brief.optional(),
    type: fields.type.optional(),
    status: fields.status.optional(),
    labels: fields.labels.optional(),
    agent: fields.agent.optional(),
    branch: fields.branch.optional(),
    worktree_path: fields.worktree_path.optional(),
    pinned: fields.pinned.optional(),
    metadata: fields.metadata.optional(),
  })
  .meta({ id: "ConstructCreate" });
export type ConstructCreate = z.infer<typeof ConstructCreate>;

export const ConstructPatch = ConstructCreate.omit({ id: true, workspace_id: true })
  .partial()
  .extend({
    status_reason: text(1, limit("title_characters"))
      .optional()
      .meta({ description: "Kept beside the status it leads to" }),
  })
  .meta({ id: "ConstructPatch" });
export type ConstructPatch = z.infer<typeof ConstructPatch>;

export const ConstructPage = pageOf(Construct, "ConstructPage");

export const StatusPeriod = z
  .object({
    status: ConstructStatus,
    from_at_ms: Instant,
    until_at_ms: Instant.nullable().meta({ description: "Null for the present status" }),
    actor: Actor,
    reason: z.string().nullable(),
  })
  .meta({ id: "StatusPeriod", description: "One period of a construct's life in one status" });
export type StatusPeriod = z.infer<typeof StatusPeriod>;

export const StatusPage = pageOf(StatusPeriod, "StatusPage");

export const CONSTRUCT_SORTS = ["updated", "created", "status_since", "title"] as const;
export type ConstructSort = (typeof CONSTRUCT_SORTS)[number];
