/** The flat maps of workspaces, constructs, sessions and artifacts: one narrow table each, of the same shape. */
import type { Database } from "bun:sqlite";
import type { Metadata } from "../../schema/common.ts";
import { run } from "./statement.ts";

type Owner = "workspace" | "construct" | "session" | "artifact";

export const METADATA_SQL = {
  workspace: {
    clear: "DELETE FROM workspace_metadata WHERE workspace = $owner",
    insert: "INSERT INTO workspace_metadata (workspace, key, value) VALUES ($owner, $key, $value)",
  },
  construct: {
    clear: "DELETE FROM construct_metadata WHERE construct = $owner",
    insert: "INSERT INTO construct_metadata (construct, key, value) VALUES ($owner, $key, $value)",
  },
  session: {
    clear: "DELETE FROM session_metadata WHERE session = $owner",
    insert: "INSERT INTO session_metadata (session, key, value) VALUES ($owner, $key, $value)",
  },
  artifact: {
    clear: "DELETE FROM artifact_metadata WHERE artifact = $owner",
    insert: "INSERT INTO artifact_metadata (artifact, key, value) VALUES ($owner, $key, $value)",
  },
};

/** Makes the stored map equal to the given one, in the transaction that is open. */
export function replaceMetadata(db: Database, owner: Owner, pk: number, metadata: Metadata): void {
  run(db, METADATA_SQL[owner].clear, { owner: pk });
  for (const [key, value] of Object.entries(metadata))
    run(db, METADATA_SQL[owner].insert, { owner: pk, key, value });
}
