/**
 * The body of an append, as JSON or NDJSON, into entries whose bodies are the verbatim text of their values. JSON.parse
 * only checks; the scanner finds the text. All of a request is accepted or none of it.
 */
import { type FieldError, Problem } from "../errors.ts";
import { elementSpans, type MemberSpan, memberSpans, withoutLineBreaks } from "../lib/json-scan.ts";
import { limit } from "../limits.ts";
import { EntryCreate, type SentEntry } from "../schema/entry.ts";

/** Where an entry stands in the request, for whoever has to find it again. */
type Place = (member: string) => string;

/** What a line counts as at least: a tiny one costs far more than its bytes (24 bytes 2 µs, 2,900 bytes 13 µs). */
const LINE_BYTES = 256;
const NEWLINE = 10;
const NO_BODY = "A body is required; null is one.";
/** A name is the client's and may be megabytes long; an answer shows the beginning. */
const NAME_SHOWN_CHARACTERS = 200;

// A byte order mark is not dropped: JSON does not begin with one (RFC 8259 §8.1).
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function strictText(bytes: Uint8Array, where: string): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw new Problem("malformed_body", `${where} is not valid UTF-8.`);
  }
}

function parsed(text: string, where: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // The engine's words quote the text; they are not for an answer.
    throw new Problem("malformed_body", `${where} is not valid JSON.`, {
      errors: [{ pointer: where, detail: "is not valid JSON" }],
    });
  }
}

function refusal(errors: FieldError[]): Problem {
  return new Problem("invalid_request", errors[0]?.detail ?? "The entries are not valid.", {
    errors: errors.slice(0, limit("named_errors_count")),
  });
}

function escapePointer(key: PropertyKey): string {
  const name = String(key);
  const shown =
    name.length > NAME_SHOWN_CHARACTERS ? `${name.slice(0, NAME_SHOWN_CHARACTERS).toWellFormed()}…` : name;
  return `/${shown.replaceAll("~", "~0").replaceAll("/", "~1")}`;
}

/** The first of the names that nobody knows, each with its place. */
function unknownFields(names: readonly string[], place: Place): FieldError[] {
  return names
    .slice(0, limit("named_errors_count"))
    .map((name) => ({ pointer: place(escapePointer(name)), detail: "Unknown field." }));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The first name that stands twice among the members. */
function repeatedName(members: readonly MemberSpan[]): string | null {
  const seen = new Set<string>();
  for (const { name } of members) {
    if (seen.has(name)) return name;
    seen.add(name);
  }
  return null;
}

/** The verbatim text of a body. Errors: `too_large`, `invalid_request` when there is none. */
function bodyText(text: string, members: readonly MemberSpan[], place: Place): string {
  const span = members.find(({ name }) => name === "body");
  if (span === undefined) throw refusal([{ pointer: place("/body"), detail: NO_BODY }]);
  if (span.depth > limit("json_depth_levels")) {
    throw new Problem(
      "too_large",
      `The body is nested deeper than json_depth_levels (${limit("json_depth_levels")}).`,
      { errors: [{ pointer: place("/body"), detail: "is nested too deep" }] },
    );
  }
  const body = withoutLineBreaks(text.slice(span.start, span.end));
  const bytes = body.length * 3 <= limit("entry_body_bytes") ? 0 : Buffer.byteLength(body);
  if (bytes > limit("entry_body_bytes")) {
    throw new Problem(
      "too_large",
      `The body is larger than entry_body_bytes (${limit("entry_body_bytes")}).`,
      { errors: [{ pointer: place("/body"), detail: "is too large" }] },
    );
  }
  return body;
}

/** One entry out of the object at `start` of the text. */
function sentEntry(value: unknown, text: string, start: number, place: Place): SentEntry {
  const members = isObject(value) ? memberSpans(text, start) : [];
  const repeated = repeatedName(members);
  if (repeated !== null)
    throw refusal([{ pointer: place(escapePointer(repeated)), detail: "This member is given twice." }]);
  // Not left to zod: whether it sees a member of this name depends on its version and on how deep it stands.
  if (members.some(({ name }) => name === "__proto__")) throw refusal(unknownFields(["__proto__"], place));
  const checked = EntryCreate.safeParse(value);
  if (!checked.success) {
    throw refusal(
      checked.error.issues.flatMap((issue) =>
        issue.code === "unrecognized_keys"
          ? unknownFields(issue.keys, place)
          : [
              {
                pointer: place(issue.path.map(escapePointer).join("")),
                detail: issue.path[0] === "body" ? NO_BODY : issue.message,
              },
            ],
      ),
    );
  }
  const { kind, actor, at_ms, key } = checked.data;
  return {
    kind,
    ...(actor !== undefined && { actor }),
    ...(at_ms !== undefined && { at_ms }),
    ...(key !== undefined && { key }),
    body: bodyText(text, members, place),
  };
}

/** `pointer` is the place of the list. Errors: `invalid_request` when it is empty, `too_large`. */
function requireCount(count: number, pointer: string): void {
  if (count === 0) throw refusal([{ pointer, detail: "At least one entry is required." }]);
  if (count > limit("entries_per_append_count")) {
    throw new Problem(
      "too_large",
      `One request may have entries_per_append_count (${limit("entries_per_append_count")}) entries.`,
    );
  }
}

/**
 * Entries out of `{"entries":[…]}`. Errors: `malformed_body` (not UTF-8, not JSON), `invalid_request` with pointers
 * into the body, `too_large` with the limit's name.
 */
export function parseAppendJson(bytes: Uint8Array): SentEntry[] {
  const text = strictText(bytes, "the body");
  const value = parsed(text, "the body");
  if (!isObject(value)) throw refusal([{ pointer: "", detail: "An object with entries is expected." }]);
  const members = memberSpans(text);
  const unknown = members.filter(({ name }) => name !== "entries").map(({ name }) => name);
  if (unknown.length > 0) throw refusal(unknownFields(unknown, (member) => member));
  if (members.length > 1) throw refusal([{ pointer: "/entries", detail: "This member is given twice." }]);
  const list = value["entries"];
  const span = members[0];
  if (!Array.isArray(list) || span === undefined)
    throw refusal([{ pointer: "/entries", detail: "A list of entries is expected." }]);
  requireCount(list.length, "/entries");
  const spans = elementSpans(text, span.start);
  return list.map((entry: unknown, index) =>
    sentEntry(entry, text, spans[index]?.start ?? 0, (member) => `/entries/${index}${member}`),
  );
}

/** True when there is nothing but JSON's white space (RFC 8259 §2). */
function isBlank(bytes: Uint8Array): boolean {
  // By index: an iterator takes four times as long on a megabyte of spaces.
  for (let at = 0; at < bytes.byteLength; at += 1) {
    const byte = bytes[at];
    if (byte !== 32 && byte !== 9 && byte !== 13) return false;
  }
  return true;
}

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/**
 * Lines that are not blank, without their newlines, numbered from 1 with the blank ones; what follows the last newline
 * is a line when there is any. Other requests have their turn in between, also when all lines are blank.
 */
async function* numberedLines(
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<{ bytes: Uint8Array; number: number }> {
  let begun: Uint8Array[] = [];
  let number = 0;
  let turn_bytes = 0;
  for await (const chunk of chunks) {
    let from = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, from)) {
      const piece = chunk.subarray(from, end);
      const bytes = begun.length === 0 ? piece : Buffer.concat([...begun, piece]);
      begun = [];
      from = end + 1;
      number += 1;
      // Ahead of a line, so that a request takes no turn behind its last one.
      if (turn_bytes >= limit("parse_turn_bytes")) {
        turn_bytes = 0;
        await nextTurn();
      }
      if (!isBlank(bytes)) yield { bytes, number };
      turn_bytes += Math.max(bytes.byteLength, LINE_BYTES);
    }
    if (from < chunk.byteLength) begun.push(chunk.subarray(from));
  }
  const bytes = Buffer.concat(begun);
  if (!isBlank(bytes)) yield { bytes, number: number + 1 };
}

/**
 * Entries out of NDJSON, one a line. A last newline, CRLF and blank lines are harmless. Other requests are served in
 * between. Errors: as for JSON, each with the number of its line.
 */
export async function parseAppendNdjson(chunks: AsyncIterable<Uint8Array>): Promise<SentEntry[]> {
  const entries: SentEntry[] = [];
  for await (const { bytes, number } of numberedLines(chunks)) {
    const where = `line ${number}`;
    const text = strictText(bytes, where);
    entries.push(sentEntry(parsed(text, where), text, 0, (member) => `${where}: ${member}`));
    requireCount(entries.length, "");
  }
  requireCount(entries.length, "");
  return entries;
}
