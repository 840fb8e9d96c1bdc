/** An entry: one line of a session's transcript. Its body is any JSON value and is never rewritten. */
import { z } from "zod";
import { limit } from "../limits.ts";
import { Actor, Id, Instant } from "./common.ts";
import { Head } from "./session.ts";

/** The order is stored (frames keep a bit set of kinds): append new kinds at the end, never move one. At most 31. */
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
] as const;
export const EntryKind = z.enum(ENTRY_KINDS).meta({ id: "EntryKind" });
export type EntryKind = z.infer<typeof EntryKind>;

const controls = /\p{Cc}/u;

const EntryKey = z
  .string()
  .min(1)
  .max(limit("entry_key_characters"))
  .refine(
    (key) => key.isWellFormed() && !controls.test(key),
    "a key has no control characters and no lone surrogates",
  )
  .meta({ id: "EntryKey", description: "Unique in the session; makes a retry harmless for several writers" });

const Body = z.unknown().meta({ id: "Body", description: "Any JSON value, kept byte for byte" });

/** What a client sends; `actor` defaults to agent, `at_ms` to the time of receipt. */
export const EntryCreate = z
  .strictObject({
    kind: EntryKind,
    actor: Actor.optional(),
    at_ms: Instant.optional(),
    key: EntryKey.optional(),
    body: Body,
  })
  .meta({ id: "EntryCreate" });
export type EntryCreate = z.infer<typeof EntryCreate>;

/** One entry as a client sent it: absent members are absent, `body` is the verbatim text of the value, one line. */
export interface SentEntry {
  kind: EntryKind;
  actor?: Actor;
  at_ms?: number;
  key?: string;
  body: string;
}

export const AppendBody = z
  .strictObject({ entries: z.array(EntryCreate).min(1).max(limit("entries_per_append_count")) })
  .meta({ id: "AppendBody" });

export const Entry = z
  .object({
    received_at_ms: Instant,
    seq: z.int().min(1),
    kind: EntryKind,
    actor: Actor,
    at_ms: Instant,
    key: EntryKey.optional(),
    body: Body,
    body_bytes: z
      .int()
      .min(0)
      .optional()
      .meta({ description: "Only when the body is too large to be inlined; then `body` is null" }),
    preview: z.string().optional().meta({ description: "The beginning of a body that is not inlined" }),
  })
  .meta({ id: "Entry" });

export const EntryPage = z
  .object({
    items: z.array(Entry),
    first_seq: z.int().min(1).nullable().meta({ description: "Of this page" }),
    last_seq: z.int().min(1).nullable().meta({ description: "Of this page" }),
    next_cursor: z.string().nullable(),
    prev_cursor: z.string().nullable(),
  })
  .meta({ id: "EntryPage" });

export const AppendResult = z
  .object({
    first_seq: z.int().min(1),
    last_seq: z.int().min(1),
    head: Head.meta({ description: "The session's running SHA-256 at last_seq" }),
    received_at_ms: Instant,
    replayed: z.boolean().meta({ description: "True when everything was already there" }),
    items: z
      .array(z.object({ seq: z.int().min(1), replayed: z.boolean() }))
      .optional()
      .meta({ description: "One for each entry, when the request has keys" }),
  })
  .meta({ id: "AppendResult" });
export type AppendResult = z.infer<typeof AppendResult>;

export const TailPosition = z
  .object({ generation: Id, last_seq: z.int().min(0), head: Head })
  .meta({ id: "TailPosition", description: "Data of the tail's `reset` event" });
