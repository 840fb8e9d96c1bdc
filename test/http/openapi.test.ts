import { describe, expect, test } from "bun:test";
import { Validator } from "@seriousme/openapi-schema-validator";
import Ajv2020 from "ajv/dist/2020";
import addFormats from "ajv-formats";
import { CLI_ONLY_CODES, ERRORS } from "../../src/errors.ts";
import { LIMITS } from "../../src/limits.ts";
import { append, newSession, openDoor, type Row } from "./open-door.ts";

interface OperationJson {
  operationId: string;
  parameters?: { name: string; in: string; required?: boolean }[];
  responses: Record<string, { $ref?: string }>;
  security?: unknown[];
}

interface DocumentJson {
  paths: Record<string, Record<string, OperationJson>>;
  components: { schemas: Record<string, unknown> };
  "x-limits": unknown;
  "x-errors": Record<string, unknown>;
}

const open = openDoor();
const document = await open.json<DocumentJson>(200, "GET", "/openapi.json");
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
);

describe("the OpenAPI document", () => {
  test("is valid OpenAPI 3.1, and all its references lead somewhere", async () => {
    const validator = new Validator();
    const outcome = await validator.validate({ ...structuredClone(document) });
    expect(outcome.errors ?? []).toEqual([]);
    expect(outcome.valid).toBe(true);
    expect(validator.version).toBe("3.1");
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map(
      ([, reference = ""]) => reference,
    );
    expect(references.length).toBeGreaterThan(100);
    for (const reference of new Set(references)) {
      const found = reference
        .slice(2)
        .split("/")
        .reduce<unknown>((at, name) => (at as Record<string, unknown> | undefined)?.[name], document);
      expect({ reference, found: found !== undefined }).toEqual({ reference, found: true });
    }
  });

  test("has every route that answers, and no other", () => {
    const routes = open.door.routes.map(
      ({ method, path }) => `${method} ${path.replaceAll(/:(\w+)/g, "{$1}")}`,
    );
    expect(operations.map(({ method, path }) => `${method.toUpperCase()} ${path}`).toSorted()).toEqual(
      routes.toSorted(),
    );
  });

  test("names every operation once, and every parameter of a path", () => {
    const names = operations.map(({ operation }) => operation.operationId);
    expect(new Set(names).size).toBe(names.length);
    for (const { path, operation } of operations) {
      const in_path = (operation.parameters ?? [])
        .filter((parameter) => parameter.in === "path")
        .map((parameter) => parameter.name);
      expect(in_path).toEqual([...path.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => name));
    }
  });

  test("says which operations need no token", async () => {
    for (const { path, method, operation } of operations) {
      const answer = await open.call(method.toUpperCase(), path, { headers: { authorization: undefined } });
      expect({ path, method, open: Array.isArray(operation.security) }).toEqual({
        path,
        method,
        open: answer.status !== 401,
      });
    }
  });

  test("has every limit and every error code that HTTP can give", () => {
    expect(document["x-limits"]).toEqual(LIMITS as unknown);
    expect(Object.keys(document["x-errors"])).toEqual(
      Object.keys(ERRORS).filter((code) => !(CLI_ONLY_CODES as string[]).includes(code)),
    );
  });

  test("names the data of every event of a tail", () => {
    for (const name of ["TailPosition", "Problem", "Entry"])
      expect(document.components.schemas).toHaveProperty(name);
  });

  test("documents If-Match as required exactly where it is", () => {
    for (const { path, method, operation } of operations) {
      const header = (operation.parameters ?? []).find((parameter) => parameter.name === "If-Match");
      const edits = method === "delete" || (method === "patch" && !path.endsWith("/content"));
      expect(header?.required === true).toBe(edits);
    }
  });
});

describe("what is answered", () => {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  addFormats(ajv);
  ajv.addSchema({ $id: "doc", ...document });
  const schemaFaults = (pointer: string, value: unknown): unknown => {
    const validate = ajv.getSchema(`doc#${pointer}`) ?? ajv.compile({ $ref: `doc#${pointer}` });
    return validate(value) ? null : validate.errors;
  };
  const responsePointer = (path: string, method: string, status: number): string => {
    const response = document.paths[path]?.[method]?.responses[String(status)];
    if (response === undefined) throw new Error(`${method} ${path} does not document ${status}`);
    const escape = (name: string): string =>
      encodeURIComponent(name.replaceAll("~", "~0").replaceAll("/", "~1"));
    const own = `/paths/${escape(path)}/${method}/responses/${status}`;
    const type = status >= 400 && path !== "/readyz" ? "application/problem+json" : "application/json";
    return `${response.$ref === undefined ? own : response.$ref.slice(1)}/content/${escape(type)}/schema`;
  };

  test("is what is documented", async () => {
    const { construct, session, path } = await newSession(open);
    await append(open, path, [1, { a: [] }, "x".repeat(300_000)]);
    const workspace = await open.json<Row>(201, "POST", "/v1/workspaces", {
      json: { name: "w", metadata: { a: "b" } },
    });
    const any = { "if-match": "*" };
    const entries = `${path}/entries`;
    const cases: [template: string, method: string, path: string, status: number, sending?: object][] = [
      ["/v1/workspaces", "post", "/v1/workspaces", 409, { json: { name: "w" } }],
      ["/v1/workspaces", "get", "/v1/workspaces?count=true", 200],
      [
        "/v1/workspaces/{id}",
        "put",
        "/v1/workspaces/01940000-0000-7000-8000-00000000000b",
        201,
        { json: { name: "put" } },
      ],
      ["/v1/workspaces/{id}", "get", `/v1/workspaces/${workspace.id}`, 200],
      ["/v1/workspaces/{id}", "patch", `/v1/workspaces/${workspace.id}`, 428, { json: {} }],
      [
        "/v1/constructs",
        "post",
        "/v1/constructs",
        201,
        { json: { title: "t", agent: "a", metadata: { k: "v" } } },
      ],
      ["/v1/constructs", "post", "/v1/constructs", 422, { json: { nothing: 1 } }],
      ["/v1/constructs", "post", "/v1/constructs", 415, { body: "x" }],
      ["/v1/constructs", "get", "/v1/constructs?limit=1&count=true", 200],
      ["/v1/constructs/{id}", "get", `/v1/constructs/${construct.id}`, 200],
      ["/v1/constructs/{id}", "get", "/v1/constructs/x", 422],
      [
        "/v1/constructs/{id}",
        "patch",
        `/v1/constructs/${construct.id}`,
        200,
        { json: { status: "active" }, headers: any },
      ],
      [
        "/v1/constructs/{id}",
        "patch",
        `/v1/constructs/${construct.id}`,
        412,
        { json: {}, headers: { "if-match": '"r9"' } },
      ],
      ["/v1/constructs/{id}/statuses", "get", `/v1/constructs/${construct.id}/statuses`, 200],
      [
        "/v1/sessions",
        "post",
        "/v1/sessions",
        201,
        { json: { construct_id: construct.id, parent_id: session.id, ended_at_ms: 5 } },
      ],
      ["/v1/sessions", "get", "/v1/sessions", 200],
      ["/v1/sessions/{id}", "get", path, 200],
      [
        "/v1/sessions/{id}/entries",
        "post",
        `${entries}?after=3`,
        201,
        { json: { entries: [{ kind: "note", key: "k", body: null }] } },
      ],
      [
        "/v1/sessions/{id}/entries",
        "post",
        `${entries}?after=3`,
        200,
        { json: { entries: [{ kind: "note", key: "k", body: null }] } },
      ],
      [
        "/v1/sessions/{id}/entries",
        "post",
        `${entries}?after=1`,
        409,
        { json: { entries: [{ kind: "note", body: 1 }] } },
      ],
      ["/v1/sessions/{id}/entries", "get", entries, 200],
      ["/v1/sessions/{id}/entries/{seq}", "get", `${entries}/4`, 200],
      ["/v1/sessions/{id}/entries/{seq}", "get", `${entries}/5`, 404],
      ["/v1/sessions/{id}/undelete", "post", `${path}/undelete`, 200],
      ["/v1/constructs/{id}/undelete", "post", `/v1/constructs/${construct.id}/undelete`, 200],
      ["/healthz", "get", "/healthz", 200],
      ["/readyz", "get", "/readyz", 200],
      ["/version", "get", "/version", 200],
      ["/openapi.json", "get", "/openapi.json", 200],
    ];
    for (const [template, method, target, status, sending] of cases) {
      const answer = await open.call(method.toUpperCase(), target, sending);
      const body: unknown = await answer.json();
      expect({
        target,
        status: answer.status,
        faults: schemaFaults(responsePointer(template, method, status), body),
      }).toEqual({ target, status, faults: null });
    }
  });

  test("null is allowed where it is given, and a made-up member is not sent", () => {
    expect(schemaFaults("/components/schemas/Session/properties/ended_at_ms", null)).toBeNull();
    expect(schemaFaults("/components/schemas/ConstructCreate", { title: "x", nothing: 1 })).not.toBeNull();
    expect(schemaFaults("/components/schemas/EntryCreate", { kind: "note" })).not.toBeNull();
  });
});

describe("the page", () => {
  test("has every operation, schema and error, and loads nothing", async () => {
    const answer = await open.call("GET", "/docs", { headers: { authorization: undefined } });
    const html = await answer.text();
    expect(answer.headers.get("content-type")).toBe("text/html; charset=utf-8");
    expect(answer.headers.get("content-security-policy")).toStartWith(
      "default-src 'none'; style-src 'unsafe-inline'",
    );
    expect(answer.headers.get("x-content-type-options")).toBe("nosniff");
    for (const { operation } of operations) expect(html).toContain(`id="${operation.operationId}"`);
    for (const name of Object.keys(document.components.schemas))
      expect(html).toContain(`id="schema-${name}"`);
    for (const code of Object.keys(document["x-errors"])) expect(html).toContain(`id="error-${code}"`);
    for (const name of Object.keys(LIMITS)) expect(html).toContain(name);
    expect(html).not.toMatch(/<script|<link|<img|<iframe|@import|url\(|\son\w+=|https?:/i);
    const targets = [...html.matchAll(/href="#([^"]+)"/g)].map(([, target]) => target);
    for (const target of new Set(targets)) expect(html).toContain(`id="${target}"`);
  });

  test("and the document are not sent again when they are known", async () => {
    for (const path of ["/docs", "/openapi.json"]) {
      const tag = (await open.call("GET", path)).headers.get("etag") ?? "";
      expect((await open.call("GET", path, { headers: { "if-none-match": tag } })).status).toBe(304);
    }
  });
});
