/** A session: one conversation of one agent inside a construct; a subagent is a session with a parent. */
import { z } from "zod";
import { limit } from "../limits.ts";
import { Id, Instant, Metadata, Name, pageOf, Path, Revision, text, Title } from "./common.ts";

export const SessionStatus = z.enum(["active", "waiting", "ended", "error"]).meta({ id: "SessionStatus" });
export type SessionStatus = z.infer<typeof SessionStatus>;

export const Head = z
  .string()
  .regex(/^[0-9a-f]{64}$/)
  .meta({
    id: "Head",
    description: "Running SHA-256 of the transcript, hexadecimal; 64 zeros before the first entry",
  });

const fields = {
  parent_id: Id.nullable().meta({ description: "The session that started this one; of the same construct" }),
  title: Title,
  agent: Name.nullable(),
  model: Name.nullable(),
  status: SessionStatus,
  external_id: text(1, limit("name_characters"))
    .nullable()
    .meta({ description: "The agent's own name for the conversation" }),
  working_directory: Path.nullable(),
  branch: Name.nullable(),
  started_at_ms: Instant,
  ended_at_ms: Instant.nullable(),
  metadata: Metadata,
};

export const Session = z
  .object({
    id: Id,
    construct_id: Id,
    ...fields,
    status_since_at_ms: Instant,
    last_seq: z.int().min(0).meta({ description: "The number of the last entry; 0 before the first" }),
    head: Head,
    dropped_through_seq: z.int().min(0).meta({ description: "Entries up to here were dropped by retention" }),
    revision: Revision,
    created_at_ms: Instant,
    updated_at_ms: Instant,
    deleted_at_ms: Instant.nullable(),
  })
  .meta({ id: "Session" });
export type Session = z.infer<typeof Session>;

export const SessionCreate = z
  .strictObject({
    id: Id.optional(),
    construct_id: Id,
    parent_id: fields.parent_id.optional(),
    title: fields.title.optional(),
    agent: fields.agent.optional(),
    model: fields.model.optional(),
    status: fields.status.optional(),
    external_id: fields.external_id.optional(),
    working_directory: fields.working_directory.optional(),
    branch: fields.branch.optional(),
    started_at_ms: fields.started_at_ms.optional(),
    ended_at_ms: fields.ended_at_ms.optional(),
    metadata: fields.metadata.optional(),
  })
  .meta({ id: "SessionCreate" });
export type SessionCreate = z.infer<typeof SessionCreate>;

export const SessionPatch = SessionCreate.omit({ id: true, construct_id: true, parent_id: true })
  .partial()
  .meta({ id: "SessionPatch" });
export type SessionPatch = z.infer<typeof SessionPatch>;

export const SessionPage = pageOf(Session, "SessionPage");
