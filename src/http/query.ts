/**
 * Reading a query by its declaration. A parameter that is not declared, one that is repeated without being a
 * filter, and a value that cannot be read are refused by name.
 */
import { type FieldError, invalid, Problem } from "../errors.ts";
import { limit } from "../limits.ts";
import type { Parameter, QueryOf, QueryShape } from "./parameter.ts";

/** Errors: `invalid_request` when the text is not percent-encoded UTF-8. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    throw invalid("", "The query is not percent-encoded UTF-8.");
  }
}

function pairsOf(search: string): [name: string, value: string][] {
  return search
    .split("&")
    .filter((pair) => pair !== "")
    .map((pair) => {
      const at = pair.indexOf("=");
      return at === -1 ? [decoded(pair), ""] : [decoded(pair.slice(0, at)), decoded(pair.slice(at + 1))];
    });
}

interface Place {
  name: string;
  parameter: Parameter<unknown, boolean>;
  /** Behind the dot of a keyed parameter. */
  key?: string;
}

function placeOf(shape: QueryShape, name: string): Place | null {
  const own = Object.hasOwn(shape, name) ? shape[name] : undefined;
  if (own !== undefined && own.form !== "keyed") return { name, parameter: own };
  const dot = name.indexOf(".");
  const parent = name.slice(0, dot);
  const keyed = dot > 0 && Object.hasOwn(shape, parent) ? shape[parent] : undefined;
  return keyed?.form === "keyed" ? { name: parent, parameter: keyed, key: name.slice(dot + 1) } : null;
}

type Values = Record<string, unknown>;

/** Adds to a list; gives what is wrong, or null. */
function push(values: Values, name: string, value: unknown): string | null {
  const list = (values[name] ??= []) as unknown[];
  if (list.length >= limit("filter_values_count"))
    return `At most ${limit("filter_values_count")} values may be given.`;
  list.push(value);
  return null;
}

/** Adds one pair to what was read; gives what is wrong with it, or null. */
function addPair(values: Values, place: Place | null, text: string): string | null {
  if (place === null) return "This parameter is not known here.";
  const { name, parameter, key } = place;
  const read = parameter.read(text);
  if ("detail" in read) return read.detail;
  if (parameter.form === "many") return push(values, name, read.value);
  if (parameter.form === "single") {
    if (Object.hasOwn(values, name)) return "This parameter may be given once.";
    values[name] = read.value;
    return null;
  }
  if (key === undefined || key === "" || Array.from(key).length > limit("metadata_key_characters"))
    return "A key is expected behind the dot.";
  // Without a prototype, so that a key like __proto__ is a key.
  const map = (values[name] ??= Object.create(null)) as Values;
  if (!Object.hasOwn(map, key) && Object.keys(map).length >= limit("metadata_keys_count"))
    return `At most ${limit("metadata_keys_count")} keys may be given.`;
  return push(map, key, read.value);
}

/**
 * The query as declared, defaults filled in. Errors: `invalid_request` that names every parameter that is
 * wrong, once.
 */
export function readQuery<S extends QueryShape>(shape: S, search: string): QueryOf<S> {
  const values: Values = {};
  const errors = new Map<string, FieldError>();
  for (const [name, text] of search === "" ? [] : pairsOf(search)) {
    const detail = addPair(values, placeOf(shape, name), text);
    if (detail !== null && !errors.has(name)) errors.set(name, { pointer: name, detail });
  }
  for (const [name, { required }] of Object.entries(shape)) {
    if (required === true && values[name] === undefined && !errors.has(name))
      errors.set(name, { pointer: name, detail: "This parameter is needed." });
  }
  const [first] = errors.values();
  if (first !== undefined) {
    throw new Problem(
      "invalid_request",
      `${first.pointer.slice(0, limit("name_characters"))}: ${first.detail}`,
      { errors: [...errors.values()].slice(0, limit("named_errors_count")) },
    );
  }
  for (const [name, { fallback }] of Object.entries(shape)) {
    if (fallback !== undefined && values[name] === undefined) values[name] = fallback;
  }
  return values as QueryOf<S>;
}
