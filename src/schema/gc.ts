/** What the collection of garbage found. */
import { z } from "zod";
import { Id } from "./common.ts";

export const GarbageReport = z
  .object({
    dry_run: z.boolean(),
    purged_rows_count: z
      .int()
      .min(0)
      .meta({ description: "Rows of artifacts that were deleted longer ago than the grace period" }),
    temporary_files: z.array(z.string()).meta({ description: "Begun and never finished; removed" }),
    unreferenced_files: z.array(z.string()).meta({ description: "Named by no row; removed" }),
    removed_bytes: z.int().min(0),
    missing: z
      .array(z.object({ artifact_id: Id, construct_id: Id, name: z.string() }))
      .meta({ description: "Artifacts whose file is not there" }),
  })
  .meta({ id: "GarbageReport" });
export type GarbageReport = z.infer<typeof GarbageReport>;
