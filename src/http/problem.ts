/**
 * Errors as they go over the wire: `application/problem+json` (RFC 9457). Only what a Problem says is shown;
 * anything else that was thrown becomes `internal`, and its words go to the log under the request id.
 */
import { HTTPException } from "hono/http-exception";
import { z } from "zod";
import { type ErrorCode, ERRORS, invalid, Problem } from "../errors.ts";
import { errorText, type Log } from "../lib/log.ts";
import { limit } from "../limits.ts";

/** The documented shape; codes may bring further members (`last_seq` and `head` of a conflict). */
export const ProblemDocument = z
  .looseObject({
    type: z.string().meta({ description: "Where the code is explained, relative to the server" }),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    instance: z.string().meta({ description: "The request id as a URN; the log has it too" }),
    code: z.string().meta({ description: "What a program switches on" }),
    retryable: z
      .boolean()
      .meta({ description: "Whether the same request may succeed later without a change" }),
    hint: z.string().meta({ description: "What can be done about it" }),
    errors: z
      .array(
        z.object({
          pointer: z
            .string()
            .meta({ description: "RFC 6901 pointer into the body, or the name of a parameter or header" }),
          detail: z.string(),
        }),
      )
      .optional(),
  })
  .meta({ id: "Problem", description: "RFC 9457 problem details" });

const CODE_OF_STATUS: Record<number, ErrorCode> = {
  400: "malformed_body",
  404: "not_found",
  413: "too_large",
  415: "unsupported_media_type",
};

/**
 * Whatever was thrown, as a Problem: the router's own exceptions by their status, the unknown as `internal`.
 */
export function problemOf(error: unknown): Problem {
  if (error instanceof Problem) return error;
  const code = error instanceof HTTPException ? CODE_OF_STATUS[error.status] : undefined;
  if (code !== undefined) return new Problem(code, ERRORS[code].title, { cause: error });
  return new Problem("internal", "Something went wrong on the server.", { cause: error });
}

/** Logs what the caller is not told: the cause of every failure that is the server's. */
export function logProblem(log: Log, problem: Problem, request_id: string, route: string): void {
  if (ERRORS[problem.code].status < 500 || problem.code === "busy") return;
  log.error("request_failed", {
    request_id,
    route,
    code: problem.code,
    detail: problem.message,
    cause: problem.cause === undefined ? null : errorText(problem.cause),
  });
}

/** The members of the problem document; never more than the Problem says in public. */
export function problemDocument(problem: Problem, request_id: string): Record<string, unknown> {
  const { status, title, retryable, hint } = ERRORS[problem.code];
  const { members, errors, hint: own_hint } = problem.extra;
  return {
    ...members,
    type: `/docs#error-${problem.code}`,
    title,
    status,
    detail: problem.message,
    instance: `urn:uuid:${request_id}`,
    code: problem.code,
    retryable,
    hint: own_hint ?? hint,
    ...(errors && { errors }),
  };
}

/** The response of a failure. `busy` and `unavailable` always name a time for the next try. */
export function problemResponse(
  problem: Problem,
  request_id: string,
  more: Record<string, string> = {},
): Response {
  const { retry_after_s, allow, content_range } = problem.extra;
  const { status } = ERRORS[problem.code];
  const headers: Record<string, string> = { "Content-Type": "application/problem+json", ...more };
  if (retry_after_s !== undefined || status === 503) headers["Retry-After"] = String(retry_after_s ?? 1);
  if (allow !== undefined) headers["Allow"] = allow;
  if (content_range !== undefined) headers["Content-Range"] = content_range;
  if (problem.code === "unauthorized") headers["WWW-Authenticate"] = 'Bearer realm="synthetic"';
  return new Response(JSON.stringify(problemDocument(problem, request_id)), { status, headers });
}

/** A path of keys as an RFC 6901 pointer. */
export function pointerOf(path: readonly PropertyKey[]): string {
  return path.map((key) => `/${String(key).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
}

/**
 * What a schema found, as a 422 with a pointer for each place; an unknown member is named by its own pointer.
 */
export function invalidBody(issues: readonly z.core.$ZodIssue[]): Problem {
  const errors = issues.flatMap((issue) => {
    if (issue.code === "unrecognized_keys")
      return issue.keys.map((key) => ({
        pointer: pointerOf([...issue.path, key]),
        detail: "This member is not known here.",
      }));
    return [{ pointer: pointerOf(issue.path), detail: issue.message }];
  });
  const [first] = errors;
  if (first === undefined || errors.length === 1)
    return invalid(first?.pointer ?? "", first?.detail ?? "The body is not valid.");
  return new Problem("invalid_request", `The body has ${errors.length} errors.`, {
    errors: errors.slice(0, limit("named_errors_count")),
  });
}
