/** Creates that can be repeated: whoever must be able to retry names the thing. */
import { Problem } from "../errors.ts";
import { canonicalJson } from "../lib/cursor.ts";
import type { Inserted } from "../store/contract.ts";

export interface Created<Row> {
  /** False when the same create had been done before. */
  created: boolean;
  row: Row;
}

/** SHA-256 of a creating body, independent of the order of its members and of white space. */
export function createDigest(body: unknown): string {
  return new Bun.CryptoHasher("sha256").update(canonicalJson(body)).digest("hex");
}

/** What a create answers. Errors: `gone` when the thing was deleted, `conflict` when another body made it. */
export function settleCreate<Row extends { id: string; deleted_at_ms?: number | null }>(
  inserted: Inserted<Row>,
  digest: string,
): Created<Row> {
  if (inserted.created) return { created: true, row: inserted.row };
  if (inserted.create_digest !== digest) {
    throw new Problem("conflict", "This id was created with another body.", {
      members: { id: inserted.row.id },
    });
  }
  if (inserted.row.deleted_at_ms != null) {
    throw new Problem("gone", "This id was created and then deleted.", {
      hint: "Undelete it, or use another id.",
    });
  }
  return { created: false, row: inserted.row };
}
