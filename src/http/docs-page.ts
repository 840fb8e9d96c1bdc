/** The OpenAPI document as one page of HTML: by noun, with parameters, bodies and schemas folded away. */
import { DOCS_STYLE } from "./docs-style.ts";
import { type Child, el, type Html, inline, literal } from "./html.ts";
import type { JsonSchema } from "./json-schema.ts";
import type { OpenApiDocument } from "./openapi.ts";

function isObject(value: unknown): value is JsonSchema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const listOf = (value: unknown): JsonSchema[] => (Array.isArray(value) ? value.filter(isObject) : []);

function membersOf(value: unknown): [string, JsonSchema][] {
  if (!isObject(value)) return [];
  return Object.entries(value).filter((member): member is [string, JsonSchema] => isObject(member[1]));
}

const words = (value: unknown): Child => inline(typeof value === "string" ? value : "");
const code = (value: unknown): Html => el("code", {}, String(value));
const lastPart = (reference: string): string => reference.slice(reference.lastIndexOf("/") + 1);

function paragraphs(value: unknown): Child {
  return typeof value === "string" ? value.split("\n\n").map((part) => el("p", {}, inline(part))) : null;
}

function table(heads: readonly string[], rows: readonly Html[]): Html {
  const head = el("tr", {}, ...heads.map((name) => el("th", { scope: "col" }, name)));
  return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, head), el("tbody", {}, rows)));
}

function row(cells: readonly Child[], id?: string): Html {
  return el("tr", id === undefined ? {} : { id }, ...cells.map((cell) => el("td", {}, cell)));
}

function folded(title: Child, open: boolean, ...content: Child[]): Html {
  return el("details", { open }, el("summary", {}, title), ...content);
}

/** The bounds of a schema in a few words. */
function boundsOf({ minimum, maximum, minLength, maxLength, maxItems }: JsonSchema): string[] {
  const upper = Number(maximum ?? Number.MAX_SAFE_INTEGER);
  const bounds: string[] = [];
  if (typeof minimum === "number")
    bounds.push(`${minimum} ${upper < Number.MAX_SAFE_INTEGER ? `to ${upper}` : "or more"}`);
  if (typeof minLength === "number" && minLength > 0) bounds.push("not empty");
  if (typeof maxLength === "number") bounds.push(`at most ${maxLength} characters`);
  if (typeof maxItems === "number") bounds.push(`at most ${maxItems} of them`);
  return bounds;
}

/** A schema in a few words: its name, its choices, or its type and bounds. */
function typeOf(schema: unknown): Child {
  if (!isObject(schema)) return "any";
  const { $ref, type, items, anyOf, enum: choices, additionalProperties } = schema;
  if (typeof $ref === "string") return el("a", { href: `#schema-${lastPart($ref)}` }, lastPart($ref));
  if (Array.isArray(anyOf)) return anyOf.map((choice, index) => [index > 0 ? " or " : null, typeOf(choice)]);
  if (Array.isArray(choices)) return choices.map((choice) => [code(choice), " "]);
  const named = Array.isArray(type) ? type.join(" or ") : typeof type === "string" ? type : "any";
  const bounds = boundsOf(schema).map((bound) => `, ${bound}`);
  if (type === "array") return ["array of ", typeOf(items), bounds];
  return isObject(additionalProperties) ? ["map to ", typeOf(additionalProperties)] : [named, bounds];
}

function parameterRow({ name, in: place, required, description, schema }: JsonSchema): Html {
  const fallback =
    isObject(schema) && schema["default"] !== undefined ? [" Default ", code(schema["default"]), "."] : null;
  const mark = required === true ? " *" : null;
  return row([[code(name), mark], String(place), typeOf(schema), [words(description), ".", fallback]]);
}

function contentList(content: unknown): Child {
  return membersOf(content).map(([type, { schema }]) => {
    const events = isObject(schema) ? membersOf(schema["x-events"]) : [];
    const named = events.map(([name, data]) => el("div", {}, "event ", code(name), " ", typeOf(data)));
    return [el("div", {}, code(type), " ", events.length === 0 ? typeOf(schema) : null), named];
  });
}

/** Rows of responses; those that are shared are looked up. */
function responseRows(responses: unknown, shared: JsonSchema): Html[] {
  return membersOf(responses).map(([status, given]) => {
    const { $ref } = given;
    const found = typeof $ref === "string" ? shared[lastPart($ref)] : given;
    const { description, content } = isObject(found) ? found : given;
    return row([status, words(description), contentList(content)]);
  });
}

const methodMark = (method: string): Html => el("span", { class: `method ${method}` }, method.toUpperCase());

function operationSection({ path, method, operation }: Route, shared: JsonSchema): Html {
  const { operationId, summary, description, parameters, requestBody, responses, security } = operation;
  const given = listOf(parameters);
  const count = `${given.length} ${given.length === 1 ? "parameter" : "parameters"}`;
  return el(
    "section",
    { id: String(operationId) },
    el("div", { class: "route" }, methodMark(method), code(path)),
    el("h3", {}, words(summary)),
    paragraphs(description),
    Array.isArray(security) ? el("p", { class: "soft" }, "Needs no token.") : null,
    given.length === 0
      ? null
      : folded(count, false, table(["Name", "In", "Type", ""], given.map(parameterRow))),
    isObject(requestBody)
      ? folded(["Body: ", words(requestBody["description"])], true, contentList(requestBody["content"]))
      : null,
    folded("Responses", false, table(["Status", "", "Body"], responseRows(responses, shared))),
  );
}

function schemaDetails(name: string, schema: JsonSchema): Html {
  const required: unknown[] = Array.isArray(schema["required"]) ? schema["required"] : [];
  const rows = membersOf(schema["properties"]).map(([member, own]) =>
    row([[code(member), required.includes(member) ? " *" : null], typeOf(own), words(own["description"])]),
  );
  return el(
    "details",
    { class: "schema", id: `schema-${name}`, open: true },
    el("summary", {}, name),
    el("p", { class: "soft" }, words(schema["description"])),
    rows.length === 0 ? el("p", {}, typeOf(schema)) : table(["Member", "Type", ""], rows),
  );
}

function errorRow([code_name, { status, title, retryable, hint }]: [string, JsonSchema]): Html {
  const meaning = [words(title), ". ", el("span", { class: "soft" }, words(hint))];
  return row(
    [code(code_name), String(status), meaning, retryable === true ? "retry" : ""],
    `error-${code_name}`,
  );
}

function limitRow([name, { value, unit, why }]: [string, JsonSchema]): Html {
  return row([code(name), `${String(value)} ${String(unit)}`, words(why)]);
}

interface Route {
  path: string;
  method: string;
  operation: JsonSchema;
}

function navigation(tags: OpenApiDocument["tags"], routesOf: (tag: string) => Route[]): Html {
  const heading = (name: string): Html => el("strong", {}, el("a", { href: `#${name}` }, name));
  const link = ({ method, operation: { operationId, summary } }: Route): Html =>
    el("li", {}, methodMark(method), el("a", { href: `#${String(operationId)}` }, words(summary)));
  const nouns = tags.map(({ name }) => [heading(name), el("ul", {}, routesOf(name).map(link))]);
  return el(
    "nav",
    { "aria-label": "Operations" },
    nouns,
    heading("schemas"),
    heading("errors"),
    heading("limits"),
  );
}

/**
 * The page. It has no scripts, loads nothing, and every `type` of a problem document leads to its row here.
 */
export function docsPage(document: OpenApiDocument): string {
  const { info, tags, paths, components } = document;
  const routes = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]): Route => ({ path, method, operation })),
  );
  const routesOf = (tag: string): Route[] =>
    routes.filter(({ operation: { tags: own } }) => Array.isArray(own) && own.includes(tag));
  const shared = components["responses"] ?? {};
  const nouns = tags.map(({ name, description }) => [
    el("h2", { id: name }, name),
    el("p", { class: "soft" }, words(description), "."),
    routesOf(name).map((route) => operationSection(route, shared)),
  ]);
  const main = el(
    "main",
    {},
    el("h1", {}, info.title, " ", el("span", { class: "soft" }, info.version)),
    paragraphs(info.description),
    el("p", {}, el("a", { href: "/openapi.json" }, "OpenAPI 3.1 document")),
    nouns,
    el("h2", { id: "schemas" }, "Schemas"),
    el("p", { class: "soft" }, "Members with * are always there."),
    membersOf(components["schemas"]).map(([name, schema]) => schemaDetails(name, schema)),
    el("h2", { id: "errors" }, "Errors"),
    table(["Code", "Status", "", ""], membersOf(document["x-errors"]).map(errorRow)),
    el("h2", { id: "limits" }, "Limits"),
    table(["Limit", "", ""], membersOf(document["x-limits"]).map(limitRow)),
  );
  const head = [
    literal('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
    el("title", {}, `${info.title} API`),
    el("style", {}, literal(DOCS_STYLE)),
  ];
  const body = el("body", {}, navigation(tags, routesOf), main);
  return `<!doctype html>${el("html", { lang: "en" }, el("head", {}, head), body).markup}`;
}
