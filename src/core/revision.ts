/** Optimistic concurrency: what a caller says it has read, compared with what is there. */
import { Problem } from "../errors.ts";

/** The revisions that If-Match names, or `*` for any. */
export type Expected = "*" | readonly number[];

/** Errors: `precondition_failed` when the current revision is not among the expected ones. */
export function requireRevision(expected: Expected, current: number): void {
  if (expected === "*" || expected.includes(current)) return;
  throw new Problem("precondition_failed", `The resource is at revision ${current}.`, {
    members: { revision: current },
  });
}
