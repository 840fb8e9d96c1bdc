/** Constructs and sessions: repeats, revisions, statuses with their time, the trash, and the events of each change. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  createConstruct,
  deleteConstruct,
  getConstruct,
  listConstructs,
  listStatuses,
  undeleteConstruct,
  updateConstruct,
} from "../../src/core/construct.ts";
import {
  createSession,
  deleteSession,
  getSession,
  listSessions,
  undeleteSession,
  updateSession,
} from "../../src/core/session.ts";
import { createWorkspace, deleteWorkspace, updateWorkspace } from "../../src/core/workspace.ts";
import { appendEntries } from "../../src/core/append.ts";
import { Problem } from "../../src/errors.ts";
import { DEFAULT_WORKSPACE_ID } from "../../src/lib/ids.ts";
import { caller, openTestStore, type TestStore } from "../support/store.ts";

let store: TestStore;
beforeAll(async () => {
  store = await openTestStore();
});
afterAll(() => store.remove());

const by_updated = { sort: "updated", order: "desc" } as const;

async function refusal(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "accepted";
  } catch (error) {
    return error instanceof Problem ? error.code : String(error);
  }
}

async function eventsOf(construct_id: string): Promise<string[]> {
  return (await store.context.store.events.list({ after: 0, limit: 100, construct_id })).map(
    ({ type }) => type,
  );
}

describe("a construct", () => {
  test("made twice with one body is one construct, with another body a conflict", async () => {
    const { context } = store;
    const body = { id: context.ids.next(), title: "once", labels: ["b", "a"] };
    expect((await createConstruct(context, body, caller)).created).toBe(true);
    const changed = await updateConstruct(context, body.id, { title: "changed" }, "*", caller);
    const again = await createConstruct(context, body, caller);
    expect(again).toEqual({ created: false, row: changed });
    expect(again.row.labels).toEqual(["a", "b"]);
    expect(await refusal(createConstruct(context, { ...body, title: "other" }, caller))).toBe("conflict");
    expect(await eventsOf(body.id)).toEqual(["construct.created", "construct.updated"]);
  });

  test("keeps every status with its time, and an event for each", async () => {
    const { context } = store;
    const { row } = await createConstruct(context, { title: "walk" }, caller);
    for (const status of ["active", "awaiting_input", "active", "completed"] as const)
      await updateConstruct(context, row.id, { status, status_reason: `to ${status}` }, "*", {
        actor: "agent",
      });
    const { items } = await listStatuses(context, row.id);
    expect(items.map(({ status }) => status)).toEqual([
      "draft",
      "active",
      "awaiting_input",
      "active",
      "completed",
    ]);
    for (const [index, period] of items.entries())
      expect(period.until_at_ms).toBe(items[index + 1]?.from_at_ms ?? null);
    expect(items[1]).toMatchObject({ actor: "agent", reason: "to active" });
    expect((await eventsOf(row.id)).filter((type) => type === "construct.status_changed").length).toBe(4);
  });

  test("is changed only at the revision that was read, and not at all by an empty change", async () => {
    const { context } = store;
    const { row } = await createConstruct(context, { title: "revised" }, caller);
    expect((await updateConstruct(context, row.id, { title: "revised" }, [1], caller)).revision).toBe(1);
    expect(
      (
        await updateConstruct(
          context,
          row.id,
          { title: "second", pinned: true, metadata: { a: "1" } },
          [1],
          caller,
        )
      ).revision,
    ).toBe(2);
    expect(await refusal(updateConstruct(context, row.id, { title: "third" }, [1], caller))).toBe(
      "precondition_failed",
    );
    expect(await getConstruct(context, row.id)).toMatchObject({
      title: "second",
      pinned: true,
      metadata: { a: "1" },
    });
  });

  test("in the trash is gone from every answer, with its sessions, and comes back whole", async () => {
    const { context } = store;
    const { row } = await createConstruct(context, { title: "trash me", metadata: { only: "here" } }, caller);
    const { row: session } = await createSession(context, { construct_id: row.id }, caller);
    await appendEntries(context, session.id, [{ kind: "note", body: "1" }]);
    const find = (deleted: boolean) =>
      listConstructs(context, { deleted, metadata: { only: ["here"] } }, by_updated, {
        limit: 10,
        count: true,
      });
    expect((await find(false)).total_count).toBe(1);
    await deleteConstruct(context, row.id, [1], caller);
    expect((await find(false)).total_count).toBe(0);
    expect((await find(true)).items.map(({ id }) => id)).toEqual([row.id]);
    expect(await refusal(getConstruct(context, row.id))).toBe("gone");
    expect(await refusal(getSession(context, session.id))).toBe("gone");
    expect(await refusal(appendEntries(context, session.id, [{ kind: "note", body: "2" }]))).toBe("gone");
    expect(
      (
        await listSessions(
          context,
          { deleted: false, construct_id: [row.id] },
          { sort: "created", order: "asc" },
          { limit: 10 },
        )
      ).items,
    ).toEqual([]);
    await undeleteConstruct(context, row.id, caller);
    expect((await getSession(context, session.id)).last_seq).toBe(1);
    expect(await eventsOf(row.id)).toEqual([
      "construct.created",
      "session.created",
      "construct.deleted",
      "construct.undeleted",
    ]);
  });

  test("is found by each filter and by text, and a cursor belongs to its filters", async () => {
    const { context } = store;
    const { row: workspace } = await createWorkspace(context, { name: "filters" }, caller);
    for (let index = 0; index < 25; index += 1) {
      await createConstruct(
        context,
        {
          workspace_id: workspace.id,
          title: `Item ${String(index).padStart(2, "0")}`,
          type: index % 2 ? "odd" : "even",
          labels: [`m${index % 3}`],
          metadata: { rest: String(index % 5) },
          agent: index % 4 ? "x" : "y",
        },
        caller,
      );
    }
    const filter = { deleted: false, workspace_id: [workspace.id] };
    const titles = async (more: object): Promise<number> =>
      (await listConstructs(context, { ...filter, ...more }, by_updated, { limit: 100 })).items.length;
    expect(await titles({ type: ["odd"] })).toBe(12);
    expect(await titles({ label: ["m0", "m1"] })).toBe(17);
    expect(await titles({ metadata: { rest: ["1", "2"] } })).toBe(10);
    expect(await titles({ agent: ["y"], type: ["even"] })).toBe(7);
    expect(await titles({ q: "ITEM 1" })).toBe(10);
    expect(await titles({ q: "%" })).toBe(0);
    const seen: string[] = [];
    for (let cursor: string | null | undefined; cursor !== null;) {
      const page = await listConstructs(
        context,
        filter,
        { sort: "title", order: "asc" },
        { limit: 7, ...(cursor !== undefined && { cursor }) },
      );
      seen.push(...page.items.map(({ title }) => title));
      cursor = page.next_cursor;
      if (cursor !== null)
        expect(
          await refusal(
            listConstructs(
              context,
              { ...filter, type: ["odd"] },
              { sort: "title", order: "asc" },
              { limit: 7, cursor },
            ),
          ),
        ).toBe("invalid_request");
    }
    expect(seen).toEqual(Array.from({ length: 25 }, (_, index) => `Item ${String(index).padStart(2, "0")}`));
  });
});

describe("a session", () => {
  test("needs a living construct, and a parent of the same one", async () => {
    const { context } = store;
    const { row: one } = await createConstruct(context, { title: "one" }, caller);
    const { row: two } = await createConstruct(context, { title: "two" }, caller);
    const { row: parent } = await createSession(context, { construct_id: one.id }, caller);
    expect(
      (await createSession(context, { construct_id: one.id, parent_id: parent.id }, caller)).row.parent_id,
    ).toBe(parent.id);
    expect(
      await refusal(createSession(context, { construct_id: two.id, parent_id: parent.id }, caller)),
    ).toBe("invalid_request");
    expect(await refusal(createSession(context, { construct_id: context.ids.next() }, caller))).toBe(
      "invalid_request",
    );
  });

  test("ends with a time, is hidden when deleted, and keeps its transcript", async () => {
    const { context } = store;
    const { row: construct } = await createConstruct(context, { title: "sessions" }, caller);
    const { row } = await createSession(
      context,
      { construct_id: construct.id, agent: "codex", metadata: { k: "v" } },
      caller,
    );
    await appendEntries(context, row.id, [{ kind: "note", body: "1" }]);
    const ended = await updateSession(context, row.id, { status: "ended" }, [1], caller);
    expect(ended).toMatchObject({ status: "ended", last_seq: 1, revision: 2, metadata: { k: "v" } });
    expect(ended.ended_at_ms).not.toBeNull();
    await deleteSession(context, row.id, "*", caller);
    expect(await refusal(getSession(context, row.id))).toBe("gone");
    await undeleteSession(context, row.id, caller);
    expect(await getSession(context, row.id)).toMatchObject({ status: "ended", last_seq: 1, agent: "codex" });
  });
});

describe("a workspace", () => {
  test("has a name of its own, and goes only when it is empty", async () => {
    const { context } = store;
    const { row } = await createWorkspace(context, { name: "Mine" }, caller);
    expect(await refusal(createWorkspace(context, { name: "mine" }, caller))).toBe("conflict");
    expect((await updateWorkspace(context, row.id, { description: "text" }, [1], caller)).revision).toBe(2);
    const { row: construct } = await createConstruct(
      context,
      { workspace_id: row.id, title: "in it" },
      caller,
    );
    await deleteConstruct(context, construct.id, "*", caller);
    expect(await refusal(deleteWorkspace(context, row.id, "*", caller))).toBe("conflict");
    const { row: empty } = await createWorkspace(context, { name: "empty" }, caller);
    await deleteWorkspace(context, empty.id, [1], caller);
    expect(await refusal(updateWorkspace(context, empty.id, { name: "x" }, "*", caller))).toBe("not_found");
    expect(await refusal(deleteWorkspace(context, DEFAULT_WORKSPACE_ID, "*", caller))).toBe("conflict");
  });
});
