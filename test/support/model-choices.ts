/** What a model run is chosen from: small sets, so that things meet, and values of every size that the store treats differently. */
import { createHash } from "node:crypto";
import fc from "fast-check";
import { DEFAULT_WORKSPACE_ID } from "../../src/lib/ids.ts";
import type { ConstructCreate, ConstructPatch, ConstructSort } from "../../src/schema/construct.ts";
import type { EntryKind, SentEntry } from "../../src/schema/entry.ts";
import type { Session, SessionCreate, SessionPatch } from "../../src/schema/session.ts";
import {
  type ConstructQuestion,
  CreateConstruct,
  DeleteConstruct,
  type Expectation,
  ListConstructs,
  UndeleteConstruct,
  UpdateConstruct,
} from "./model-construct.ts";
import {
  Append,
  OpenTail,
  Page,
  type Place,
  type Question,
  ReadTail,
  Reopen,
  Repeat,
  SealAll,
  Single,
  Stream,
  Wait,
} from "./model-entry.ts";
import {
  CreateSession,
  DeleteSession,
  ListSessions,
  UndeleteSession,
  UpdateSession,
} from "./model-session.ts";
import { CONSTRUCT_IDS, type Model, type Real, SESSION_IDS, plain } from "./model.ts";

const slot = (count: number): fc.Arbitrary<number> => fc.nat({ max: count - 1 });
const optional = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(arbitrary, { nil: undefined, freq: 2 });

function members<T extends Record<string, fc.Arbitrary<unknown>>>(
  shape: T,
): fc.Arbitrary<{ [K in keyof T]?: T[K] extends fc.Arbitrary<infer V> ? Exclude<V, undefined> : never }> {
  return fc.record(shape, { requiredKeys: [] }) as never;
}

const TITLES = ["alpha", "Alpha", "beta", "Ärger", "ärger", "", "100% _\\", "zeta"] as const;
const STATUSES = ["draft", "active", "completed", "error"] as const;
const LABELS = ["x", "y", "z"] as const;
const AGENTS = ["codex", "claude code"] as const;
const KINDS: readonly EntryKind[] = ["message", "tool_call", "tool_result", "reasoning", "unparsed"];
const METADATA = [{}, { team: "a" }, { team: "b", ticket: "7" }, { ticket: "7" }] as const;

const construct_fields = {
  brief: fc.constantFrom("", "about Alpha", "Zeta"),
  type: fc.constantFrom("task", "bug"),
  status: fc.constantFrom(...STATUSES),
  labels: fc.uniqueArray(fc.constantFrom(...LABELS), { maxLength: 3 }),
  agent: fc.constantFrom(null, ...AGENTS),
  branch: fc.constantFrom(null, "main"),
  pinned: fc.boolean(),
  metadata: fc.constantFrom(...METADATA),
};

const construct_input = fc
  .tuple(
    fc.constantFrom(...TITLES),
    members(construct_fields),
    fc.boolean(),
    fc.constantFrom(0, 0, 0, 0, 0, 1, 2),
  )
  .map(([title, fields, spare, workspace]) => ({
    title,
    ...(spare ? fields : {}),
    ...(workspace === 1 && { workspace_id: DEFAULT_WORKSPACE_ID }),
    ...(workspace === 2 && { workspace_id: CONSTRUCT_IDS[0]! }),
  })) as fc.Arbitrary<ConstructCreate>;

const construct_patch = members({
  title: fc.constantFrom(...TITLES),
  ...construct_fields,
  status_reason: fc.constant("because"),
}) as fc.Arbitrary<ConstructPatch>;

const session_fields = {
  title: fc.constantFrom(...TITLES),
  agent: fc.constantFrom(null, ...AGENTS),
  status: fc.constantFrom("active", "waiting", "ended", "error"),
  external_id: fc.constantFrom(null, "their own id"),
  ended_at_ms: fc.constantFrom(null, 1_700_000_000_000),
  metadata: fc.constantFrom(...METADATA),
};
const session_input = members(session_fields) as fc.Arbitrary<Omit<SessionCreate, "construct_id">>;
const session_patch = members(session_fields) as fc.Arbitrary<SessionPatch>;

const expectation = fc.constantFrom<Expectation>("any", "current", "current", "several", "stale");

/** Spellings that must not change, and values of every size that the store treats differently. */
const ODD_BODIES = [
  "null",
  "0",
  "-0",
  "1.0",
  "1e2",
  "[]",
  "{}",
  '""',
  '"é😀"',
  '"\\ud83d"',
  '{"b":1,"a":[1 , 2]}',
  '"\\u0000"',
  '",\\"body\\":"',
] as const;

function longBody(size: number, salt: number): string {
  const word = createHash("sha256").update(String(salt)).digest("base64");
  return JSON.stringify(`${salt}é${word.repeat(Math.ceil(size / word.length)).slice(0, size)}`);
}

const body = fc.oneof(
  { arbitrary: fc.constantFrom(...ODD_BODIES), weight: 6 },
  {
    arbitrary: fc
      .tuple(fc.nat({ max: 300 }), fc.nat({ max: 50 }))
      .map(([size, salt]) => longBody(size, salt)),
    weight: 20,
  },
  {
    arbitrary: fc
      .tuple(fc.nat({ max: 4_000 }), fc.nat({ max: 50 }))
      .map(([size, salt]) => longBody(size, salt)),
    weight: 8,
  },
  {
    arbitrary: fc
      .tuple(fc.integer({ min: 20_000, max: 70_000 }), fc.nat({ max: 9 }))
      .map(([size, salt]) => longBody(size, salt)),
    weight: 3,
  },
  // Around the bounds of a frame and of what is shown whole.
  {
    arbitrary: fc
      .tuple(fc.constantFrom(129_900, 130_900, 131_000, 140_000), fc.nat({ max: 99 }))
      .map(([size, salt]) => longBody(size + salt, salt)),
    weight: 1,
  },
  {
    arbitrary: fc
      .tuple(fc.constantFrom(261_900, 262_000, 300_000), fc.nat({ max: 99 }))
      .map(([size, salt]) => longBody(size + salt, salt)),
    weight: 1,
  },
);

const KEYS = ["a", "b", 'quote " and \\', "é😀", "k".repeat(200)] as const;

const entry = fc
  .record({
    kind: fc.constantFrom(...KINDS),
    actor: optional(fc.constantFrom("user", "agent", "tool")),
    at_ms: optional(fc.constantFrom(0, 1_700_000_000_000)),
    key: fc.oneof(
      { arbitrary: fc.constant(undefined), weight: 5 },
      { arbitrary: fc.constantFrom(...KEYS), weight: 2 },
    ),
    body,
  })
  .map((all) => plain(all)) as fc.Arbitrary<SentEntry>;

const bulk = fc
  .tuple(fc.integer({ min: 55, max: 130 }), fc.integer({ min: 2_000, max: 5_000 }), fc.nat({ max: 50 }))
  .map(([count, size, salt]) =>
    Array.from({ length: count }, (_, index): SentEntry => ({
      kind: KINDS[(index + salt) % KINDS.length]!,
      at_ms: index,
      body: longBody(size + index, salt + index),
    })),
  );

const many_small = fc.tuple(fc.integer({ min: 90, max: 230 }), fc.nat({ max: 50 })).map(([count, salt]) =>
  Array.from({ length: count }, (_, index): SentEntry => ({
    kind: KINDS[(index * 7 + salt) % KINDS.length]!,
    at_ms: index,
    body: `${salt}${index}`,
  })),
);

const entries = fc.oneof(
  { arbitrary: fc.array(entry, { minLength: 1, maxLength: 6 }), weight: 20 },
  { arbitrary: bulk, weight: 1 },
  { arbitrary: many_small, weight: 1 },
);
const kinds = fc.option(fc.uniqueArray(fc.constantFrom(...KINDS), { minLength: 1, maxLength: 2 }), {
  freq: 2,
});

const question: fc.Arbitrary<Question> = fc.record({
  place: fc.constantFrom("start", "after", "before", "around"),
  at: fc.nat({ max: 1_000 }),
  limit: fc.constantFrom(1, 2, 3, 7, 50, 500),
  max_bytes: fc.constantFrom(1, 150, 5_000, 100_000, 1 << 20, 8 << 20),
  kinds,
});

const construct_question = members({
  status: fc.uniqueArray(fc.constantFrom(...STATUSES), { minLength: 1, maxLength: 2 }),
  label: fc.uniqueArray(fc.constantFrom(...LABELS), { minLength: 1, maxLength: 2 }),
  agent: fc.uniqueArray(fc.constantFrom(...AGENTS), { minLength: 1, maxLength: 2 }),
  pinned: fc.boolean(),
  q: fc.constantFrom("ALPHA", "ärger", "%", "_\\", "zeta"),
  metadata: fc.constantFrom({ team: ["a"] }, { team: ["a", "b"] }, { team: ["b"], ticket: ["7"] }),
});

const lists = fc
  .tuple(
    fc.oneof({ arbitrary: fc.constant({}), weight: 1 }, { arbitrary: construct_question, weight: 2 }),
    fc.boolean(),
  )
  .map(([filter, deleted]) => ({ ...(filter as Omit<ConstructQuestion, "deleted">), deleted }));
const order = fc.constantFrom<"asc" | "desc">("asc", "desc");
const C = slot(CONSTRUCT_IDS.length);
/** The first sessions are used more often, so that some grow long. */
const S = fc.oneof({ arbitrary: slot(2), weight: 3 }, { arbitrary: slot(SESSION_IDS.length), weight: 2 });

export const COMMANDS: fc.Arbitrary<fc.AsyncCommand<Model, Real>>[] = [
  fc.tuple(C, construct_input).map(([at, input]) => new CreateConstruct(at, input)),
  fc
    .tuple(C, construct_patch, expectation)
    .map(([at, patch, expected]) => new UpdateConstruct(at, patch, expected)),
  fc.tuple(C, expectation).map(([at, expected]) => new DeleteConstruct(at, expected)),
  C.map((at) => new UndeleteConstruct(at)),
  C.map((at) => new UndeleteConstruct(at)),
  fc
    .tuple(
      lists,
      fc.constantFrom<ConstructSort>("updated", "created", "status_since", "title"),
      order,
      fc.constantFrom(1, 2, 500),
    )
    .map((all) => new ListConstructs(...all)),
  fc.tuple(S, C, fc.option(S, { freq: 1 }), session_input).map((all) => new CreateSession(...all)),
  fc.tuple(S, session_patch, expectation).map((all) => new UpdateSession(...all)),
  fc.tuple(S, expectation).map((all) => new DeleteSession(...all)),
  S.map((at) => new UndeleteSession(at)),
  S.map((at) => new UndeleteSession(at)),
  fc
    .tuple(
      fc.option(fc.uniqueArray(C, { minLength: 1, maxLength: 3 })),
      fc.option(
        fc.uniqueArray(fc.constantFrom<Session["status"]>("active", "ended", "error"), { minLength: 1 }),
      ),
      fc.boolean(),
      fc.constantFrom<"updated" | "created">("updated", "created"),
      order,
      fc.constantFrom(1, 2, 500),
    )
    .map((all) => new ListSessions(...all)),
  ...Array.from({ length: 6 }, () =>
    fc
      .tuple(
        S,
        entries,
        fc.constantFrom<Place>("none", "none", "end", "end", "end", "stale", "beyond", "foreign"),
      )
      .map((all) => new Append(...all)),
  ),
  fc
    .tuple(
      S,
      fc.nat({ max: 1_000 }),
      fc.integer({ min: 1, max: 130 }),
      fc.oneof(
        { arbitrary: fc.constant<SentEntry[]>([]), weight: 3 },
        { arbitrary: fc.array(entry, { maxLength: 2 }), weight: 1 },
      ),
    )
    .map((all) => new Repeat(...all)),
  ...Array.from({ length: 3 }, () => fc.tuple(S, question).map((all) => new Page(...all))),
  fc
    .tuple(
      S,
      fc.option(fc.nat({ max: 500 })),
      fc.option(fc.nat({ max: 500 })),
      fc.option(fc.nat({ max: 300 })),
      kinds,
    )
    .map((all) => new Stream(...all)),
  fc.tuple(S, fc.nat({ max: 1_000 })).map((all) => new Single(...all)),
  fc.tuple(S, slot(3), fc.nat({ max: 300 })).map((all) => new OpenTail(...all)),
  slot(3).map((at) => new ReadTail(at)),
  fc.constant(new SealAll()),
  fc.constant(new Reopen()),
  fc.constantFrom(0, 1, 1_000).map((ms) => new Wait(ms)),
];
