/** Steps of a model run that create, change, delete and list sessions. */
import { deepStrictEqual } from "node:assert";
import {
  createSession,
  deleteSession,
  listSessions,
  undeleteSession,
  updateSession,
} from "../../src/core/session.ts";
import type { Session, SessionCreate, SessionPatch } from "../../src/schema/session.ts";
import { type Expectation, changed, expectedRevisions } from "./model-construct.ts";
import {
  CONSTRUCT_IDS,
  type Model,
  type ModelSession,
  type Real,
  Refusal,
  SESSION_IDS,
  Step,
  canonical,
  expectAnswer,
  plain,
  refusedSession,
  sessionRow,
} from "./model.ts";
import { caller } from "./store.ts";

export class CreateSession extends Step {
  constructor(
    readonly slot: number,
    readonly construct_slot: number,
    readonly parent_slot: number | null,
    readonly input: Omit<SessionCreate, "construct_id">,
  ) {
    super();
  }

  async act(model: Model, real: Real): Promise<void> {
    const id = SESSION_IDS[this.slot]!;
    const given = {
      ...this.input,
      construct_id: CONSTRUCT_IDS[this.construct_slot]!,
      ...(this.parent_slot !== null && { parent_id: SESSION_IDS[this.parent_slot]! }),
    };
    await expectAnswer(
      createSession(real.context, { ...given, id }, caller),
      this.expected(model, id, given),
      "createSession",
    );
  }

  expected(model: Model, id: string, given: SessionCreate): { created: boolean; row: Session } | Refusal {
    const created_by = canonical(given);
    const before = model.sessions.get(id);
    if (before !== undefined) {
      if (before.created_by !== created_by) return new Refusal("conflict");
      return before.row.deleted_at_ms !== null
        ? new Refusal("gone")
        : { created: false, row: sessionRow(before) };
    }
    const construct = model.constructs.get(given.construct_id);
    if (construct === undefined) return new Refusal("invalid_request");
    if (construct.row.deleted_at_ms !== null) return new Refusal("gone");
    if (
      given.parent_id != null &&
      model.sessions.get(given.parent_id)?.row.construct_id !== given.construct_id
    )
      return new Refusal("invalid_request");
    const { now_ms } = model;
    const row: ModelSession["row"] = {
      id,
      construct_id: given.construct_id,
      parent_id: given.parent_id ?? null,
      title: given.title ?? "",
      agent: given.agent ?? null,
      model: given.model ?? null,
      status: given.status ?? "active",
      external_id: given.external_id ?? null,
      working_directory: null,
      branch: null,
      started_at_ms: given.started_at_ms ?? now_ms,
      ended_at_ms: given.ended_at_ms ?? null,
      metadata: given.metadata ?? {},
      status_since_at_ms: now_ms,
      revision: 1,
      created_at_ms: now_ms,
      updated_at_ms: now_ms,
      deleted_at_ms: null,
    };
    const session: ModelSession = { row, created_by, entries: [], keys: new Map() };
    model.sessions.set(id, session);
    return { created: true, row: sessionRow(session) };
  }
}

export class UpdateSession extends Step {
  constructor(
    readonly slot: number,
    readonly patch: SessionPatch,
    readonly expectation: Expectation,
  ) {
    super();
  }

  async act(model: Model, real: Real): Promise<void> {
    const id = SESSION_IDS[this.slot]!;
    const session = model.sessions.get(id);
    const expected = expectedRevisions(this.expectation, session?.row.revision ?? 1);
    let answer: Session | Refusal | null = refusedSession(model, id);
    if (answer === null && this.expectation === "stale")
      answer = new Refusal("precondition_failed", { revision: session!.row.revision });
    if (answer === null) {
      const fields = changed(session!.row, this.patch);
      if (fields.length > 0) {
        const row = {
          ...session!.row,
          ...plain(this.patch),
          revision: session!.row.revision + 1,
          updated_at_ms: model.now_ms,
        } as ModelSession["row"];
        if (fields.includes("status")) {
          row.status_since_at_ms = model.now_ms;
          if (row.status === "ended" && this.patch.ended_at_ms === undefined && row.ended_at_ms === null)
            row.ended_at_ms = model.now_ms;
        }
        session!.row = row;
      }
      answer = sessionRow(session!);
    }
    await expectAnswer(
      updateSession(real.context, id, this.patch, expected, caller),
      answer,
      "updateSession",
    );
  }
}

export class DeleteSession extends Step {
  constructor(
    readonly slot: number,
    readonly expectation: Expectation,
  ) {
    super();
  }

  async act(model: Model, real: Real): Promise<void> {
    const id = SESSION_IDS[this.slot]!;
    const session = model.sessions.get(id);
    const expected = expectedRevisions(this.expectation, session?.row.revision ?? 1);
    let answer: null | Refusal = null;
    if (session === undefined) answer = new Refusal("not_found");
    else if (session.row.deleted_at_ms !== null) answer = new Refusal("gone");
    else if (this.expectation === "stale") answer = new Refusal("precondition_failed");
    else
      session.row = {
        ...session.row,
        deleted_at_ms: model.now_ms,
        updated_at_ms: model.now_ms,
        revision: session.row.revision + 1,
      };
    await expectAnswer<null>(
      deleteSession(real.context, id, expected, caller).then(() => null),
      answer,
      "deleteSession",
    );
  }
}

export class UndeleteSession extends Step {
  constructor(readonly slot: number) {
    super();
  }

  async act(model: Model, real: Real): Promise<void> {
    const id = SESSION_IDS[this.slot]!;
    const session = model.sessions.get(id);
    if (session !== undefined && session.row.deleted_at_ms !== null)
      session.row = {
        ...session.row,
        deleted_at_ms: null,
        updated_at_ms: model.now_ms,
        revision: session.row.revision + 1,
      };
    await expectAnswer(
      undeleteSession(real.context, id, caller),
      session === undefined ? new Refusal("not_found") : sessionRow(session),
      "undeleteSession",
    );
  }
}

export class ListSessions extends Step {
  constructor(
    readonly construct_slots: number[] | null,
    readonly status: Session["status"][] | null,
    readonly deleted: boolean,
    readonly sort: "updated" | "created",
    readonly order: "asc" | "desc",
    readonly page_limit: number,
  ) {
    super();
  }

  async act(model: Model, real: Real): Promise<void> {
    const column = this.sort === "updated" ? "updated_at_ms" : "created_at_ms";
    const sign = this.order === "asc" ? 1 : -1;
    const construct_id = this.construct_slots?.map((slot) => CONSTRUCT_IDS[slot]!);
    const filter = {
      deleted: this.deleted,
      ...(construct_id && { construct_id }),
      ...(this.status && { status: this.status }),
    };
    const expected = [...model.sessions.values()]
      .map((session, place) => ({ session, place }))
      .filter(
        ({ session: { row } }) =>
          (row.deleted_at_ms !== null) === this.deleted &&
          model.constructs.get(row.construct_id)?.row.deleted_at_ms === null &&
          (construct_id?.includes(row.construct_id) ?? true) &&
          (this.status?.includes(row.status) ?? true),
      )
      .sort((a, b) => sign * (a.session.row[column] - b.session.row[column] || a.place - b.place))
      .map(({ session }) => sessionRow(session));
    const found: Session[] = [];
    for (let cursor: string | null | undefined; cursor !== null;) {
      const page = await listSessions(
        real.context,
        filter,
        { sort: this.sort, order: this.order },
        { limit: this.page_limit, count: true, ...(cursor !== undefined && { cursor }) },
      );
      deepStrictEqual(page.total_count, expected.length, "listSessions: total_count");
      found.push(...page.items);
      cursor = page.next_cursor;
    }
    deepStrictEqual(plain(found), plain(expected), "listSessions");
  }
}
