/** A workspace: a project that agents work on, usually a repository. */
import { z } from "zod";
import { limit } from "../limits.ts";
import { Id, Instant, Metadata, Name, pageOf, Path, Revision, text } from "./common.ts";

const fields = {
  name: Name.meta({ description: "Unique among workspaces" }),
  description: text(0, limit("brief_characters")),
  repository: text(1, limit("path_characters"))
    .nullable()
    .meta({ description: "Where the code lives, as the user writes it" }),
  path: Path.nullable().meta({ description: "The directory on the machine that works on it" }),
  metadata: Metadata,
};

export const Workspace = z
  .object({ id: Id, ...fields, revision: Revision, created_at_ms: Instant, updated_at_ms: Instant })
  .meta({ id: "Workspace" });
export type Workspace = z.infer<typeof Workspace>;

export const WorkspaceCreate = z
  .strictObject({
    id: Id.optional(),
    name: fields.name,
    description: fields.description.optional(),
    repository: fields.repository.optional(),
    path: fields.path.optional(),
    metadata: fields.metadata.optional(),
  })
  .meta({ id: "WorkspaceCreate" });
export type WorkspaceCreate = z.infer<typeof WorkspaceCreate>;

export const WorkspacePatch = WorkspaceCreate.omit({ id: true }).partial().meta({ id: "WorkspacePatch" });
export type WorkspacePatch = z.infer<typeof WorkspacePatch>;

export const WorkspacePage = pageOf(Workspace, "WorkspacePage");
