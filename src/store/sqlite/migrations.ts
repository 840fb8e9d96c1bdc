/**
 * The migrations of this release, in order, as part of the program: a compiled binary has no folder to read.
 * A file that was released is never changed again, because stores remember its digest; a change is a new
 * file. It knows nothing of how they are applied.
 */
import store from "../../../migrations/0001_store.sql" with { type: "text" };
import workspace from "../../../migrations/0002_workspace.sql" with { type: "text" };
import construct from "../../../migrations/0003_construct.sql" with { type: "text" };
import session from "../../../migrations/0004_session.sql" with { type: "text" };
import entry from "../../../migrations/0005_entry.sql" with { type: "text" };
import event from "../../../migrations/0006_event.sql" with { type: "text" };
import artifact from "../../../migrations/0007_artifact.sql" with { type: "text" };

export interface Migration {
  /** Counts from 1 without gaps; the schema's version after it. */
  version: number;
  name: string;
  /** Statements without transaction control: the runner gives the transaction. */
  sql: string;
}

export const MIGRATIONS: readonly Migration[] = [
  { version: 1, name: "store", sql: store },
  { version: 2, name: "workspace", sql: workspace },
  { version: 3, name: "construct", sql: construct },
  { version: 4, name: "session", sql: session },
  { version: 5, name: "entry", sql: entry },
  { version: 6, name: "event", sql: event },
  { version: 7, name: "artifact", sql: artifact },
];
