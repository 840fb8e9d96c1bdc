/** Every SQL statement is prepared on a freshly migrated database, and the hot ones are asked for their plan. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Database } from "bun:sqlite";
import type { ArtifactQuery, ConstructQuery, SessionQuery } from "../../src/store/contract.ts";
import { ARTIFACT_SQL, artifactCountSql, artifactListSql } from "../../src/store/sqlite/artifact.ts";
import { openReader } from "../../src/store/sqlite/connection.ts";
import { CONSTRUCT_SQL, constructCountSql, constructListSql } from "../../src/store/sqlite/construct.ts";
import { ENTRY_KEY_SQL } from "../../src/store/sqlite/entry-key.ts";
import { ENTRY_SQL } from "../../src/store/sqlite/entry-row.ts";
import { EVENT_SQL } from "../../src/store/sqlite/event.ts";
import { FRAME_SQL } from "../../src/store/sqlite/frame.ts";
import { HEAD_SQL } from "../../src/store/sqlite/head.ts";
import { METADATA_SQL } from "../../src/store/sqlite/metadata.ts";
import { SESSION_SQL, sessionCountSql, sessionListSql } from "../../src/store/sqlite/session.ts";
import { SPACE_SQL } from "../../src/store/sqlite/space.ts";
import { WORKSPACE_SQL, workspaceCountSql, workspaceListSql } from "../../src/store/sqlite/workspace.ts";
import { openTestStore, type TestStore } from "../support/store.ts";

let store: TestStore;
let db: Database;
beforeAll(async () => {
  store = await openTestStore();
  db = openReader(store.path);
});
afterAll(async () => {
  db.close(true);
  await store.remove();
});

const id = "01940000-0000-7000-8000-000000000000";
const constructs: ConstructQuery = { deleted: false, sort: "updated", order: "desc", limit: 50 };
const sessions: SessionQuery = { deleted: false, sort: "updated", order: "desc", limit: 50 };

const artifacts: ArtifactQuery = { sort: "created", order: "desc", limit: 50 };

const everything: ConstructQuery = {
  ...constructs,
  workspace_id: [id],
  status: ["active", "draft"],
  type: ["task"],
  label: ["a", "b"],
  agent: ["x"],
  branch: ["y"],
  pinned: true,
  q: "50%_\\",
  created_after: 1,
  created_before: 2,
  updated_after: 3,
  updated_before: 4,
  metadata: { key: ["v", "w"], other: ["z"] },
  position: { value: 1, id },
};

function plan(sql: string): string {
  return db
    .query<{ detail: string }, []>(`EXPLAIN QUERY PLAN ${sql}`)
    .all()
    .map(({ detail }) => detail)
    .join("\n");
}

describe("every statement", () => {
  const constant = {
    ARTIFACT_SQL,
    CONSTRUCT_SQL,
    ENTRY_KEY_SQL,
    ENTRY_SQL,
    EVENT_SQL,
    FRAME_SQL,
    HEAD_SQL,
    SESSION_SQL,
    SPACE_SQL,
    WORKSPACE_SQL,
    ...METADATA_SQL,
  };
  for (const [group, statements] of Object.entries(constant)) {
    for (const [name, sql] of Object.entries(statements))
      test(`${group}.${name} prepares`, () => db.prepare(sql).finalize());
  }

  test("lists and counts prepare with every filter at once", () => {
    const built = [
      constructListSql(everything),
      constructListSql({ ...everything, workspace_id: [id, id], sort: "title", order: "asc" }),
      constructListSql({ ...constructs, deleted: true }),
      constructCountSql(everything),
      sessionListSql({
        ...sessions,
        construct_id: [id],
        workspace_id: [id, id],
        parent_id: [id],
        status: ["active"],
        agent: ["x"],
        external_id: ["e"],
        position: { value: 1, id },
      }),
      sessionCountSql(sessions),
      artifactListSql({
        ...artifacts,
        construct_id: [id, id],
        session_id: [id],
        type: ["log"],
        state: ["open"],
        sha256: ["00"],
        name_prefix: "a%_",
        size_at_least: 1,
        size_at_most: 2,
        created_after: 1,
        created_before: 2,
        position: { value: 1, id },
      }),
      artifactCountSql(artifacts),
      workspaceListSql({ q: "x", limit: 1, position: { value: "x", id } }),
      workspaceCountSql({ q: "x" }),
    ];
    for (const { sql, parameters } of built)
      expect(() => db.prepare(sql).all(parameters as never)).not.toThrow();
  });
});

describe("the plan", () => {
  const sorted = ["updated", "created", "status_since", "title"] as const;
  for (const sort of sorted) {
    test(`of a list by ${sort} follows its index and sorts nothing`, () => {
      for (const position of [undefined, { value: 1, id }]) {
        const found = plan(constructListSql({ ...constructs, sort, ...(position && { position }) }).sql);
        expect(found).toContain(`USING INDEX construct_${sort} `.replace("  ", " ").trimEnd());
        expect(found).not.toContain("TEMP B-TREE FOR ORDER BY");
      }
    });
  }

  const filters: [string, Partial<ConstructQuery>, string][] = [
    ["workspace", { workspace_id: [id] }, "construct_by_workspace"],
    ["status", { status: ["active"] }, "construct_by_status"],
    ["agent", { agent: ["x"] }, "construct_by_agent"],
    ["branch", { branch: ["x"] }, "construct_by_branch"],
    ["type", { type: ["x"] }, "construct_by_type"],
  ];
  for (const [name, filter, index] of filters) {
    test(`of a list of one ${name} follows ${index} and sorts nothing`, () => {
      const found = plan(constructListSql({ ...constructs, ...filter, position: { value: 1, id } }).sql);
      expect(found).toContain(index);
      expect(found).not.toContain("TEMP B-TREE FOR ORDER BY");
    });
  }

  test("of labels and metadata begins at their index", () => {
    expect(plan(constructListSql({ ...constructs, label: ["a"] }).sql)).toContain("construct_label_by_label");
    expect(plan(constructListSql({ ...constructs, metadata: { key: ["v"] } }).sql)).toContain(
      "construct_metadata_by_value",
    );
  });

  test("of sessions of a construct follows session_by_construct", () => {
    const found = plan(
      sessionListSql({ ...sessions, sort: "created", order: "asc", construct_id: [id] }).sql,
    );
    expect(found).toContain("session_by_construct");
    expect(found).not.toContain("TEMP B-TREE FOR ORDER BY");
  });

  const ordered: [ArtifactQuery["sort"], string][] = [
    ["created", "artifact_by_construct"],
    ["name", "artifact_by_name"],
    ["size", "artifact_by_size"],
  ];
  for (const [sort, index] of ordered) {
    test(`of the artifacts of a construct by ${sort} follows ${index} and sorts nothing`, () => {
      for (const position of [undefined, { value: 1, id }]) {
        const query = { ...artifacts, sort, construct_id: [id], ...(position && { position }) };
        const found = plan(artifactListSql(query).sql);
        expect(found).toContain(index);
        expect(found).not.toContain("TEMP B-TREE FOR ORDER BY");
      }
    });
  }

  const narrow: [string, Partial<ArtifactQuery>, string][] = [
    ["a type", { construct_id: [id], type: ["log"] }, "artifact_by_type"],
    ["a session", { session_id: [id] }, "artifact_by_session"],
    ["all", {}, "artifact_created"],
  ];
  for (const [name, filter, index] of narrow) {
    test(`of the artifacts of ${name} follows ${index} and sorts nothing`, () => {
      const found = plan(artifactListSql({ ...artifacts, ...filter, position: { value: 1, id } }).sql);
      expect(found).toContain(index);
      expect(found).not.toContain("TEMP B-TREE FOR ORDER BY");
    });
  }

  test("of looking for artifacts never scans", () => {
    for (const sql of [ARTIFACT_SQL.find, ARTIFACT_SQL.names, ARTIFACT_SQL.purge, ARTIFACT_SQL.session])
      expect(plan(sql)).not.toMatch(/SCAN (?!\(subquery|CONSTANT)/);
  });

  test("of reading and appending entries never scans", () => {
    const hot = [
      HEAD_SQL.session,
      HEAD_SQL.find,
      ENTRY_SQL.lines,
      ENTRY_KEY_SQL.candidates,
      FRAME_SQL.at,
      FRAME_SQL.data,
      FRAME_SQL.from,
      FRAME_SQL.nextOfKinds,
      SESSION_SQL.find,
      CONSTRUCT_SQL.find,
    ];
    for (const sql of hot) expect(plan(sql)).not.toMatch(/SCAN (?!\(subquery|CONSTANT)/);
  });

  test("shows a scan where there is one", () => {
    expect(plan("SELECT * FROM construct WHERE brief = 'x'")).toMatch(/SCAN construct/);
  });
});
