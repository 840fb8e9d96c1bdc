/** The OpenAPI document as one page of HTML: by noun, with parameters, bodies and schemas folded away. */
import { DOCS_STYLE } from "./docs-style.ts";
import type { JsonSchema } from "./json-schema.ts";
import type { OpenApiDocument } from "./openapi.ts";

/** Markup of our own. Text becomes markup only through `escaped`, so that no description can break out. */
function escaped(text: unknown): string {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

/** Text with `code` between backticks. */
function inline(text: unknown): string {
  return escaped(text).replaceAll(/`([^`]+)`/g, "<code>$1</code>");
}

const paragraphs = (text: unknown): string => String(text).split("\n\n").map((part) => `<p>${inline(part)}</p>`).join("");

const isObject = (value: unknown): value is JsonSchema => typeof value === "object" && value !== null && !Array.isArray(value);
const listOf = (value: unknown): JsonSchema[] => (Array.isArray(value) ? value.filter(isObject) : []);
const membersOf = (value: unknown): [string, JsonSchema][] => (isObject(value) ? Object.entries(value).filter((member): member is [string, JsonSchema] => isObject(member[1])) : []);

function table(heads: readonly string[], rows: readonly string[]): string {
  return `<div class="scroll"><table><thead><tr>${heads.map((head) => `<th scope="col">${head}</th>`).join("")}</tr></thead><tbody>${rows.join("")}</tbody></table></div>`;
}

/** A schema in a few words: its type or its name, and its bounds. */
function typeOf(schema: unknown): string {
  if (!isObject(schema)) return "any";
  const { $ref, type, items, anyOf, minimum, maximum, minLength, maxLength, maxItems, additionalProperties } = schema;
  const choices = schema["enum"];
  if (typeof $ref === "string") {
    const name = escaped($ref.split("/").at(-1));
    return `<a href="#schema-${name}">${name}</a>`;
  }
  if (Array.isArray(anyOf)) return anyOf.map(typeOf).join(" or ");
  if (Array.isArray(choices)) return choices.map((choice) => `<code>${escaped(choice)}</code>`).join(" ");
  const bounds = [
    minimum === undefined ? "" : `${escaped(minimum)} ${maximum === undefined || Number(maximum) >= Number.MAX_SAFE_INTEGER ? "or more" : `to ${escaped(maximum)}`}`,
    Number(minLength ?? 0) > 0 ? "not empty" : "",
    maxLength === undefined ? "" : `at most ${escaped(maxLength)} characters`,
    maxItems === undefined ? "" : `at most ${escaped(maxItems)} of them`,
  ].filter((bound) => bound !== "");
  const named = type === "array" ? `array of ${typeOf(items)}` : isObject(additionalProperties) ? `map to ${typeOf(additionalProperties)}` : escaped(Array.isArray(type) ? type.join(" or ") : (type ?? "any"));
  return bounds.length === 0 ? named : `${named}, ${bounds.join(", ")}`;
}

function parameterTable(parameters: readonly JsonSchema[]): string {
  const rows = parameters.map(({ name, in: place, required, description, schema }) => {
    const fallback = isObject(schema) && schema["default"] !== undefined ? ` Default <code>${escaped(schema["default"])}</code>.` : "";
    return `<tr><td><code>${escaped(name)}</code>${required === true ? " *" : ""}</td><td>${escaped(place)}</td><td>${typeOf(schema)}</td><td>${inline(description ?? "")}.${fallback}</td></tr>`;
  });
  return table(["Name", "In", "Type", ""], rows);
}

function contentList(content: unknown): string {
  return membersOf(content).map(([type, { schema }]) => `<code>${escaped(type)}</code> ${typeOf(schema)}`).join("<br>");
}

function responseRows(responses: unknown, shared: unknown): string[] {
  return membersOf(responses).map(([status, given]) => {
    const name = typeof given["$ref"] === "string" ? given["$ref"].split("/").at(-1) : undefined;
    const { description, content } = membersOf(shared).find(([shared_name]) => shared_name === name)?.[1] ?? given;
    return `<tr><td>${escaped(status)}</td><td>${inline(description)}</td><td>${contentList(content)}</td></tr>`;
  });
}

function operationSection(path: string, method: string, operation: JsonSchema, shared: unknown): string {
  const { operationId, summary, description, parameters, requestBody, responses, security } = operation;
  const given = listOf(parameters);
  return [
    `<section id="${escaped(operationId)}"><div class="route"><span class="method ${method}">${method.toUpperCase()}</span><code>${escaped(path)}</code></div>`,
    `<h3>${inline(summary)}</h3>`,
    description === undefined ? "" : paragraphs(description),
    Array.isArray(security) && security.length === 0 ? '<p class="soft">Needs no token.</p>' : "",
    given.length === 0 ? "" : `<details><summary>${given.length} ${given.length === 1 ? "parameter" : "parameters"}</summary>${parameterTable(given)}</details>`,
    isObject(requestBody) ? `<details open><summary>Body: ${inline(requestBody["description"])}</summary><p>${contentList(requestBody["content"])}</p></details>` : "",
    `<details><summary>Responses</summary>${table(["Status", "", "Body"], responseRows(responses, shared))}</details></section>`,
  ].join("");
}

function schemaDetails(name: string, schema: JsonSchema): string {
  const required = Array.isArray(schema["required"]) ? schema["required"] : [];
  const rows = membersOf(schema["properties"]).map(
    ([member, own]) => `<tr><td><code>${escaped(member)}</code>${required.includes(member) ? " *" : ""}</td><td>${typeOf(own)}</td><td>${inline(own["description"] ?? "")}</td></tr>`,
  );
  const body = rows.length === 0 ? `<p>${typeOf(schema)}</p>` : table(["Member", "Type", ""], rows);
  return `<details class="schema" id="schema-${escaped(name)}" open><summary>${escaped(name)}</summary><p class="soft">${inline(schema["description"] ?? "")}</p>${body}</details>`;
}

function limitsTable(limits: unknown): string {
  return table(["Limit", "", ""], membersOf(limits).map(([name, { value, unit, why }]) => `<tr><td><code>${escaped(name)}</code></td><td>${escaped(value)} ${escaped(unit)}</td><td>${inline(why)}</td></tr>`));
}

function errorsTable(errors: unknown): string {
  const rows = membersOf(errors).map(
    ([code, { status, title, retryable, hint }]) => `<tr id="error-${escaped(code)}"><td><code>${escaped(code)}</code></td><td>${escaped(status)}</td><td>${inline(title)}. <span class="soft">${inline(hint)}</span></td><td>${retryable === true ? "retry" : ""}</td></tr>`,
  );
  return table(["Code", "Status", "", ""], rows);
}

/** The page. It has no scripts, loads nothing, and every `type` of a problem document leads to its row here. */
export function docsPage(document: OpenApiDocument): string {
  const { info, tags, paths, components } = document;
  const operations = Object.entries(paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => ({ path, method, operation })));
  const of = (tag: string) => operations.filter(({ operation }) => Array.isArray(operation["tags"]) && operation["tags"].includes(tag));
  const links = tags.map(
    ({ name }) => `<strong><a href="#${name}">${name}</a></strong><ul>${of(name).map(({ method, operation }) => `<li><span class="method ${method}">${method.toUpperCase()}</span><a href="#${escaped(operation["operationId"])}">${inline(operation["summary"])}</a></li>`).join("")}</ul>`,
  );
  const sections = tags.map(({ name, description }) => `<h2 id="${name}">${name}</h2><p class="soft">${inline(description)}.</p>${of(name).map(({ path, method, operation }) => operationSection(path, method, operation, components["responses"])).join("")}`);
  return [
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
    `<title>${escaped(info.title)} API</title><style>${DOCS_STYLE}</style></head><body>`,
    `<nav aria-label="Operations">${links.join("")}${["schemas", "errors", "limits"].map((name) => `<strong><a href="#${name}">${name}</a></strong><ul></ul>`).join("")}</nav><main>`,
    `<h1>${escaped(info.title)} <span class="soft">${escaped(info.version)}</span></h1>${paragraphs(info.description)}<p><a href="/openapi.json">OpenAPI 3.1 document</a></p>`,
    ...sections,
    `<h2 id="schemas">Schemas</h2><p class="soft">Members with * are always there.</p>${membersOf(components["schemas"]).map(([name, schema]) => schemaDetails(name, schema)).join("")}`,
    `<h2 id="errors">Errors</h2>${errorsTable(document["x-errors"])}<h2 id="limits">Limits</h2>${limitsTable(document["x-limits"])}</main></body></html>`,
  ].join("\n");
}
