/** Kinds of query parameters. One declaration both reads a parameter and documents it. */
import { z } from "zod";
import type { Position } from "../core/append.ts";
import { isId } from "../lib/ids.ts";
import { limit } from "../limits.ts";
import { type JsonSchema, schemaOf } from "./json-schema.ts";

export type Read = { value: unknown } | { detail: string };

/** `Present` tells the types whether there is always a value. */
export interface Parameter<T, Present extends boolean> {
  /** `single` may come once; `many` collects its repetitions; `keyed` collects `name.KEY=VALUE`. */
  form: "single" | "many" | "keyed";
  /** JSON Schema of one value. */
  schema: JsonSchema;
  description: string;
  read(text: string): Read;
  /** The value when it is absent. */
  fallback?: T;
  /** Without it the request is refused. */
  required?: true;
  present?: Present;
}

export type QueryShape = Record<string, Parameter<unknown, boolean>>;

type ValueOf<P> = P extends Parameter<infer T, boolean> ? T : never;

/** What is read by a declaration: members with a default are always there. */
export type QueryOf<S extends QueryShape> = {
  [K in keyof S as S[K] extends Parameter<unknown, true> ? K : never]: ValueOf<S[K]>;
} & {
  [K in keyof S as S[K] extends Parameter<unknown, true> ? never : K]?: ValueOf<S[K]>;
};

/** A whole number between two bounds, in plain digits. */
export function whole(
  description: string,
  min: number,
  max = Number.MAX_SAFE_INTEGER,
): Parameter<number, false> {
  const bounded = max < Number.MAX_SAFE_INTEGER;
  const detail = bounded
    ? `A whole number from ${min} to ${max} is expected.`
    : `A whole number from ${min} is expected.`;
  return {
    form: "single",
    schema: { type: "integer", minimum: min, ...(bounded && { maximum: max }) },
    description,
    read: (text) => {
      const value = Number(text);
      return /^\d{1,16}$/.test(text) && value >= min && value <= max ? { value } : { detail };
    },
  };
}

/** The same parameter with a value for when it is absent. */
export function withDefault<T>(parameter: Parameter<T, false>, fallback: T): Parameter<T, true> {
  const { form, schema, description, read } = parameter;
  return { form, schema: { ...schema, default: fallback }, description, read, fallback };
}

/** The same parameter, without which the request is refused. */
export function needed<T>(parameter: Parameter<T, false>): Parameter<T, true> {
  const { form, schema, description, read } = parameter;
  return { form, schema, description, read, required: true };
}

/** `true` or `false`. */
export function flag(description: string): Parameter<boolean, false> {
  return {
    form: "single",
    schema: { type: "boolean" },
    description,
    read: (text) =>
      text === "true" || text === "false"
        ? { value: text === "true" }
        : { detail: "true or false is expected." },
  };
}

function reading(schema: z.ZodType): (text: string) => Read {
  return (text) => {
    const found = schema.safeParse(text);
    return found.success
      ? { value: found.data }
      : { detail: found.error.issues[0]?.message ?? "The value is not valid." };
  };
}

/** One value that a schema accepts. */
export function one<T>(schema: z.ZodType<T>, description: string): Parameter<T, false> {
  return { form: "single", schema: schemaOf(schema), description, read: reading(schema) };
}

/** A filter that may be repeated: any of its values. */
export function many<T>(schema: z.ZodType<T>, description: string): Parameter<T[], false> {
  return { form: "many", schema: schemaOf(schema), description, read: reading(schema) };
}

/** Filters by key, `name.KEY=VALUE`: every key, and any of the values of one key. */
export function keyed(
  schema: z.ZodType<string>,
  description: string,
): Parameter<Record<string, string[]>, false> {
  return { form: "keyed", schema: schemaOf(schema), description, read: reading(schema) };
}

const POSITION = /^(?:([0-9a-f-]{36})\.)?(\d{1,16})$/;

/** `SEQ` or `GENERATION.SEQ`; null for anything else. */
export function readPosition(text: string): Position | null {
  const [matched, generation, digits] = POSITION.exec(text) ?? [];
  const seq = Number(digits);
  if (matched === undefined || !Number.isSafeInteger(seq)) return null;
  if (generation === undefined) return { seq };
  return isId(generation) ? { generation, seq } : null;
}

/** A place in a transcript. */
export function position(description: string): Parameter<Position, false> {
  return {
    form: "single",
    schema: { type: "string", pattern: "^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\\.)?[0-9]{1,16}$" },
    description: `${description}: SEQ or GENERATION.SEQ`,
    read: (text) => {
      const value = readPosition(text);
      return value === null ? { detail: "SEQ or GENERATION.SEQ is expected." } : { value };
    },
  };
}

export const ORDER = z.enum(["asc", "desc"]);

/** What every list takes. */
export const LIST_QUERY = {
  limit: withDefault(
    whole("How many items at most", 1, limit("page_items_count")),
    limit("page_default_count"),
  ),
  cursor: one(
    z.string().min(1).max(limit("cursor_characters")),
    "`next_cursor` of the page before, with the same filters",
  ),
  count: flag("Adds `total_count`"),
};

interface PageQuery {
  limit: number;
  cursor?: string;
  count?: boolean;
}

/** The query of a list with what asks for the page in one member, apart from what selects and orders. */
export function pageOf<Query extends PageQuery>(
  query: Query,
): Omit<Query, keyof PageQuery> & { page: PageQuery } {
  const { limit, cursor, count, ...others } = query;
  return {
    ...others,
    page: { limit, ...(cursor !== undefined && { cursor }), ...(count !== undefined && { count }) },
  };
}
