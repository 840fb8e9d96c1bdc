/**
 * Problems between HTTP and the terminal: a problem document becomes a Problem, a Problem becomes words or a
 * line of JSON.
 */
import { type ErrorCode, ERRORS, type FieldError, Problem, type ProblemExtra } from "../errors.ts";
import { safeLine } from "./safe-text.ts";
import type { Terminal } from "./terminal.ts";

const STANDARD = new Set([
  "type",
  "title",
  "status",
  "detail",
  "instance",
  "code",
  "retryable",
  "hint",
  "errors",
]);

function isCode(code: unknown): code is ErrorCode {
  return typeof code === "string" && Object.hasOwn(ERRORS, code);
}

function isFieldErrors(value: unknown): value is FieldError[] {
  return (
    Array.isArray(value) &&
    value.every(
      (item) =>
        typeof (item as FieldError | null)?.pointer === "string" &&
        typeof (item as FieldError).detail === "string",
    )
  );
}

/** Without a problem document (a proxy, another program) the status alone decides. */
function codeOfStatus(status: number): ErrorCode {
  if (status === 502 || status === 504) return "unreachable";
  const found = (Object.keys(ERRORS) as ErrorCode[]).find((code) => ERRORS[code].status === status);
  return found ?? "internal";
}

function parsed(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** The Problem of a problem document; `fallback` stands for what the document does not say. */
export function problemFrom(text: string, fallback: { code: ErrorCode; detail: string }): Problem {
  const document = parsed(text);
  const { code, detail, hint, errors } = document;
  const members = Object.entries(document).filter(
    ([name, value]) => !STANDARD.has(name) && (value === null || typeof value !== "object"),
  );
  const extra: ProblemExtra = {
    ...(typeof hint === "string" && { hint }),
    ...(isFieldErrors(errors) && { errors }),
    ...(members.length > 0 && {
      members: Object.fromEntries(members) as NonNullable<ProblemExtra["members"]>,
    }),
  };
  return new Problem(
    isCode(code) ? code : fallback.code,
    typeof detail === "string" ? detail : fallback.detail,
    extra,
  );
}

/**
 * The Problem that a refusal tells of. What is no problem document (a proxy's page) says no more than its
 * status.
 */
export async function problemOf(response: Response): Promise<Problem> {
  const text = await response.text().catch(() => "");
  const is_document = response.headers.get("content-type")?.startsWith("application/problem+json") === true;
  const problem = problemFrom(is_document ? text : "", {
    code: codeOfStatus(response.status),
    detail: `The server answered ${response.status}.`,
  });
  const seconds = /^\d{1,6}$/.exec(response.headers.get("retry-after") ?? "");
  if (seconds !== null) problem.extra.retry_after_s = Number(seconds[0]);
  return problem;
}

/** Says on stderr what went wrong and what to do: words, or with --json the same as one line of JSON. */
export function sayProblem(terminal: Terminal, { code, message, extra }: Problem): void {
  const { title, retryable, hint } = ERRORS[code];
  if (terminal.json) {
    return terminal.say(
      JSON.stringify({
        code,
        title,
        detail: message,
        retryable,
        hint: extra.hint ?? hint,
        ...(extra.errors && { errors: extra.errors }),
        ...extra.members,
      }),
    );
  }
  const style = terminal.talk_style;
  terminal.say(`${style.red("synthetic:")} ${safeLine(message)}`);
  for (const { pointer, detail } of extra.errors ?? []) {
    if (detail !== message) terminal.say(`  ${style.bold(safeLine(pointer))}  ${safeLine(detail)}`);
  }
  terminal.say(style.dim(`  ${safeLine(extra.hint ?? hint)}`));
}
