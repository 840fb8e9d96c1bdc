/**
 * From a request to its operation, and which methods a path has when it has not the one that was asked for.
 */
import { Hono } from "hono";
import { Problem } from "../errors.ts";
import type { Call } from "./call.ts";
import type { Operation } from "./operation.ts";

export interface Router {
  /**
   * What the operation answers. Errors: `not_found`, `method_not_allowed` with Allow, and the operation's
   * own.
   */
  run(call: Call): Response | Promise<Response>;
  /** Method and path of every route that answers, for the test that compares them with the document. */
  readonly routes: readonly { method: string; path: string }[];
}

interface Environment {
  Bindings: { call: Call };
}

/**
 * A router over operations. Each route has one handler and no middleware, which Hono calls without composing
 * anything.
 */
export function createRouter(operations: readonly Operation[]): Router {
  const app = new Hono<Environment>();
  for (const operation of operations) {
    app.on(operation.method.toUpperCase(), operation.path.replaceAll(/\{(\w+)\}/g, ":$1"), (context) => {
      const { call } = context.env;
      call.route = operation.path;
      call.param = (name) => context.req.param(name) ?? "";
      return operation.run(call);
    });
  }
  const allowed = allowedMethods(operations);
  app.notFound((context) => {
    const methods = allowed(context.req.path);
    if (methods.length === 0) throw new Problem("not_found", "There is nothing at this path.");
    throw new Problem("method_not_allowed", `This path has ${methods.join(", ")}.`, {
      allow: methods.join(", "),
    });
  });
  // Failures are shaped in one place, the door.
  app.onError((error) => {
    throw error;
  });
  return { run: (call) => app.fetch(call.request, { call }), routes: app.routes };
}

/** The methods of a path; HEAD is there wherever GET is. */
function allowedMethods(operations: readonly Operation[]): (path: string) => string[] {
  const templates = Map.groupBy(operations, ({ path }) => path);
  const patterns = [...templates].map(([path, same]) => {
    const methods = same.map(({ method }) => method.toUpperCase());
    const pattern = new RegExp(`^${path.replaceAll(".", "\\.").replaceAll(/\{\w+\}/g, "[^/]+")}$`);
    return { pattern, methods: methods.includes("GET") ? [...methods, "HEAD"] : methods };
  });
  return (path) => patterns.find(({ pattern }) => pattern.test(path))?.methods.toSorted() ?? [];
}
