/** Identifiers: how they are made and the one pattern that decides what is one (RFC 9562, lower case). */

export const ID_PATTERN = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** The workspace that every store has; the same in all stores, so that exports keep their meaning. */
export const DEFAULT_WORKSPACE_ID = "00000000-0000-7000-8000-000000000001";

export interface Ids {
  /** A new UUID version 7: ids made later sort later, to the millisecond. */
  next(): string;
}

export const system_ids: Ids = { next: () => Bun.randomUUIDv7() };

export function isId(text: string): boolean {
  return ID_PATTERN.test(text);
}
