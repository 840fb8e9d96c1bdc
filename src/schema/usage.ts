/** How much is stored, by class. */
import { z } from "zod";

const counts = {
  items_count: z.int().min(0),
  logical_bytes: z.int().min(0).meta({ description: "What clients sent: decoded lengths" }),
  stored_bytes: z.int().min(0).meta({ description: "What it takes in its rows or files" }),
};

export const Usage = z
  .object({
    entry_rows: z.object(counts).meta({
      description: "Entries that are not sealed yet; lines of sealed ones that are still rows take room only",
    }),
    entry_frames: z.object(counts).meta({ description: "Entries that are sealed and compressed" }),
    artifacts: z
      .array(z.object({ type: z.string(), ...counts }))
      .meta({ description: "By type; files of deleted ones take room until they are collected" }),
    total: z.object({ logical_bytes: counts.logical_bytes, stored_bytes: counts.stored_bytes }),
  })
  .meta({ id: "Usage" });
export type Usage = z.infer<typeof Usage>;
