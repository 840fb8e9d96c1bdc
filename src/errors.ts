/**
 * The one table of errors and the one error class. Every failure that a caller can meet is a row here:
 * its code is what clients switch on, its status and exit code are what the doors answer with.
 *
 * It knows no protocol and no database. Text given to a Problem is public: never a path of the server, SQL or a
 * driver's words; those go into `cause`, which only the log sees.
 */

interface ErrorRow {
  /** HTTP status (RFC 9110, RFC 4918 for 507). */
  status: number;
  title: string;
  /** Exit code of the command line (contract: 0 ok, 1 failure, 2 usage, 3 not found, 4 locked, 5 integrity, 6 unreachable). */
  exit: number;
  /** Whether the same request may succeed later without a change. */
  retryable: boolean;
  /** What the reader can do about it, when the Problem itself says nothing better. */
  hint: string;
}

// prettier-ignore
export const ERRORS = {
  invalid_request: { status: 422, title: "The request is not valid", exit: 2, retryable: false, hint: "Look at `errors` for the place and the reason." },
  malformed_body: { status: 400, title: "The body cannot be read", exit: 2, retryable: false, hint: "Send well-formed UTF-8 JSON." },
  unsupported_media_type: { status: 415, title: "The media type is not supported", exit: 2, retryable: false, hint: "Set Content-Type to application/json (or application/x-ndjson where it is documented)." },
  unauthorized: { status: 401, title: "A valid token is needed", exit: 1, retryable: false, hint: "Send `Authorization: Bearer TOKEN`; `synthetic token` prints it." },
  forbidden: { status: 403, title: "The request is not allowed", exit: 1, retryable: false, hint: "Call the API from a program or from the same origin." },
  misdirected: { status: 421, title: "This host name is not served here", exit: 1, retryable: false, hint: "Use localhost, 127.0.0.1 or a name from SYNTHETIC_HOSTS." },
  not_found: { status: 404, title: "Not found", exit: 3, retryable: false, hint: "Check the id and the path." },
  method_not_allowed: { status: 405, title: "The method is not allowed here", exit: 2, retryable: false, hint: "The Allow header names the methods." },
  conflict: { status: 409, title: "The request conflicts with what is stored", exit: 1, retryable: false, hint: "Read the current state, then decide." },
  gone: { status: 410, title: "No longer there", exit: 3, retryable: false, hint: "It was deleted or dropped." },
  precondition_failed: { status: 412, title: "The resource has changed", exit: 1, retryable: false, hint: "Read it again and use its new ETag." },
  too_large: { status: 413, title: "Too large", exit: 2, retryable: false, hint: "The limits are in the OpenAPI document." },
  range_not_satisfiable: { status: 416, title: "The range cannot be given", exit: 2, retryable: false, hint: "Ask for a range inside the content." },
  precondition_required: { status: 428, title: "If-Match is required", exit: 2, retryable: false, hint: "Send If-Match with the ETag, or `*`." },
  busy: { status: 503, title: "Too busy", exit: 1, retryable: true, hint: "Try again after Retry-After." },
  unavailable: { status: 503, title: "Not available", exit: 1, retryable: true, hint: "The outcome of a write is unknown: retry with the same `after` or `key`." },
  storage_full: { status: 507, title: "The disk is full", exit: 1, retryable: true, hint: "Free space; nothing needs a restart." },
  integrity_failed: { status: 500, title: "Stored data failed its check", exit: 5, retryable: false, hint: "Run `synthetic doctor`; restore from a copy." },
  internal: { status: 500, title: "Internal error", exit: 1, retryable: false, hint: "The log has the cause under the request id." },
  usage: { status: 400, title: "Wrong use of the command", exit: 2, retryable: false, hint: "See --help." },
  locked: { status: 409, title: "The data directory is in use", exit: 4, retryable: true, hint: "Talk to the running server or stop it." },
  unreachable: { status: 502, title: "The server cannot be reached", exit: 6, retryable: true, hint: "Is it running?" },
  refused_store: { status: 500, title: "The store cannot be served safely", exit: 1, retryable: false, hint: "The detail names the way out; nothing was changed." },
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof ERRORS;

/** Codes that only the command line uses; all others can come over HTTP. */
export const CLI_ONLY_CODES: readonly ErrorCode[] = ["usage", "locked", "unreachable", "refused_store"];

export interface FieldError {
  /** RFC 6901 pointer into the body, or the name of a parameter or header. */
  pointer: string;
  detail: string;
}

export interface ProblemExtra {
  hint?: string;
  errors?: FieldError[];
  /** Members added to the problem document as they are (for instance `last_seq` and `head` of a conflict). */
  members?: Record<string, string | number | boolean | null>;
  /** Seconds for Retry-After. */
  retry_after_s?: number;
  /** The Allow header of a 405. */
  allow?: string;
  /** The Content-Range header of a 416. */
  content_range?: string;
  cause?: unknown;
}

/** An expected failure. `detail` is public text. */
export class Problem extends Error {
  readonly code: ErrorCode;
  readonly extra: ProblemExtra;

  constructor(code: ErrorCode, detail: string, extra: ProblemExtra = {}) {
    super(detail, extra.cause === undefined ? undefined : { cause: extra.cause });
    this.name = "Problem";
    this.code = code;
    this.extra = extra;
  }
}

/** A 422 for one place: `pointer` is an RFC 6901 pointer or a parameter's name. */
export function invalid(pointer: string, detail: string): Problem {
  return new Problem("invalid_request", detail, { errors: [{ pointer, detail }] });
}

/** Fails loudly when something that cannot be false is false: a defect of ours, never of the caller. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${message}`);
}
