/**
 * One request under way, as the routes see it. Routes know neither the router nor the server's own objects:
 * they are given a Call and answer with a Response.
 */
import { invalid } from "../errors.ts";
import { isId } from "../lib/ids.ts";
import { Actor } from "../schema/common.ts";

/** What is needed of Bun's server; absent for callers in the same process. */
export interface Connection {
  /** Seconds without traffic after which the connection of this request is closed; 0 for never. */
  timeout(request: Request, seconds: number): void;
}

export interface Call {
  /** A HEAD is turned into its GET once it is known to be allowed. */
  request: Request;
  readonly request_id: string;
  /** The raw query, without its question mark. */
  readonly search: string;
  readonly connection: Connection | undefined;
  /** The decoded text of a path parameter: hostile until it is checked. */
  param(name: string): string;
  /** The template of the route, for metrics; `none` until one is found. */
  route: string;
  /** Set by an answer whose body is still being made after the response is returned. */
  streaming: boolean;
  /** Tells that the call is over. A streaming answer calls it at its end, the door in all other cases. */
  end(): void;
}

/** The id in the path. Errors: `invalid_request` for anything but a UUID in lower case. */
export function idOf(call: Call): string {
  const id = call.param("id");
  if (!isId(id)) throw invalid("id", "A UUID in lower case is expected in the path.");
  return id;
}

/** The seq in the path. Errors: `invalid_request`. */
export function seqOf(call: Call): number {
  const text = call.param("seq");
  const seq = Number(text);
  if (!/^[1-9]\d{0,15}$/.test(text) || !Number.isSafeInteger(seq))
    throw invalid("seq", "A whole number from 1 is expected in the path.");
  return seq;
}

/** On whose behalf the request is made, by its own word. Errors: `invalid_request` for an unknown actor. */
export function callerOf(call: Call): { actor: Actor } {
  const given = call.request.headers.get("synthetic-actor");
  if (given === null) return { actor: "user" };
  const actor = Actor.safeParse(given);
  if (!actor.success) throw invalid("Synthetic-Actor", `One of ${Actor.options.join(", ")} is expected.`);
  return { actor: actor.data };
}
