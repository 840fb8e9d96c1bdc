/** Routes of workspaces. */
import type { Context } from "../core/context.ts";
import {
  createWorkspace,
  deleteWorkspace,
  getWorkspace,
  listWorkspaces,
  updateWorkspace,
} from "../core/workspace.ts";
import { limit } from "../limits.ts";
import { text } from "../schema/common.ts";
import { Workspace, WorkspaceCreate, WorkspacePage, WorkspacePatch } from "../schema/workspace.ts";
import { pageAnswer } from "./answer.ts";
import { revisionBase } from "./conditional.ts";
import { json, type Operation, operation } from "./operation.ts";
import { LIST_QUERY, one } from "./parameter.ts";
import { resourceOperations } from "./resource.ts";

const COLLECTION = "/v1/workspaces";

/** All operations on workspaces. */
export function workspaceOperations(context: Context): Operation[] {
  return [
    ...resourceOperations({
      collection: COLLECTION,
      tag: "workspaces",
      noun: "Workspace",
      row: Workspace,
      create: WorkspaceCreate,
      patch: WorkspacePatch,
      baseOf: revisionBase,
      rules: {
        create: (input, caller) => createWorkspace(context, input, caller),
        get: (id) => getWorkspace(context, id),
        update: (id, patch, expected, caller) => updateWorkspace(context, id, patch, expected, caller),
        delete: (id, expected, caller) => deleteWorkspace(context, id, expected, caller),
      },
      words: {
        update: "`metadata` is replaced as a whole.",
        delete:
          "Refused while it holds constructs, also trashed ones, and for the workspace named `default`.",
      },
      problems: {
        create: ["conflict"],
        get: ["not_found"],
        update: ["not_found", "conflict"],
        delete: ["not_found", "conflict"],
      },
    }),
    listOperation(context),
  ];
}

function listOperation(context: Context): Operation {
  return operation(
    {
      method: "get",
      path: COLLECTION,
      name: "listWorkspaces",
      tag: "workspaces",
      summary: "List workspaces by name",
      query: { ...LIST_QUERY, q: one(text(1, limit("name_characters")), "Part of the name, in any case") },
      outcomes: [json(200, "A page", WorkspacePage, ["Link"])],
    },
    async (call, { q, ...page }) =>
      pageAnswer(call, await listWorkspaces(context, q === undefined ? {} : { q }, page), COLLECTION),
  );
}
