/**
 * The five operations that every resource has and that must not differ between nouns: create by POST and by
 * PUT, read, change and delete, with their conditional headers. A noun gives its rules, schemas and words.
 */
import type { z } from "zod";
import type { Caller } from "../core/context.ts";
import type { Created } from "../core/create.ts";
import type { Expected } from "../core/revision.ts";
import type { ErrorCode } from "../errors.ts";
import { createdAnswer, jsonAnswer, resourceAnswer } from "./answer.ts";
import { readJson, requireSameId } from "./body.ts";
import { callerOf, idOf } from "./call.ts";
import { expectedRevisions } from "./conditional.ts";
import { empty, json, type Operation, operation, type Tag } from "./operation.ts";

export interface Versioned {
  id: string;
  revision: number;
}

export interface Resource<Row extends Versioned, Create extends { id?: string | undefined }, Patch> {
  /** `/v1/constructs`; also the tag's plural. */
  collection: string;
  tag: Tag;
  /** As it stands in operation names: `Construct`. */
  noun: string;
  row: z.ZodType<Row>;
  create: z.ZodType<Create>;
  patch: z.ZodType<Patch>;
  /** The base of the entity tag. */
  baseOf(row: Row): string;
  rules: {
    create(input: Create, caller: Caller): Promise<Created<Row>>;
    get(id: string): Promise<Row>;
    update(id: string, patch: Patch, expected: Expected, caller: Caller): Promise<Row>;
    delete(id: string, expected: Expected, caller: Caller): Promise<void>;
  };
  /** What a change and a delete mean here. */
  words: { update: string; delete: string };
  /** What can go wrong, beside the revision. */
  problems: { create: ErrorCode[]; get: ErrorCode[]; update: ErrorCode[]; delete: ErrorCode[] };
}

/** POST, PUT, GET, PATCH and DELETE of one noun. */
export function resourceOperations<Row extends Versioned, Create extends { id?: string | undefined }, Patch>(
  resource: Resource<Row, Create, Patch>,
): Operation[] {
  return [...createOperations(resource), getOperation(resource), ...changeOperations(resource)];
}

function createOperations<Row extends Versioned, Create extends { id?: string | undefined }, Patch>(
  resource: Resource<Row, Create, Patch>,
): Operation[] {
  const { collection, tag, noun, rules, baseOf } = resource;
  const word = noun.toLowerCase();
  const outcomes = [
    json(201, "Created", resource.row, ["ETag", "Location"]),
    json(200, "It was created before, by the same body; the answer is what it is now", resource.row, [
      "ETag",
      "Location",
    ]),
  ];
  const common = { tag, headers: ["Synthetic-Actor"], outcomes, problems: resource.problems.create } as const;
  const content = { "application/json": resource.create };
  return [
    operation(
      {
        ...common,
        method: "post",
        path: collection,
        name: `create${noun}`,
        summary: `Create a ${word}`,
        description: "With an `id` of your own, repeating the same create is harmless and answers 200.",
        body: { description: `The new ${word}`, content },
      },
      async (call) =>
        createdAnswer(
          call,
          await rules.create(await readJson(call, resource.create), callerOf(call)),
          collection,
          baseOf,
        ),
    ),
    operation(
      {
        ...common,
        method: "put",
        path: `${collection}/{id}`,
        name: `put${noun}`,
        summary: `Create a ${word} under this id`,
        description: `The same as POST with this \`id\`. It never changes a ${word} that exists: use PATCH.`,
        body: { description: `The new ${word}; \`id\` may be left out`, content },
      },
      async (call) => {
        const input = requireSameId(idOf(call), await readJson(call, resource.create));
        return createdAnswer(call, await rules.create(input, callerOf(call)), collection, baseOf);
      },
    ),
  ];
}

function getOperation<Row extends Versioned, Create extends { id?: string | undefined }, Patch>(
  resource: Resource<Row, Create, Patch>,
): Operation {
  const { collection, tag, noun, rules, baseOf } = resource;
  return operation(
    {
      method: "get",
      path: `${collection}/{id}`,
      name: `get${noun}`,
      tag,
      summary: `Read a ${noun.toLowerCase()}`,
      headers: ["If-None-Match"],
      outcomes: [
        json(200, `The ${noun.toLowerCase()}`, resource.row, ["ETag"]),
        empty(304, "Not changed", ["ETag"]),
      ],
      problems: resource.problems.get,
    },
    async (call) => {
      const row = await rules.get(idOf(call));
      return resourceAnswer(call, row, baseOf(row));
    },
  );
}

function changeOperations<Row extends Versioned, Create extends { id?: string | undefined }, Patch>(
  resource: Resource<Row, Create, Patch>,
): Operation[] {
  const { collection, tag, noun, rules, baseOf, problems, words } = resource;
  const word = noun.toLowerCase();
  const common = { path: `${collection}/{id}`, tag, headers: ["If-Match", "Synthetic-Actor"] } as const;
  const preconditions: ErrorCode[] = ["precondition_failed", "precondition_required"];
  return [
    operation(
      {
        ...common,
        method: "patch",
        name: `update${noun}`,
        summary: `Change a ${word}`,
        description: words.update,
        body: {
          description: "What changes; absent members stay as they are",
          content: { "application/json": resource.patch },
        },
        outcomes: [json(200, `The ${word} as it is now`, resource.row, ["ETag"])],
        problems: [...problems.update, ...preconditions],
      },
      async (call) => {
        const [id, expected] = [idOf(call), expectedRevisions(call.request)];
        const row = await rules.update(id, await readJson(call, resource.patch), expected, callerOf(call));
        return jsonAnswer(call, row, { tag: baseOf(row) });
      },
    ),
    operation(
      {
        ...common,
        method: "delete",
        name: `delete${noun}`,
        summary: `Delete a ${word}`,
        description: words.delete,
        outcomes: [empty(204, "Deleted")],
        problems: [...problems.delete, ...preconditions],
      },
      async (call) => {
        await rules.delete(idOf(call), expectedRevisions(call.request), callerOf(call));
        return new Response(null, { status: 204 });
      },
    ),
  ];
}
