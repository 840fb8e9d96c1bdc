/**
 * What the door remembers between requests: how many are under way, which tails are open, whether it is
 * closing.
 */
import type { Problem } from "../errors.ts";

export interface DoorState {
  active_count: number;
  draining: boolean;
  /** One function for each open tail: it ends the tail with a last word. */
  readonly tails: Set<(problem: Problem) => void>;
}

export function createState(): DoorState {
  return { active_count: 0, draining: false, tails: new Set() };
}
