/** Steps of a model run that create, change, delete and list constructs. */
import { deepStrictEqual, ok } from "node:assert";
import {
  createConstruct,
  deleteConstruct,
  getConstruct,
  listConstructs,
  listStatuses,
  undeleteConstruct,
  updateConstruct,
} from "../../src/core/construct.ts";
import { DEFAULT_WORKSPACE_ID } from "../../src/lib/ids.ts";
import type {
  Construct,
  ConstructCreate,
  ConstructPatch,
  ConstructSort,
} from "../../src/schema/construct.ts";
import {
  CONSTRUCT_IDS,
  type Model,
  type ModelConstruct,
  type Real,
  Refusal,
  Step,
  canonical,
  expectAnswer,
  plain,
} from "./model.ts";
import { caller } from "./store.ts";

export type Expectation = "any" | "current" | "stale" | "several";

export function expectedRevisions(expectation: Expectation, revision: number): "*" | number[] {
  if (expectation === "any") return "*";
  if (expectation === "current") return [revision];
  return expectation === "several" ? [revision + 7, revision] : [revision + 1];
}

export function changed<Row extends object>(current: Row, patch: object): string[] {
  return Object.entries(patch)
    .filter(
      ([name, value]) => value !== undefined && canonical(value) !== canonical(current[name as keyof Row]),
    )
    .map(([name]) => name);
}

export class CreateConstruct extends Step {
  constructor(
    readonly slot: number,
    readonly input: ConstructCreate,
  ) {
    super();
  }

  async act(model: Model, real: Real): Promise<void> {
    const id = CONSTRUCT_IDS[this.slot]!;
    const input = { ...this.input, id };
    const before = model.constructs.get(id);
    const created_by = canonical(this.input);
    let expected: { created: boolean; row: Construct } | Refusal;
    if (before !== undefined) {
      expected =
        before.created_by !== created_by
          ? new Refusal("conflict")
          : before.row.deleted_at_ms !== null
            ? new Refusal("gone")
            : { created: false, row: before.row };
    } else if (this.input.workspace_id !== undefined && this.input.workspace_id !== DEFAULT_WORKSPACE_ID)
      expected = new Refusal("invalid_request");
    else {
      const { now_ms } = model;
      const row: Construct = {
        id,
        workspace_id: DEFAULT_WORKSPACE_ID,
        title: input.title,
        brief: input.brief ?? "",
        type: input.type ?? "task",
        status: input.status ?? "draft",
        labels: (input.labels ?? []).toSorted(),
        agent: input.agent ?? null,
        branch: input.branch ?? null,
        worktree_path: input.worktree_path ?? null,
        pinned: input.pinned ?? false,
        metadata: input.metadata ?? {},
        status_since_at_ms: now_ms,
        revision: 1,
        created_at_ms: now_ms,
        updated_at_ms: now_ms,
        deleted_at_ms: null,
      };
      model.constructs.set(id, {
        row,
        created_by,
        statuses: [
          { status: row.status, from_at_ms: now_ms, until_at_ms: null, actor: "user", reason: null },
        ],
      });
      expected = { created: true, row };
    }
    await expectAnswer(createConstruct(real.context, input, caller), expected, "createConstruct");
  }
}

export class UpdateConstruct extends Step {
  constructor(
    readonly slot: number,
    readonly patch: ConstructPatch,
    readonly expectation: Expectation,
  ) {
    super();
  }

  async act(model: Model, real: Real): Promise<void> {
    const id = CONSTRUCT_IDS[this.slot]!;
    const found = model.constructs.get(id);
    const expected = expectedRevisions(this.expectation, found?.row.revision ?? 1);
    let answer: Construct | Refusal;
    if (found === undefined) answer = new Refusal("not_found");
    else if (found.row.deleted_at_ms !== null) answer = new Refusal("gone");
    else if (this.expectation === "stale")
      answer = new Refusal("precondition_failed", { revision: found.row.revision });
    else answer = this.apply(model, found);
    await expectAnswer(
      updateConstruct(real.context, id, this.patch, expected, caller),
      answer,
      "updateConstruct",
    );
  }

  apply(model: Model, found: ModelConstruct): Construct {
    const { status_reason, ...given } = this.patch;
    const values = { ...given, ...(given.labels && { labels: given.labels.toSorted() }) };
    const fields = changed(found.row, values);
    if (fields.length === 0) return found.row;
    const { now_ms } = model;
    const row = {
      ...found.row,
      ...plain(values),
      revision: found.row.revision + 1,
      updated_at_ms: now_ms,
    } as Construct;
    if (fields.includes("status")) {
      row.status_since_at_ms = now_ms;
      found.statuses.at(-1)!.until_at_ms = now_ms;
      found.statuses.push({
        status: row.status,
        from_at_ms: now_ms,
        until_at_ms: null,
        actor: "user",
        reason: status_reason ?? null,
      });
    }
    found.row = row;
    return row;
  }
}

export class DeleteConstruct extends Step {
  constructor(
    readonly slot: number,
    readonly expectation: Expectation,
  ) {
    super();
  }

  async act(model: Model, real: Real): Promise<void> {
    const id = CONSTRUCT_IDS[this.slot]!;
    const found = model.constructs.get(id);
    const expected = expectedRevisions(this.expectation, found?.row.revision ?? 1);
    let answer: undefined | Refusal;
    if (found === undefined) answer = new Refusal("not_found");
    else if (found.row.deleted_at_ms !== null) answer = new Refusal("gone");
    else if (this.expectation === "stale") answer = new Refusal("precondition_failed");
    else
      found.row = {
        ...found.row,
        deleted_at_ms: model.now_ms,
        updated_at_ms: model.now_ms,
        revision: found.row.revision + 1,
      };
    const doing = deleteConstruct(real.context, id, expected, caller).then(() => null);
    await expectAnswer<null>(doing, answer ?? null, "deleteConstruct");
  }
}

export class UndeleteConstruct extends Step {
  constructor(readonly slot: number) {
    super();
  }

  async act(model: Model, real: Real): Promise<void> {
    const id = CONSTRUCT_IDS[this.slot]!;
    const found = model.constructs.get(id);
    if (found !== undefined && found.row.deleted_at_ms !== null)
      found.row = {
        ...found.row,
        deleted_at_ms: null,
        updated_at_ms: model.now_ms,
        revision: found.row.revision + 1,
      };
    await expectAnswer(
      undeleteConstruct(real.context, id, caller),
      found?.row ?? new Refusal("not_found"),
      "undeleteConstruct",
    );
    const refusal = found === undefined ? new Refusal("not_found") : null;
    await expectAnswer(getConstruct(real.context, id), refusal ?? found!.row, "getConstruct");
    await expectAnswer(
      listStatuses(real.context, id),
      refusal ?? { items: found!.statuses, next_cursor: null },
      "listStatuses",
    );
  }
}

export interface ConstructQuestion {
  deleted: boolean;
  status?: Construct["status"][];
  label?: string[];
  agent?: string[];
  pinned?: boolean;
  q?: string;
  metadata?: Record<string, string[]>;
}

/** SQLite's LIKE and NOCASE fold ASCII letters only. */
function foldAscii(text: string): string {
  return text.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase());
}

/** Titles are compared by their bytes, in any case. */
function compareValues(a: string | number, b: string | number): number {
  return typeof a === "number"
    ? a - Number(b)
    : Buffer.compare(Buffer.from(foldAscii(a)), Buffer.from(foldAscii(String(b))));
}

export class ListConstructs extends Step {
  constructor(
    readonly question: ConstructQuestion,
    readonly sort: ConstructSort,
    readonly order: "asc" | "desc",
    readonly page_limit: number,
  ) {
    super();
  }

  matches({ row }: ModelConstruct): boolean {
    const { deleted, status, label, agent, pinned, q, metadata } = this.question;
    if ((row.deleted_at_ms !== null) !== deleted) return false;
    if (status !== undefined && !status.includes(row.status)) return false;
    if (label !== undefined && !row.labels.some((one) => label.includes(one))) return false;
    if (agent !== undefined && (row.agent === null || !agent.includes(row.agent))) return false;
    if (pinned !== undefined && row.pinned !== pinned) return false;
    if (q !== undefined && ![row.title, row.brief].some((text) => foldAscii(text).includes(foldAscii(q))))
      return false;
    return Object.entries(metadata ?? {}).every(
      ([key, values]) => row.metadata[key] !== undefined && values.includes(row.metadata[key]),
    );
  }

  async act(model: Model, real: Real): Promise<void> {
    const column = (
      {
        updated: "updated_at_ms",
        created: "created_at_ms",
        status_since: "status_since_at_ms",
        title: "title",
      } as const
    )[this.sort];
    const sign = this.order === "asc" ? 1 : -1;
    const expected = [...model.constructs.values()]
      .map((construct, place) => ({ construct, place }))
      .filter(({ construct }) => this.matches(construct))
      .sort(
        (a, b) =>
          sign * (compareValues(a.construct.row[column], b.construct.row[column]) || a.place - b.place),
      )
      .map(({ construct }) => construct.row);
    const found: Construct[] = [];
    for (let cursor: string | null | undefined; cursor !== null;) {
      const page = await listConstructs(
        real.context,
        this.question,
        { sort: this.sort, order: this.order },
        { limit: this.page_limit, count: true, ...(cursor !== undefined && { cursor }) },
      );
      deepStrictEqual(page.total_count, expected.length, "listConstructs: total_count");
      ok(
        page.items.length <= this.page_limit &&
          (page.next_cursor === null || page.items.length === this.page_limit),
        "listConstructs: size of a page",
      );
      found.push(...page.items);
      cursor = page.next_cursor;
    }
    deepStrictEqual(found, expected, "listConstructs");
  }
}
