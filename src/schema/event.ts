/** An event: one row of the activity timeline, written in the transaction of the change that it tells of. */
import type { Actor } from "./common.ts";

export type EventType =
  | "workspace.created"
  | "workspace.updated"
  | "workspace.deleted"
  | "construct.created"
  | "construct.updated"
  | "construct.status_changed"
  | "construct.deleted"
  | "construct.undeleted"
  | "session.created"
  | "session.updated"
  | "session.status_changed"
  | "session.deleted"
  | "session.undeleted"
  | "artifact.created"
  | "artifact.sealed"
  | "artifact.deleted";

/** An event before it is stored; the store gives it its place in the order. */
export interface NewEvent {
  id: string;
  type: EventType;
  at_ms: number;
  actor: Actor;
  workspace_id: string;
  construct_id: string | null;
  session_id: string | null;
  /** Flat facts of the change: names of changed fields, statuses from and to. */
  data: Record<string, string | number | boolean | null | string[]>;
}

export interface Event extends NewEvent {
  /** Commit order, from 1, never reused; gaps are possible. */
  seq: number;
}
