/** Shapes that every noun shares: ids, instants, names, flat metadata, actors. Wire fields are the column's words. */
import { z } from "zod";
import { ID_PATTERN } from "../lib/ids.ts";
import { limit } from "../limits.ts";

export const Id = z.string().regex(ID_PATTERN, "a UUID in lower case is expected").meta({
  id: "Id",
  description: "UUID; the server makes version 7",
  example: "01940000-0000-7000-8000-000000000000",
});

export const Instant = z
  .int()
  .min(0)
  .max(8_640_000_000_000_000)
  .meta({ id: "Instant", description: "UTC, milliseconds since 1970" });

export const Actor = z
  .enum(["user", "agent", "system", "tool"])
  .meta({ id: "Actor", description: "Who did it" });
export type Actor = z.infer<typeof Actor>;

/** Text that can be stored and compared: no lone surrogates, no NUL. */
export function text(min: number, max: number): z.ZodString {
  return z
    .string()
    .min(min)
    .max(max)
    .refine(
      (value) => value.isWellFormed() && !value.includes("\0"),
      "text without NUL and without lone surrogates is expected",
    );
}

export const Title = text(0, limit("title_characters"));
export const Name = text(1, limit("name_characters"));
export const Path = text(1, limit("path_characters"));
export const Slug = z
  .string()
  .max(limit("type_characters"))
  .regex(/^[a-z0-9][a-z0-9._-]*$/, "a short lower-case word is expected (a-z 0-9 . _ -)");

const utf8 = new TextEncoder();

const MetadataKey = text(1, limit("metadata_key_characters"));

export const Metadata = z
  .record(MetadataKey, text(0, limit("metadata_value_bytes")))
  .refine(
    (map) => Object.keys(map).length <= limit("metadata_keys_count"),
    `at most ${limit("metadata_keys_count")} keys are allowed`,
  )
  .refine(
    (map) =>
      Object.values(map).every((value) => utf8.encode(value).byteLength <= limit("metadata_value_bytes")),
    `a value may be ${limit("metadata_value_bytes")} bytes long`,
  )
  .meta({ id: "Metadata", description: "Flat map of strings: 64 keys, values up to 1 KiB" });
export type Metadata = z.infer<typeof Metadata>;

export const Revision = z.int().min(1).meta({ description: "Grows by one with each change; the ETag" });

/** A page of a list, oldest cursor first; `next_cursor` is null on the last page. */
export function pageOf<T extends z.ZodType>(item: T, id: string) {
  return z
    .object({
      items: z.array(item),
      next_cursor: z.string().nullable(),
      total_count: z.int().min(0).optional().meta({ description: "Only with count=true" }),
    })
    .meta({ id });
}

export interface Page<T> {
  items: T[];
  next_cursor: string | null;
  total_count?: number;
}
