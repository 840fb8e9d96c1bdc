/** Routes of constructs: their lifecycle, the trash, and the list with its filters. */
import { z } from "zod";
import {
  createConstruct,
  deleteConstruct,
  getConstruct,
  listConstructs,
  listStatuses,
  undeleteConstruct,
  updateConstruct,
} from "../core/construct.ts";
import type { Context } from "../core/context.ts";
import { limit } from "../limits.ts";
import { Id, Name, Slug, text } from "../schema/common.ts";
import {
  Construct,
  CONSTRUCT_SORTS,
  ConstructCreate,
  ConstructPage,
  ConstructPatch,
  ConstructStatus,
  StatusPage,
} from "../schema/construct.ts";
import { jsonAnswer, pageAnswer } from "./answer.ts";
import { callerOf, idOf } from "./call.ts";
import { revisionBase } from "./conditional.ts";
import { json, type Operation, operation } from "./operation.ts";
import { flag, keyed, LIST_QUERY, many, one, ORDER, pageOf, whole, withDefault } from "./parameter.ts";
import { resourceOperations } from "./resource.ts";

const COLLECTION = "/v1/constructs";

const QUERY = {
  ...LIST_QUERY,
  workspace_id: many(Id, "In this workspace"),
  status: many(ConstructStatus, "In this status"),
  type: many(Slug, "Of this type"),
  label: many(Name, "With this label"),
  agent: many(Name, "Worked on by this agent"),
  branch: many(Name, "On this branch"),
  pinned: flag("Only pinned ones, or only others"),
  deleted: withDefault(flag("The trash instead of what lives"), false),
  q: one(text(1, limit("title_characters")), "Part of title or brief, in any case"),
  created_after: whole("Created later than this, milliseconds since 1970", 0),
  created_before: whole("Created earlier than this, milliseconds since 1970", 0),
  updated_after: whole("Updated later than this, milliseconds since 1970", 0),
  updated_before: whole("Updated earlier than this, milliseconds since 1970", 0),
  metadata: keyed(text(0, limit("metadata_value_bytes")), "metadata.KEY=VALUE: with this metadata"),
  sort: withDefault(one(z.enum(CONSTRUCT_SORTS), "What the list is ordered by"), "updated"),
  order: one(ORDER, "When absent: ascending for `title`, else descending"),
};

/** All operations on constructs. */
export function constructOperations(context: Context): Operation[] {
  return [
    ...resourceOperations({
      collection: COLLECTION,
      tag: "constructs",
      noun: "Construct",
      row: Construct,
      create: ConstructCreate,
      patch: ConstructPatch,
      baseOf: revisionBase,
      rules: {
        create: (input, caller) => createConstruct(context, input, caller),
        get: (id) => getConstruct(context, id),
        update: (id, patch, expected, caller) => updateConstruct(context, id, patch, expected, caller),
        delete: (id, expected, caller) => deleteConstruct(context, id, expected, caller),
      },
      words: {
        update:
          "`labels` and `metadata` are replaced as a whole. A new status is kept with its time and `status_reason`.",
        delete:
          "It goes to the trash with its sessions and their transcripts; undelete brings all of it back.",
      },
      problems: {
        create: ["conflict", "gone"],
        get: ["not_found", "gone"],
        update: ["not_found", "gone"],
        delete: ["not_found", "gone"],
      },
    }),
    listOperation(context),
    ...lifeOperations(context),
  ];
}

function listOperation(context: Context): Operation {
  return operation(
    {
      method: "get",
      path: COLLECTION,
      name: "listConstructs",
      tag: "constructs",
      summary: "List constructs",
      description: "Different filters must all hold; several values of one filter mean any of them.",
      query: QUERY,
      outcomes: [json(200, "A page", ConstructPage, ["Link"])],
    },
    async (call, query) => {
      const { page, sort, order = sort === "title" ? "asc" : "desc", ...filter } = pageOf(query);
      return pageAnswer(call, await listConstructs(context, filter, { sort, order }, page), COLLECTION);
    },
  );
}

function lifeOperations(context: Context): Operation[] {
  return [
    operation(
      {
        method: "post",
        path: `${COLLECTION}/{id}/undelete`,
        name: "undeleteConstruct",
        tag: "constructs",
        summary: "Bring a construct back from the trash",
        description: "Harmless when it is not there. No body is read.",
        headers: ["Synthetic-Actor"],
        outcomes: [json(200, "The construct", Construct, ["ETag"])],
        problems: ["not_found"],
      },
      async (call) => {
        const row = await undeleteConstruct(context, idOf(call), callerOf(call));
        return jsonAnswer(call, row, { tag: revisionBase(row) });
      },
    ),
    operation(
      {
        method: "get",
        path: `${COLLECTION}/{id}/statuses`,
        name: "listConstructStatuses",
        tag: "constructs",
        summary: "Every status that it had, oldest first",
        description: `One answer without further pages; of more than ${limit("children_list_count")} the newest.`,
        outcomes: [json(200, "The periods", StatusPage)],
        problems: ["not_found", "gone"],
      },
      async (call) => jsonAnswer(call, await listStatuses(context, idOf(call))),
    ),
  ];
}
