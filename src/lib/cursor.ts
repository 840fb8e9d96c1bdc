/**
 * Opaque cursors. One holds a position and a digest of the question it belongs to, so that a cursor used with other
 * filters is refused and not misread.
 */
import { limit } from "../limits.ts";

function digestOf(question: unknown): string {
  return new Bun.CryptoHasher("sha256").update(canonicalJson(question)).digest("base64url").slice(0, 11);
}

/** JSON with the members of every object in alphabetical order and without absent ones: equal values, equal text. */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "null";
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, member]) => `${JSON.stringify(name)}:${canonicalJson(member)}`);
  return `{${members.join(",")}}`;
}

export function encodeCursor(question: unknown, position: unknown): string {
  return Buffer.from(JSON.stringify([digestOf(question), position])).toString("base64url");
}

/** The position, or null when the cursor is not ours or belongs to another question. */
export function decodeCursor(question: unknown, cursor: string): unknown {
  if (cursor.length > limit("cursor_characters") || !/^[A-Za-z0-9_-]+$/.test(cursor)) return null;
  try {
    const parsed: unknown = JSON.parse(Buffer.from(cursor, "base64url").toString("utf8"));
    if (!Array.isArray(parsed) || parsed.length !== 2 || parsed[0] !== digestOf(question)) return null;
    return parsed[1] as unknown;
  } catch {
    return null;
  }
}
