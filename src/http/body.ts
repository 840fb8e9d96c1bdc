/**
 * JSON bodies of resources: bounded, strict UTF-8, and checked by their schema. Transcripts have their own
 * reader.
 */
import type { z } from "zod";
import { invalid, Problem } from "../errors.ts";
import { limit } from "../limits.ts";
import type { Call } from "./call.ts";
import { bodyType } from "./negotiate.ts";
import { invalidBody, pointerOf } from "./problem.ts";
import { readBody } from "./request-body.ts";

// A byte order mark is not dropped: JSON does not begin with one (RFC 8259 §8.1).
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function parse(bytes: Uint8Array): { value: unknown; text: string } {
  try {
    const text = decoder.decode(bytes);
    return { value: JSON.parse(text), text };
  } catch (cause) {
    throw new Problem("malformed_body", "The body is not JSON in UTF-8.", { cause });
  }
}

interface Place {
  value: unknown;
  name: string;
  parent: Place | null;
}

function pathOf(place: Place): string[] {
  const path: string[] = [];
  for (let at: Place | null = place; at?.parent != null; at = at.parent) path.unshift(at.name);
  return path;
}

/** The first member named `__proto__`, as a pointer: zod would drop it without a word. */
function hiddenMember(root: unknown): string | null {
  const waiting: Place[] = [{ value: root, name: "", parent: null }];
  for (let place = waiting.pop(); place !== undefined; place = waiting.pop()) {
    const { value } = place;
    if (typeof value !== "object" || value === null) continue;
    if (Object.hasOwn(value, "__proto__")) return pointerOf([...pathOf(place), "__proto__"]);
    for (const [name, member] of Object.entries(value)) waiting.push({ value: member, name, parent: place });
  }
  return null;
}

// The name may also be written with escapes of its characters, all of which begin so.
const MAY_HIDE = /__proto__|\\u00/i;

/**
 * The body as its schema has it. Errors: `unsupported_media_type`, `too_large`, `malformed_body`,
 * `invalid_request` with a pointer for each place.
 */
export async function readJson<T>(call: Call, schema: z.ZodType<T>): Promise<T> {
  bodyType(call.request, ["application/json"]);
  const { value, text } = parse(await readBody(call.request, limit("resource_body_bytes")));
  const hidden = MAY_HIDE.test(text) ? hiddenMember(value) : null;
  if (hidden !== null) throw invalid(hidden, "This name cannot be used.");
  const found = schema.safeParse(value);
  if (!found.success) throw invalidBody(found.error.issues);
  return found.data;
}

/**
 * The input of a create by PUT: the id of the path, which the body may repeat. Errors: `invalid_request` when
 * they differ.
 */
export function requireSameId<Input extends { id?: string | undefined }>(id: string, input: Input): Input {
  if (input.id !== undefined && input.id !== id)
    throw invalid("/id", "The id in the body is not the one in the path.");
  return { ...input, id };
}
