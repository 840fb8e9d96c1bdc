/**
 * The HTTP door: composes guard, router and operations into one `fetch`, which Bun's server and callers in
 * the same process use alike. It answers every request, whatever is thrown inside, and gives every answer its
 * common headers.
 */
import type { Context } from "../core/context.ts";
import { Problem } from "../errors.ts";
import type { Log } from "../lib/log.ts";
import { limit } from "../limits.ts";
import { appendOperation } from "./append.ts";
import { artifactContentOperation } from "./artifact-content.ts";
import { artifactLinesOperation } from "./artifact-lines.ts";
import { artifactOperations } from "./artifact.ts";
import type { Call, Connection } from "./call.ts";
import { constructOperations } from "./construct.ts";
import { docsOperations } from "./docs.ts";
import { entryOperations } from "./entry.ts";
import { gcOperation } from "./gc.ts";
import { createGuard } from "./guard.ts";
import { healthOperations } from "./health.ts";
import { createMetrics, type Metrics, metricsOperation } from "./metrics.ts";
import type { Operation } from "./operation.ts";
import { logProblem, problemOf, problemResponse } from "./problem.ts";
import { createRouter, type Router } from "./router.ts";
import { sessionOperations } from "./session.ts";
import { createState, type DoorState } from "./state.ts";
import { tailOperations } from "./tail.ts";
import { transcriptOperation } from "./transcript.ts";
import { usageOperation } from "./usage.ts";
import { workspaceOperations } from "./workspace.ts";

export interface DoorOptions {
  context: Context;
  token: string;
  /** Allowed host names beside the loopback ones, with or without a port. */
  hosts: readonly string[];
  version: string;
  commit: string;
  log: Log;
  started_at_ms: number;
  /** Replaces limits by shorter ones, so that tests need not wait. */
  waits?: { tail_heartbeat_ms?: number; tail_stall_ms?: number; tails_count?: number };
}

export interface Door {
  /**
   * Answers one request; never throws. Without `server` there is no connection whose idle time could be
   * changed.
   */
  fetch(request: Request, server?: Connection): Response | Promise<Response>;
  /** Requests under way, streams among them until their last byte was taken. */
  readonly active_count: number;
  /** Ends open tails with a resumable error and refuses new requests; those under way go on. */
  beginDrain(): void;
  /** Every route that answers. */
  readonly routes: Router["routes"];
}

/** The table of contents of the API. */
function operationsOf(options: DoorOptions, state: DoorState, metrics: Metrics): Operation[] {
  const { context, log, waits = {} } = options;
  const stall_ms = waits.tail_stall_ms ?? limit("tail_stall_ms");
  const tails = {
    log,
    stall_ms,
    heartbeat_ms: waits.tail_heartbeat_ms ?? limit("tail_heartbeat_ms"),
    tails_count: waits.tails_count ?? limit("tails_count"),
  };
  const operations = [
    ...workspaceOperations(context),
    ...constructOperations(context),
    ...sessionOperations(context),
    appendOperation(context, metrics),
    ...entryOperations(context, { log, stall_ms }),
    transcriptOperation(context, { log, stall_ms }),
    ...tailOperations(context, state, tails),
    ...artifactOperations(context),
    artifactContentOperation(context, { log, stall_ms }),
    artifactLinesOperation(context, state, tails),
    usageOperation(context),
    gcOperation(context),
    ...healthOperations(context, state, options),
    metricsOperation(metrics),
  ];
  return [...operations, ...docsOperations(operations, options.version)];
}

/**
 * Path and query of a request's URL, which is not parsed: it may be relative and is the client's (facts.md
 * 23).
 */
function splitUrl(url: string): { path: string; search: string } {
  const start = Math.max(0, url.indexOf("/", url.indexOf("://") + 3));
  const fragment = url.indexOf("#", start);
  const end = fragment === -1 ? url.length : fragment;
  const question = url.indexOf("?", start);
  if (question === -1 || question > end) return { path: url.slice(start, end), search: "" };
  return { path: url.slice(start, question), search: url.slice(question + 1, end) };
}

/** What a HEAD does is what its GET does. Its URL is made anew: with a bad port in Host the old one cannot be copied. */
function getOf({ request, search }: Call, path: string): Request {
  const { headers, signal } = request;
  return new Request(`http://localhost${path}${search === "" ? "" : `?${search}`}`, { headers, signal });
}

const noParameter = (): string => "";

/** The door over a context. */
export function createDoor(options: DoorOptions): Door {
  const { context, log } = options;
  const state = createState();
  const metrics = createMetrics(context, state, options);
  const guard = createGuard(options.token, options.hosts);
  const router = createRouter(operationsOf(options, state, metrics));

  const failure = (error: unknown, request_id: string, route: string): Response => {
    const problem = problemOf(error);
    logProblem(log, problem, request_id, route);
    return finished(problemResponse(problem, request_id), request_id);
  };

  const finished = (response: Response, request_id: string): Response => {
    const { headers } = response;
    headers.set("Synthetic-Request-Id", request_id);
    headers.set("X-Content-Type-Options", "nosniff");
    if (!headers.has("Cache-Control")) headers.set("Cache-Control", "no-store");
    if (state.draining) headers.set("Connection", "close");
    return response;
  };

  const run = (call: Call, path: string): Response | Promise<Response> => {
    guard.check(call.request.headers, path);
    if (state.draining && path !== "/healthz" && path !== "/readyz")
      throw new Problem("busy", "The server is stopping.", { retry_after_s: 1 });
    if (call.search.length > limit("query_string_bytes"))
      throw new Problem("too_large", `The query may be ${limit("query_string_bytes")} bytes long.`);
    if (call.request.method === "HEAD") call.request = getOf(call, path);
    return router.run(call);
  };

  const newCall = (request: Request, search: string, connection: Connection | undefined): Call => {
    state.active_count += 1;
    let over = false;
    return {
      request,
      request_id: context.ids.next(),
      search,
      connection,
      param: noParameter,
      route: "none",
      streaming: false,
      end() {
        if (!over) state.active_count -= 1;
        over = true;
      },
    };
  };

  return {
    async fetch(request, server) {
      const started_ms = context.clock.elapsed_ms();
      const { path, search } = splitUrl(request.url);
      const is_head = request.method === "HEAD";
      const call = newCall(request, search, is_head ? undefined : server);
      let response: Response;
      try {
        response = finished(await run(call, path), call.request_id);
      } catch (error) {
        response = failure(error, call.request_id, call.route);
      }
      metrics.observeRequest(
        call.route,
        request.method,
        response.status,
        context.clock.elapsed_ms() - started_ms,
      );
      // Bun leaves the body of an answer to HEAD away and keeps its length; a stream would be opened for
      // nothing.
      if (is_head && (call.streaming || server === undefined)) {
        await response.body?.cancel();
        response = new Response(null, response);
      }
      if (!call.streaming) call.end();
      return response;
    },
    get active_count() {
      return state.active_count;
    },
    beginDrain() {
      state.draining = true;
      for (const interrupt of state.tails)
        interrupt(
          new Problem("busy", "The server is stopping.", {
            hint: "Connect again with the last id.",
            retry_after_s: 1,
          }),
        );
    },
    routes: router.routes,
  };
}
