/**
 * Conditional requests (RFC 9110 §13): strong entity tags, If-Match and If-None-Match.
 *
 * A tag is a base (`r3`, `r3-s120`, `<generation>.7`) and, when the answer is compressed, the name of the
 * coding: `"r3;zstd"`. The coding says nothing about the state and is dropped when a tag comes back.
 */
import { invalid, Problem } from "../errors.ts";

interface Tag {
  weak: boolean;
  base: string;
}

const TAG = /[ \t]*(W\/)?"([\x21\x23-\x7e\x80-\xff]*)"[ \t]*(?:,|$)/y;
const CODING = /;(?:zstd|gzip)$/;

/** Errors: `invalid_request` for what is not a list of entity tags. */
function readTags(name: string, header: string): Tag[] {
  const tags: Tag[] = [];
  TAG.lastIndex = 0;
  while (TAG.lastIndex < header.length) {
    const found = TAG.exec(header);
    if (found === null) throw invalid(name, "A quoted entity tag, a list of them, or * is expected.");
    tags.push({ weak: found[1] !== undefined, base: (found[2] ?? "").replace(CODING, "") });
  }
  if (tags.length === 0) throw invalid(name, "A quoted entity tag, a list of them, or * is expected.");
  return tags;
}

/** The tag as it is sent, with the coding of the answer. */
export function entityTag(base: string, coding: "identity" | "zstd" | "gzip" = "identity"): string {
  return coding === "identity" ? `"${base}"` : `"${base};${coding}"`;
}

/** The base of a resource's tag. */
export function revisionBase(row: { revision: number }): string {
  return `r${row.revision}`;
}

/**
 * The revisions that If-Match names. A weak tag and a tag that is none of ours match nothing; the last_seq in
 * the tag of a session is not compared, so that appending does not spoil an edit. Errors:
 * `precondition_required`, `invalid_request`.
 */
export function expectedRevisions(request: Request): "*" | number[] {
  const header = request.headers.get("if-match");
  if (header === null) throw new Problem("precondition_required", "This request needs If-Match.");
  if (header.trim() === "*") return "*";
  return readTags("If-Match", header).flatMap(({ weak, base }) => {
    const revision = weak ? null : /^r(\d{1,15})(?:-s\d{1,16})?$/.exec(base);
    return revision === null ? [] : [Number(revision[1])];
  });
}

/** Whether If-Range names this state by a strong tag (RFC 9110 §13.1.5); a date never does. */
export function isSame(header: string | null, base: string): boolean {
  return header?.trim() === entityTag(base);
}

/** Whether If-None-Match names this state (weak comparison, RFC 9110 §13.1.2). Errors: `invalid_request`. */
export function isKnown(request: Request, base: string): boolean {
  const header = request.headers.get("if-none-match");
  if (header === null) return false;
  return header.trim() === "*" || readTags("If-None-Match", header).some((tag) => tag.base === base);
}
