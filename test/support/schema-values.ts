/**
 * Values that a JSON Schema describes, and values that only look like it. Covers what our own document uses: it is a
 * source of requests, not a validator, so a value that misses the schema now and then does no harm.
 */
import type { Random } from "./campaign.ts";

export type Schema = Record<string, unknown>;

export interface Values {
  random: Random;
  /** The document that references point into. */
  document: Schema;
  /** A value for a member by its name, where the name says more than the schema; undefined when it does not. */
  named(name: string): unknown;
}

const WORDS = [
  "alpha",
  "Ärger",
  "e\u0301",
  "日本",
  "😀 party",
  "a b",
  "task",
  "codex",
  "100% _",
  "x".repeat(60),
  "'; --",
  "<b>",
] as const;
/** Texts that a careless server trips over. */
export const HOSTILE_TEXTS = [
  "",
  " ",
  "\0",
  "\u0001",
  "a\0b",
  "\ud800",
  "..",
  "../../etc/passwd",
  "%00",
  "{{7*7}}",
  "${x}",
  "\u202e",
  "\r\nx: y",
  "'\"`;--",
  "x".repeat(5_000),
  "é".repeat(2_000),
  "null",
  "NaN",
  "-1",
  "__proto__",
  "constructor",
] as const;
/** Spelled out, because JSON.stringify would not write them. */
const HOSTILE_NUMBERS = [
  "-1",
  "0",
  "1.5",
  "1e400",
  "-1e400",
  "9007199254740993",
  "18446744073709551616",
  "1e308",
  "-0",
  "0.1e-400",
] as const;

/** JSON text that stands for itself. */
export class Raw {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** JSON in which Raw is written as it is. */
export function toText(value: unknown): string {
  if (value instanceof Raw) return value.text;
  if (Array.isArray(value)) return `[${value.map(toText).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  return `{${Object.entries(value)
    .map(([name, member]) => `${JSON.stringify(name)}:${toText(member)}`)
    .join(",")}}`;
}

function resolve(values: Values, schema: Schema): Schema {
  const reference = schema["$ref"];
  if (typeof reference !== "string") return schema;
  const found = reference
    .slice(2)
    .split("/")
    .reduce<unknown>(
      (at, name) => (at as Schema | undefined)?.[name.replaceAll("~1", "/").replaceAll("~0", "~")],
      values.document,
    );
  return resolve(values, (found ?? {}) as Schema);
}

function sampleText({ random }: Values, schema: Schema): string {
  const min = Number(schema["minLength"] ?? 0);
  const max = Number(schema["maxLength"] ?? 1_000);
  const pattern = String(schema["pattern"] ?? "");
  if (pattern.includes("{12}") || schema["format"] === "uuid") return crypto.randomUUID();
  if (pattern.startsWith("^[a-z0-9]")) return random.pick(["task", "bug", "a.b_c-1", "x".repeat(64)]);
  if (pattern.includes("{64}")) return "0".repeat(64);
  const text = random.chance(0.05) ? "x".repeat(Math.min(max, 4_000)) : random.pick(WORDS);
  return text.slice(0, max).toWellFormed().padEnd(min, "x");
}

function sampleNumber({ random }: Values, schema: Schema): number {
  const min = Number(schema["minimum"] ?? 0);
  const max = Math.min(Number(schema["maximum"] ?? Number.MAX_SAFE_INTEGER), Number.MAX_SAFE_INTEGER);
  if (random.chance(0.1)) return random.pick([min, max]);
  return Math.min(max, min + random.int(random.chance(0.5) ? 20 : 2 ** 31));
}

/** Any JSON value, not too deep. */
export function anyValue(random: Random, depth = 0): unknown {
  const roll = random.int(depth > 3 ? 5 : 7);
  if (roll === 0) return null;
  if (roll === 1) return random.chance(0.5);
  if (roll === 2) return random.int(1_000_000) / (random.chance(0.5) ? 1 : 7);
  if (roll === 3) return random.pick(WORDS);
  if (roll === 4)
    return new Raw(
      random.pick(["1.0", "1e2", '"\\u00e9"', '{ "b" : 1 }', "[\n1\n]", "12345678901234567890"]),
    );
  const count = random.int(4);
  if (roll === 5) return Array.from({ length: count }, () => anyValue(random, depth + 1));
  return Object.fromEntries(
    Array.from({ length: count }, (_, index) => [
      `${random.pick(WORDS)}${index}`,
      anyValue(random, depth + 1),
    ]),
  );
}

function sampleObject(values: Values, schema: Schema): Record<string, unknown> {
  const { random } = values;
  const required = new Set((schema["required"] ?? []) as string[]);
  const out: Record<string, unknown> = {};
  for (const [name, member] of Object.entries((schema["properties"] ?? {}) as Record<string, Schema>)) {
    if (!required.has(name) && !random.chance(0.4)) continue;
    const named = random.chance(0.9) ? values.named(name) : undefined;
    out[name] = named === undefined ? sample(values, member) : named;
  }
  const more = schema["additionalProperties"];
  if (typeof more === "object" && more !== null) {
    for (let count = random.int(4); count > 0; count -= 1)
      out[`${random.pick(["team", "ticket", "é", "a.b", "x y"])}${random.int(5)}`] = sample(
        values,
        more as Schema,
      );
  }
  return out;
}

/** A value of the schema. */
export function sample(values: Values, given: Schema): unknown {
  const { random } = values;
  const schema = resolve(values, given);
  if (schema["const"] !== undefined) return schema["const"];
  if (Array.isArray(schema["enum"])) return random.pick(schema["enum"] as string[]);
  const choices = (schema["anyOf"] ?? schema["oneOf"]) as Schema[] | undefined;
  if (choices !== undefined) return sample(values, random.pick(choices));
  const [type] = [schema["type"]].flat() as (string | undefined)[];
  if (type === "string") return sampleText(values, schema);
  if (type === "integer" || type === "number") return sampleNumber(values, schema);
  if (type === "boolean") return random.chance(0.5);
  if (type === "null") return null;
  if (type === "array") {
    const min = Number(schema["minItems"] ?? 0);
    const count = min + random.int(Math.min(4, Number(schema["maxItems"] ?? 4) - min) + 1);
    const items = Array.from({ length: count }, () => sample(values, (schema["items"] ?? {}) as Schema));
    return items.filter((item, index) => items.indexOf(item) === index);
  }
  if (type === "object" || schema["properties"] !== undefined) return sampleObject(values, schema);
  return anyValue(random);
}

/** Something that is no value of any schema of ours, or only by luck. */
export function hostileValue(random: Random): unknown {
  const roll = random.int(9);
  if (roll < 2) return random.pick(HOSTILE_TEXTS);
  if (roll < 4) return new Raw(random.pick(HOSTILE_NUMBERS));
  if (roll === 4) return new Raw('"\\ud800"');
  if (roll === 5) return new Raw(`${"[".repeat(3_000)}${"]".repeat(3_000)}`);
  if (roll === 6) return new Raw('{"__proto__":{"polluted":true},"constructor":{"prototype":1}}');
  return anyValue(random);
}

/** The same body with one place changed: another value, one member more, one less. */
export function spoil(random: Random, value: unknown): unknown {
  if (typeof value !== "object" || value === null || value instanceof Raw) return hostileValue(random);
  if (Array.isArray(value)) {
    if (value.length === 0 || random.chance(0.2))
      return random.chance(0.5) ? [...value, hostileValue(random)] : hostileValue(random);
    const at = random.int(value.length);
    return value.map((item, index) => (index === at ? spoil(random, item) : item));
  }
  const entries = Object.entries(value);
  const roll = random.int(10);
  if (entries.length === 0 || roll < 2)
    return {
      ...value,
      [random.pick([
        "unknown",
        "__proto__x",
        "revision",
        "deleted_at_ms",
        "",
        "é",
        "a/b~c",
        "x".repeat(3_000),
      ])]: hostileValue(random),
    };
  const [name] = random.pick(entries);
  if (roll < 4) return Object.fromEntries(entries.filter(([other]) => other !== name));
  return Object.fromEntries(
    entries.map(([other, member]) => [other, other === name ? spoil(random, member) : member]),
  );
}
