/** Routes of sessions. Their transcripts have their own files: entry.ts and tail.ts. */
import { z } from "zod";
import type { Context } from "../core/context.ts";
import {
  createSession,
  deleteSession,
  getSession,
  listSessions,
  undeleteSession,
  updateSession,
} from "../core/session.ts";
import { Id, Name } from "../schema/common.ts";
import { Session, SessionCreate, SessionPage, SessionPatch, SessionStatus } from "../schema/session.ts";
import { jsonAnswer, pageAnswer } from "./answer.ts";
import { callerOf, idOf } from "./call.ts";
import { revisionBase } from "./conditional.ts";
import { json, type Operation, operation } from "./operation.ts";
import { flag, LIST_QUERY, many, one, ORDER, pageOf, withDefault } from "./parameter.ts";
import { resourceOperations } from "./resource.ts";

const COLLECTION = "/v1/sessions";

const QUERY = {
  ...LIST_QUERY,
  construct_id: many(Id, "Of this construct"),
  workspace_id: many(Id, "In this workspace"),
  parent_id: many(Id, "Started by this session"),
  status: many(SessionStatus, "In this status"),
  agent: many(Name, "Of this agent"),
  external_id: many(Name, "With this name of the agent's own"),
  deleted: withDefault(flag("Deleted ones instead of what lives"), false),
  sort: withDefault(one(z.enum(["updated", "created"]), "What the list is ordered by"), "updated"),
  order: withDefault(one(ORDER, "Newest or oldest first"), "desc"),
};

/** The base of a session's tag: appending changes what is read, but not what an edit is checked against. */
function sessionBase(row: Session): string {
  return `${revisionBase(row)}-s${row.last_seq}`;
}

/** All operations on sessions, apart from their entries. */
export function sessionOperations(context: Context): Operation[] {
  return [
    ...resourceOperations({
      collection: COLLECTION,
      tag: "sessions",
      noun: "Session",
      row: Session,
      create: SessionCreate,
      patch: SessionPatch,
      baseOf: sessionBase,
      rules: {
        create: (input, caller) => createSession(context, input, caller),
        get: (id) => getSession(context, id),
        update: (id, patch, expected, caller) => updateSession(context, id, patch, expected, caller),
        delete: (id, expected, caller) => deleteSession(context, id, expected, caller),
      },
      words: {
        update:
          "`metadata` is replaced as a whole. If-Match compares the revision only: an append in between does not matter.",
        delete: "The session and its transcript are hidden, nothing is removed; undelete brings them back.",
      },
      problems: {
        create: ["conflict", "gone"],
        get: ["not_found", "gone"],
        update: ["not_found", "gone"],
        delete: ["not_found", "gone"],
      },
    }),
    listOperation(context),
    undeleteOperation(context),
  ];
}

function listOperation(context: Context): Operation {
  return operation(
    {
      method: "get",
      path: COLLECTION,
      name: "listSessions",
      tag: "sessions",
      summary: "List sessions",
      description: "Different filters must all hold; several values of one filter mean any of them.",
      query: QUERY,
      outcomes: [json(200, "A page", SessionPage, ["Link"])],
    },
    async (call, query) => {
      const { page, sort, order, ...filter } = pageOf(query);
      return pageAnswer(call, await listSessions(context, filter, { sort, order }, page), COLLECTION);
    },
  );
}

function undeleteOperation(context: Context): Operation {
  return operation(
    {
      method: "post",
      path: `${COLLECTION}/{id}/undelete`,
      name: "undeleteSession",
      tag: "sessions",
      summary: "Bring a deleted session back",
      description: "Harmless when it is not deleted. No body is read.",
      headers: ["Synthetic-Actor"],
      outcomes: [json(200, "The session", Session, ["ETag"])],
      problems: ["not_found"],
    },
    async (call) => {
      const row = await undeleteSession(context, idOf(call), callerOf(call));
      return jsonAnswer(call, row, { tag: sessionBase(row) });
    },
  );
}
