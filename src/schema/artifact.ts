/** An artifact: a named file that belongs to a construct. Its bytes are a blob; the row keeps what is said of them. */
import { z } from "zod";
import { limit } from "../limits.ts";
import { Id, Instant, Metadata, pageOf, Revision, Slug, text } from "./common.ts";

export const ArtifactState = z.enum(["open", "sealed"]).meta({ id: "ArtifactState" });
export type ArtifactState = z.infer<typeof ArtifactState>;

const ArtifactEncoding = z.enum(["identity", "zstd"]).meta({
  id: "ArtifactEncoding",
  description: "How the bytes are stored; what is served is decoded unless zstd is accepted",
});

export const ARTIFACT_SORTS = ["created", "name", "size"] as const;
export type ArtifactSort = (typeof ARTIFACT_SORTS)[number];

/** A file name is data: shown and served, never used as a path. */
export const ArtifactName = text(1, limit("artifact_name_characters"));

export const MediaType = z
  .string()
  .max(limit("media_type_characters"))
  .regex(
    /^[A-Za-z0-9!#$&^_.+-]+\/[A-Za-z0-9!#$&^_.+-]+(?:; ?[\w-]+=[\w.+-]+)*$/,
    "a media type is expected: type/subtype",
  )
  .meta({ description: "As the uploader says; what is served comes from our own list" });

export const Sha256 = z
  .string()
  .regex(/^[0-9a-f]{64}$/, "64 hexadecimal digits are expected")
  .meta({ id: "Sha256", description: "SHA-256, hexadecimal" });

export const Artifact = z
  .object({
    id: Id,
    construct_id: Id,
    session_id: Id.nullable(),
    entry_seq: z.int().min(1).nullable().meta({ description: "The entry of the session that it belongs to" }),
    type: Slug,
    name: ArtifactName,
    media_type: MediaType,
    state: ArtifactState,
    sha256: Sha256.nullable().meta({ description: "Of the decoded bytes; null while it is open" }),
    size_bytes: z.int().min(0).meta({ description: "Decoded; of an open one what is on disk now" }),
    stored_bytes: z
      .int()
      .min(0)
      .nullable()
      .meta({ description: "What the file takes; null when it is missing" }),
    encoding: ArtifactEncoding.nullable().meta({ description: "Null when the file is missing" }),
    metadata: Metadata,
    revision: Revision,
    created_at_ms: Instant,
    updated_at_ms: Instant,
    deleted_at_ms: Instant.nullable(),
  })
  .meta({ id: "Artifact" });
export type Artifact = z.infer<typeof Artifact>;

/** What the database keeps; the rest is asked of the file. */
export type ArtifactRow = Omit<Artifact, "stored_bytes" | "encoding">;

export const ArtifactPage = pageOf(Artifact, "ArtifactPage");

export const ArtifactLine = z
  .object({
    line: z.int().min(1),
    text: z.string().meta({ description: "Without its newline; bytes that are not UTF-8 are replaced" }),
    line_bytes: z.int().min(0).optional().meta({ description: "Of the whole line, when it was cut" }),
  })
  .meta({ id: "ArtifactLine" });
export type ArtifactLine = z.infer<typeof ArtifactLine>;

export const ArtifactLines = z
  .object({
    items: z.array(ArtifactLine),
    total_lines_count: z.int().min(0),
    next_line: z.int().min(1).nullable().meta({ description: "Where to go on; null at the end" }),
  })
  .meta({ id: "ArtifactLines" });
export type ArtifactLines = z.infer<typeof ArtifactLines>;

/** What the follower of a log is told when it is sealed. */
export const ArtifactLinesEnd = z
  .object({ sha256: Sha256.nullable(), size_bytes: z.int().min(0) })
  .meta({ id: "ArtifactLinesEnd" });
