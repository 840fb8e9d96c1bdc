/** Routes of artifacts: upload, list, read, grow, seal and delete. Their bytes are served by artifact-content.ts. */
import type { Context } from "../core/context.ts";
import {
  appendToArtifact,
  type ArtifactCreate,
  createArtifact,
  deleteArtifact,
  getArtifact,
  listArtifacts,
  openArtifact,
  sealArtifact,
} from "../core/artifact.ts";
import { invalid } from "../errors.ts";
import { limit } from "../limits.ts";
import {
  Artifact,
  ARTIFACT_SORTS,
  ArtifactName,
  ArtifactPage,
  ArtifactState,
  MediaType,
  Sha256,
} from "../schema/artifact.ts";
import { Id, Slug, text } from "../schema/common.ts";
import { z } from "zod";
import { createdAnswer, jsonAnswer, pageAnswer, resourceAnswer } from "./answer.ts";
import { type Call, callerOf, idOf } from "./call.ts";
import { expectedRevisions, revisionBase } from "./conditional.ts";
import { readContentDigest } from "./digest.ts";
import { empty, json, type Operation, operation } from "./operation.ts";
import {
  flag,
  keyed,
  LIST_QUERY,
  many,
  needed,
  one,
  ORDER,
  pageOf,
  type QueryOf,
  whole,
  withDefault,
} from "./parameter.ts";
import { limitedChunks } from "./request-body.ts";

const COLLECTION = "/v1/artifacts";
const RAW = { "application/octet-stream": { type: "string", description: "The bytes as they are" } } as const;

const CREATE = {
  construct_id: needed(one(Id, "The construct that it belongs to")),
  id: one(Id, "Its id; repeating the same upload with it is harmless and answers 200"),
  session_id: one(Id, "The session that made it"),
  entry_seq: whole("The entry of that session", 1),
  type: one(Slug, "A short word: diff, log, report, image, file (when absent)"),
  name: one(ArtifactName, "A file name; kept as it is, never a path of the server"),
  media_type: one(MediaType, "What it is; Content-Type when absent"),
  metadata: keyed(text(0, limit("metadata_value_bytes")), "`metadata.KEY=VALUE`"),
  open: withDefault(flag("It grows until it is sealed"), false),
};

const LIST = {
  ...LIST_QUERY,
  construct_id: many(Id, "Of this construct"),
  session_id: many(Id, "Of this session"),
  type: many(Slug, "Of this type"),
  state: many(ArtifactState, "In this state"),
  sha256: many(Sha256, "With these bytes"),
  name_prefix: one(text(1, limit("name_characters")), "Whose name begins so; case matters"),
  size_at_least: whole("Bytes at least", 0),
  size_at_most: whole("Bytes at most", 0),
  created_after: whole("Made after this time", 0),
  created_before: whole("Made before this time", 0),
  sort: withDefault(one(z.enum(ARTIFACT_SORTS), "What the list is ordered by"), "created"),
  order: withDefault(one(ORDER, "Newest or oldest first"), "desc"),
};

/** All operations on artifacts, apart from their bytes. */
export function artifactOperations(context: Context): Operation[] {
  return [
    createOperation(context),
    listOperation(context),
    getOperation(context),
    deleteOperation(context),
    appendOperation(context),
    sealOperation(context),
  ];
}

/** Types that mean nothing: what clients send when nobody said anything. */
const UNTOLD = new Set([
  "application/octet-stream",
  "application/x-www-form-urlencoded",
  "multipart/form-data",
]);

function mediaTypeOf(call: Call, given: string | undefined): string | undefined {
  if (given !== undefined) return given;
  const header = call.request.headers.get("content-type");
  if (header === null || UNTOLD.has(header.split(";")[0]?.trim().toLowerCase() ?? "")) return undefined;
  return MediaType.safeParse(header).data;
}

function inputOf(call: Call, query: QueryOf<typeof CREATE>): ArtifactCreate {
  const { open: _open, construct_id, metadata, media_type, ...others } = query;
  const type = mediaTypeOf(call, media_type);
  const pairs = Object.entries(metadata ?? {}).map(([key, values]) => [key, values.at(-1) ?? ""]);
  return {
    ...others,
    construct_id,
    ...(type !== undefined && { media_type: type }),
    ...(pairs.length > 0 && { metadata: Object.fromEntries(pairs) as Record<string, string> }),
  };
}

/** An upload takes as long as it takes: only while bytes come does it keep its connection (Bun counts idle time). */
function bodyOf(call: Call): AsyncGenerator<Uint8Array> {
  return limitedChunks(call.request, limit("artifact_bytes"));
}

function createOperation(context: Context): Operation {
  return operation(
    {
      method: "post",
      path: COLLECTION,
      name: "createArtifact",
      tag: "artifacts",
      summary: "Upload an artifact",
      description:
        "The body is the bytes, of any length up to the limit; they are on the disk when the answer comes. With `open=true` it grows by PATCH until it is sealed. Equal bytes of one type are one file in a construct.",
      query: CREATE,
      headers: ["Content-Digest", "Synthetic-Actor"],
      body: { description: "The bytes", content: RAW },
      outcomes: [
        json(201, "Created", Artifact, ["ETag", "Location"]),
        json(200, "It was created before, by the same bytes and words", Artifact, ["ETag", "Location"]),
      ],
      problems: ["conflict", "gone"],
    },
    async (call, query) => {
      const input = inputOf(call, query);
      const sha256 = readContentDigest(call.request);
      const upload = { chunks: bodyOf(call), ...(sha256 !== null && { sha256 }) };
      const create = query.open ? openArtifact : createArtifact;
      const created = await create(context, input, upload, callerOf(call));
      return createdAnswer(call, created, COLLECTION, revisionBase);
    },
  );
}

function listOperation(context: Context): Operation {
  return operation(
    {
      method: "get",
      path: COLLECTION,
      name: "listArtifacts",
      tag: "artifacts",
      summary: "List artifacts",
      description:
        "Different filters must all hold; several values of one filter mean any of them. Sizes of open ones count as 0 in filters and order.",
      query: LIST,
      outcomes: [json(200, "A page", ArtifactPage, ["Link"])],
    },
    async (call, query) => {
      const { page, sort, order, ...filter } = pageOf(query);
      return pageAnswer(call, await listArtifacts(context, filter, { sort, order }, page), COLLECTION);
    },
  );
}

function getOperation(context: Context): Operation {
  return operation(
    {
      method: "get",
      path: `${COLLECTION}/{id}`,
      name: "getArtifact",
      tag: "artifacts",
      summary: "Read what is known of an artifact",
      headers: ["If-None-Match"],
      outcomes: [json(200, "The artifact", Artifact, ["ETag"]), empty(304, "Not changed", ["ETag"])],
      problems: ["not_found", "gone"],
    },
    async (call) => {
      const row = await getArtifact(context, idOf(call));
      return resourceAnswer(call, row, artifactBase(row));
    },
  );
}

/** The base of an artifact's tag: growing and compressing change what is read, but not what an edit is checked against. */
function artifactBase(row: Artifact): string {
  return `${revisionBase(row)}-s${row.state === "open" ? row.size_bytes : (row.stored_bytes ?? 0)}`;
}

function deleteOperation(context: Context): Operation {
  return operation(
    {
      method: "delete",
      path: `${COLLECTION}/{id}`,
      name: "deleteArtifact",
      tag: "artifacts",
      summary: "Delete an artifact",
      description:
        "It is gone at once; its file goes after a grace period, unless another artifact has the same bytes.",
      headers: ["If-Match", "Synthetic-Actor"],
      outcomes: [empty(204, "Deleted")],
      problems: ["not_found", "gone", "precondition_failed", "precondition_required"],
    },
    async (call) => {
      await deleteArtifact(context, idOf(call), expectedRevisions(call.request), callerOf(call));
      return new Response(null, { status: 204 });
    },
  );
}

function appendOperation(context: Context): Operation {
  return operation(
    {
      method: "patch",
      path: `${COLLECTION}/{id}/content`,
      name: "appendToArtifact",
      tag: "artifacts",
      summary: "Append bytes to an open artifact",
      description:
        "`Upload-Offset` says where they go: at the end, or 409 with `offset`. The answer's `Upload-Offset` is the new end, which is on the disk. After a cut connection HEAD tells how far it came.",
      headers: ["Upload-Offset"],
      body: { description: "The bytes", content: RAW },
      outcomes: [empty(204, "Appended", ["Upload-Offset"])],
      problems: ["not_found", "gone", "conflict"],
    },
    async (call) => {
      const id = idOf(call);
      const offset = offsetOf(call.request);
      const end = await appendToArtifact(context, id, offset, bodyOf(call));
      return new Response(null, { status: 204, headers: { "Upload-Offset": String(end) } });
    },
  );
}

function offsetOf(request: Request): number {
  const given = request.headers.get("upload-offset") ?? "";
  const offset = Number(given);
  if (!/^\d{1,16}$/.test(given) || !Number.isSafeInteger(offset))
    throw invalid("Upload-Offset", "The length of the artifact is expected, in digits.");
  return offset;
}

function sealOperation(context: Context): Operation {
  return operation(
    {
      method: "post",
      path: `${COLLECTION}/{id}/seal`,
      name: "sealArtifact",
      tag: "artifacts",
      summary: "End the growing of an artifact",
      description: "Fixes its digest and length. Harmless when it is sealed. No body is read.",
      headers: ["Synthetic-Actor"],
      outcomes: [json(200, "The artifact", Artifact, ["ETag"])],
      problems: ["not_found", "gone"],
    },
    async (call) => {
      const row = await sealArtifact(context, idOf(call), callerOf(call));
      return jsonAnswer(call, row, { tag: artifactBase(row) });
    },
  );
}
