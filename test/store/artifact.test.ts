/** Rows of artifacts in SQLite: their references hold, they are scanned and purged in steps, a long list begins as fast as a short one. */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createArtifact, deleteArtifact, listArtifacts } from "../../src/core/artifact.ts";
import { appendEntries } from "../../src/core/append.ts";
import { createConstruct } from "../../src/core/construct.ts";
import { getUsage } from "../../src/core/usage.ts";
import { Problem } from "../../src/errors.ts";
import { DEFAULT_WORKSPACE_ID } from "../../src/lib/ids.ts";
import { limit } from "../../src/limits.ts";
import { chunksOf } from "../support/blobs.ts";
import { newSession, openTestStore, type TestStore } from "../support/store.ts";

const caller = { actor: "user" } as const;
let store: TestStore;
beforeAll(async () => {
  store = await openTestStore();
});
afterAll(() => store.remove());

const newConstruct = async (): Promise<string> =>
  (await createConstruct(store.context, { title: "artifacts" }, caller)).row.id;

/** Rows made by SQL: so many files are not what is measured. */
function fill(construct_id: string, count: number, deleted_at_ms: number | null): void {
  const db = new Database(store.path, { strict: true });
  db.run("PRAGMA busy_timeout = 5000");
  db.query(
    `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $count)
     INSERT INTO artifact (id, construct, type, name, media_type, state, sha256, size_bytes, create_digest, revision, created_at_ms, updated_at_ms, deleted_at_ms)
     SELECT lower(hex(randomblob(16))), (SELECT pk FROM construct WHERE id = $construct_id), 'log', 'f' || i, 'a/b', 'sealed',
            lower(hex(randomblob(32))), i, '', 1, i, i, $deleted_at_ms FROM n`,
  ).run({ count, construct_id, deleted_at_ms });
  db.close(true);
}

test("an artifact comes back as it was stored, with its session, and the list of its construct has it", async () => {
  const session = await newSession(store.context);
  const { row } = await createArtifact(
    store.context,
    { construct_id: session.construct_id, session_id: session.id, name: "x", metadata: { k: "v" } },
    { chunks: chunksOf("bytes") },
    caller,
  );
  const found = await store.context.store.artifacts.find(row.id);
  expect(found).toMatchObject({
    row: { session_id: session.id, metadata: { k: "v" }, size_bytes: 5 },
    construct_deleted: false,
  });
  const filter = { session_id: [session.id] };
  const page = await listArtifacts(
    store.context,
    filter,
    { sort: "created", order: "desc" },
    { limit: 10, count: true },
  );
  expect([page.items.map(({ id }) => id), page.total_count]).toEqual([[row.id], 1]);
  const events = await store.context.store.events.list({
    after: 0,
    limit: 100,
    construct_id: session.construct_id,
  });
  expect(events.map(({ type }) => type)).toContain("artifact.created");
});

test("usage sums rows, frames and artifacts, logical and stored, of all, a workspace and a construct", async () => {
  const { context } = store;
  const session = await newSession(context);
  const body = JSON.stringify("again ".repeat(2_000));
  for (let entry = 0; entry < 3; entry += 1)
    await appendEntries(context, session.id, [{ kind: "message", body }]);
  await context.store.entries.sealAll();
  await appendEntries(context, session.id, [{ kind: "message", body: "1" }]);
  const upload = { chunks: chunksOf("12345") };
  await createArtifact(context, { construct_id: session.construct_id, type: "log" }, upload, caller);
  const usage = await getUsage(context, { construct_id: session.construct_id });
  expect(usage.entry_rows).toEqual({ items_count: 1, logical_bytes: 1, stored_bytes: 1 });
  expect(usage.entry_frames.items_count).toBe(3);
  expect(usage.entry_frames.logical_bytes).toBeGreaterThan(3 * body.length);
  expect(usage.entry_frames.stored_bytes).toBeLessThan(body.length);
  expect(usage.artifacts).toEqual([{ type: "log", items_count: 1, logical_bytes: 5, stored_bytes: 5 }]);
  const { construct_id } = session;
  const [everything, of_workspace] = [
    await getUsage(context, { all: true }),
    await getUsage(context, { workspace_id: DEFAULT_WORKSPACE_ID }),
  ];
  expect(everything).toEqual(of_workspace);
  expect(everything.total.stored_bytes).toBeGreaterThanOrEqual(usage.total.stored_bytes);
  const unknown = getUsage(context, { construct_id: construct_id.replace(/^./, "f") });
  expect(await unknown.catch((error: unknown) => error instanceof Problem && error.code)).toBe("not_found");
});

test("deleted rows are purged purged_artifacts_count at a time, and what lives stays", async () => {
  const construct_id = await newConstruct();
  fill(construct_id, limit("purged_artifacts_count") + 1, 5);
  const { row } = await createArtifact(store.context, { construct_id }, { chunks: chunksOf("x") }, caller);
  await deleteArtifact(store.context, row.id, "*", caller);
  const { artifacts } = store.context.store;
  expect(await artifacts.purge(5)).toBe(0);
  expect(await artifacts.purge(6)).toBe(limit("purged_artifacts_count"));
  expect(await artifacts.purge(6)).toBe(1);
  expect((await artifacts.find(row.id))?.row.deleted_at_ms).toBeGreaterThan(5);
});

test("all rows are scanned, scanned_artifacts_count at a time", async () => {
  fill(await newConstruct(), limit("scanned_artifacts_count") + 1, null);
  const seen = new Set<string>();
  let steps = 0;
  for (let after: number | null = 0; after !== null; steps += 1) {
    const step: Awaited<ReturnType<typeof store.context.store.artifacts.scan>> =
      await store.context.store.artifacts.scan(after);
    expect(step.rows.length).toBeLessThanOrEqual(limit("scanned_artifacts_count"));
    for (const { id } of step.rows) seen.add(id);
    after = step.next;
  }
  expect(seen.size).toBeGreaterThan(limit("scanned_artifacts_count"));
  expect(steps).toBeGreaterThan(1);
});

test("a construct of 100,000 artifacts lists its first page as fast as one of ten", async () => {
  const [small, large] = [await newConstruct(), await newConstruct()];
  fill(small, 10, null);
  fill(large, 100_000, null);
  for (const sort of ["created", "name", "size"] as const) {
    const timeOf = async (construct_id: string): Promise<number> => {
      const times: number[] = [];
      for (let round = 0; round < 15; round += 1) {
        const began = performance.now();
        await store.context.store.artifacts.list({
          construct_id: [construct_id],
          sort,
          order: "desc",
          limit: 10,
        });
        times.push(performance.now() - began);
      }
      return times.sort((a, b) => a - b)[7] ?? 0;
    };
    const [few, many] = [await timeOf(small), await timeOf(large)];
    expect(many).toBeLessThan(few * 3 + 1);
  }
}, 30_000);
