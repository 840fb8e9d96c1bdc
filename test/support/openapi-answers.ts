/** Whether an answer is what an OpenAPI document says, and tells nothing of the inside of the server. */
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { type Fuzz, type Request, bytesOf } from "./openapi-requests.ts";
import type { Schema } from "./schema-values.ts";
import type { Answer } from "./wire.ts";

/** What an outsider must never read: paths of the server, its source, SQL, words of the engine. */
const INSIDE =
  /\/work\/|\/tmp\/|\/root\/|\/home\/|\/usr\/|\$bunfs|node_modules|\.ts:\d|\bat \w+ \(|SQLITE_|SQLiteError|\b(?:SELECT|INSERT|UPDATE|DELETE) (?:\w+ )?(?:FROM|INTO|\w+ SET)\b|ZodError|TypeError|RangeError|SyntaxError|ReferenceError|undefined is not|bun:sqlite|Cannot read propert/;

export function decoded(answer: Answer): Uint8Array {
  const coding = answer.headers.get("content-encoding");
  if (coding === "zstd") return zstdDecompressSync(answer.body);
  if (coding === "gzip") return gunzipSync(answer.body);
  return answer.body;
}

export function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function problemFault(fuzz: Fuzz, answer: Answer, text: string): string | null {
  const body = parse(text) as Record<string, unknown> | undefined;
  if (body === undefined) return "an error that is not JSON";
  const schema = fuzz.document.components.schemas["Problem"];
  const validate = fuzz.validator("Problem", schema ?? {});
  if (!validate(body)) return `a problem outside its schema: ${fuzz.ajv.errorsText(validate.errors)}`;
  const code = String(body["code"]);
  const known = fuzz.document["x-errors"][code];
  if (known === undefined) return `an unknown code ${code}`;
  if (known.status !== answer.status || body["status"] !== answer.status)
    return `code ${code} with status ${answer.status}`;
  if (INSIDE.test(text)) return `words from the inside: ${INSIDE.exec(text)?.[0]}`;
  if (answer.status === 405 && !answer.headers.has("allow")) return "a 405 without Allow";
  if (answer.status === 401 && !answer.headers.has("www-authenticate"))
    return "a 401 without WWW-Authenticate";
  if (answer.status === 503 && !answer.headers.has("retry-after")) return "a 503 without Retry-After";
  return answer.headers.has("synthetic-request-id") ? null : "an answer without Synthetic-Request-Id";
}

/** The events of a tail: what each is said to hold. */
function eventsFault(fuzz: Fuzz, text: string): string | null {
  const schema_of: Record<string, string> = {
    entry: "Entry",
    line: "ArtifactLine",
    end: "ArtifactLinesEnd",
    reset: "TailPosition",
    error: "Problem",
  };
  for (const block of text.split("\n\n").slice(0, -1)) {
    const data = /^data: (.*)$/m.exec(block)?.[1];
    if (data === undefined) continue;
    const name = schema_of[/^event: (.*)$/m.exec(block)?.[1] ?? ""] ?? "";
    const schema = fuzz.document.components.schemas[name];
    if (name !== "TailPosition" && schema === undefined)
      return `an event of no known kind: ${block.slice(0, 200)}`;
    const validate = fuzz.validator(`event ${name}`, schema ?? {});
    if (!validate(parse(data))) return `an event outside ${name}: ${fuzz.ajv.errorsText(validate.errors)}`;
  }
  return null;
}

function contentFault(fuzz: Fuzz, key: string, type: string, schema: Schema, text: string): string | null {
  if (type === "text/event-stream") return eventsFault(fuzz, text);
  if (type.startsWith("text/")) return text === "" ? "an empty text" : null;
  const validate = fuzz.validator(key, schema);
  const values = type === "application/x-ndjson" ? text.split("\n").slice(0, -1) : [text];
  for (const value of values) {
    const found = parse(value);
    if (found === undefined) return `what is not JSON: ${value.slice(0, 200)}`;
    if (!validate(found))
      return `a body outside its schema: ${fuzz.ajv.errorsText(validate.errors)}: ${value.slice(0, 300)}`;
  }
  return null;
}

/** A request line and headers longer than this are refused by Bun's parser with a bare 431. */
const HEAD_BYTES = 16_000;
/** Methods that Bun's parser knows; it closes the connection on others. */
export const PARSED_METHODS = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]);

/** What Bun's parser answers by itself, before anything of ours runs: no body, and nothing of our headers. */
function isParsersOwn(request: Request, answer: Answer): boolean {
  if (answer.body.byteLength > 0 || answer.headers.has("synthetic-request-id")) return false;
  if (answer.status === 431 && !request.broken)
    return bytesOf(request).byteLength - (request.body?.byteLength ?? 0) > HEAD_BYTES;
  return (request.broken || !request.documented) && [400, 405, 413, 431, 501, 505].includes(answer.status);
}

/** What is wrong with an answer, or null. */
export function answerFault(fuzz: Fuzz, request: Request, answer: Answer): string | null {
  const { operation, documented, broken, method } = request;
  if (isParsersOwn(request, answer)) return null;
  if (answer.status >= 500) return "a 5xx";
  const is_stream = answer.headers.get("content-type")?.startsWith("text/event-stream") === true;
  if (!answer.whole && !is_stream) return broken ? null : "an answer that is cut";
  if (method === "HEAD") return answer.body.byteLength > 0 ? "a body on HEAD" : null;
  const text = Buffer.from(decoded(answer)).toString("utf8");
  const type = (answer.headers.get("content-type") ?? "").split(";")[0]!.trim();
  const response = operation.doc.responses[String(answer.status)];
  if (documented && response === undefined) return "a status that is not documented";
  if (type === "application/problem+json")
    return answer.status < 400 ? "a problem that is a success" : problemFault(fuzz, answer, text);
  if (answer.status >= 400) return `an error as ${type || "nothing"}`;
  if (!documented && method !== operation.method.toUpperCase()) return null;
  if (response === undefined) return documented ? "a status that is not documented" : null;
  if (response.content === undefined) return text === "" ? null : "a body that is not documented";
  // Whatever the bytes are.
  if (response.content["*/*"] !== undefined) return null;
  const described = response.content[type];
  if (described === undefined) return documented ? `a type that is not documented: ${type}` : null;
  return contentFault(
    fuzz,
    `${operation.method} ${operation.path} ${answer.status} ${type}`,
    type,
    described.schema,
    text,
  );
}
