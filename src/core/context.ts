/** What every rule is given: the store, the blobs, time, ids and the bell. Made once in app.ts and handed down. */
import type { Blobs } from "../blob/contract.ts";
import type { Clock } from "../lib/clock.ts";
import type { Ids } from "../lib/ids.ts";
import type { Bell } from "../lib/wake.ts";
import type { Actor } from "../schema/common.ts";
import type { NewEvent } from "../schema/event.ts";
import type { Store } from "../store/contract.ts";

export interface Context {
  store: Store;
  blobs: Blobs;
  clock: Clock;
  ids: Ids;
  bell: Bell;
}

/** On whose behalf something is done; goes into events and status periods. */
export interface Caller {
  actor: Actor;
}

export function newEvent(
  context: Context,
  caller: Caller,
  event: Omit<NewEvent, "id" | "at_ms" | "actor">,
): NewEvent {
  return { id: context.ids.next(), at_ms: context.clock.now_ms(), actor: caller.actor, ...event };
}
