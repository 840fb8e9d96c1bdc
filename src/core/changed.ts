/** What a patch would change. */
import { canonicalJson } from "../lib/cursor.ts";

/** The names of the members whose value differs from the current one; absent members change nothing. */
export function changedFields<Row extends object>(current: Row, patch: Partial<Row>): string[] {
  return Object.entries(patch)
    .filter(
      ([name, value]) =>
        value !== undefined && canonicalJson(value) !== canonicalJson(current[name as keyof Row]),
    )
    .map(([name]) => name);
}
