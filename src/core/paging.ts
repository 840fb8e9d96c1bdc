/** Lists as pages with opaque cursors. */
import { invalid } from "../errors.ts";
import { decodeCursor, encodeCursor } from "../lib/cursor.ts";
import { isId } from "../lib/ids.ts";
import type { Page } from "../schema/common.ts";
import type { ListPage, ListPosition } from "../store/contract.ts";

export interface PageRequest {
  limit: number;
  cursor?: string;
  count?: boolean;
}

function isPosition(value: unknown): value is ListPosition {
  if (typeof value !== "object" || value === null) return false;
  const { value: sort_value, id } = value as Record<string, unknown>;
  return (
    (typeof sort_value === "string" || Number.isSafeInteger(sort_value)) && typeof id === "string" && isId(id)
  );
}

/**
 * One page of a list. `question` is everything that selects and orders it: the cursor is bound to it.
 * Errors: `invalid_request` for a cursor that is not ours or belongs to another question.
 */
export async function pageOfList<Row>(
  question: object,
  request: PageRequest,
  list: (limit: number, position?: ListPosition) => Promise<ListPage<Row>>,
  count: () => Promise<number>,
): Promise<Page<Row>> {
  const position = request.cursor === undefined ? undefined : decodeCursor(question, request.cursor);
  if (position !== undefined && !isPosition(position))
    throw invalid("cursor", "This cursor does not belong to these filters.");
  const found = await list(request.limit, position);
  const page: Page<Row> = {
    items: found.items,
    next_cursor: found.next === null ? null : encodeCursor(question, found.next),
  };
  if (request.count === true) page.total_count = await count();
  return page;
}
