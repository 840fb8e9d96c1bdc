/** Rules of artifacts. Their bytes come before their row and go after it; the row never says how they are encoded. */
import type { Blob, BlobDigest, BlobKey, GrowingKey } from "../blob/contract.ts";
import { invalid, Problem } from "../errors.ts";
import { limit } from "../limits.ts";
import type { Artifact, ArtifactRow, ArtifactSort } from "../schema/artifact.ts";
import type { Metadata, Page } from "../schema/common.ts";
import type { EventType, NewEvent } from "../schema/event.ts";
import type { ArtifactContent, ArtifactFilter } from "../store/contract.ts";
import { type Caller, type Context, newEvent } from "./context.ts";
import { createDigest, type Created, settleCreate } from "./create.ts";
import { pageOfList, type PageRequest } from "./paging.ts";
import { type Expected, requireRevision } from "./revision.ts";

export type { Blob };

/** What is said of bytes that are served. */
export type Content = Omit<ArtifactContent, "construct_deleted">;

export interface ArtifactCreate {
  id?: string;
  construct_id: string;
  session_id?: string;
  entry_seq?: number;
  type?: string;
  name?: string;
  media_type?: string;
  metadata?: Metadata;
}

export interface Upload {
  chunks: AsyncIterable<Uint8Array>;
  /** What the sender says the digest is, hexadecimal. */
  sha256?: string;
}

const DEFAULT_TYPE = "file";
const DEFAULT_MEDIA_TYPE = "application/octet-stream";

function missing(): Problem {
  return new Problem("not_found", "There is no such artifact.");
}

function deleted(): Problem {
  return new Problem("gone", "This artifact was deleted.");
}

function trashed(): Problem {
  return new Problem("gone", "The construct of this artifact is in the trash.", {
    hint: "Undelete the construct.",
  });
}

function alreadySealed(): Problem {
  return new Problem("conflict", "This artifact is sealed: its bytes no longer change.");
}

function blobKey(row: Pick<ArtifactRow, "construct_id" | "type" | "sha256">): BlobKey {
  if (row.sha256 === null) throw new Error("an open artifact has no digest");
  return { construct_id: row.construct_id, type: row.type, sha256: row.sha256 };
}

function growingKey({
  construct_id,
  type,
  id,
}: Pick<ArtifactRow, "construct_id" | "type" | "id">): GrowingKey {
  return { construct_id, type, artifact_id: id };
}

function newRow(context: Context, input: ArtifactCreate, digest: BlobDigest | null): ArtifactRow {
  const now = context.clock.now_ms();
  const id = input.id ?? context.ids.next();
  return {
    id,
    construct_id: input.construct_id,
    session_id: input.session_id ?? null,
    entry_seq: input.entry_seq ?? null,
    type: input.type ?? DEFAULT_TYPE,
    name: input.name ?? id,
    media_type: input.media_type ?? DEFAULT_MEDIA_TYPE,
    state: digest === null ? "open" : "sealed",
    sha256: digest?.sha256 ?? null,
    size_bytes: digest?.size_bytes ?? 0,
    metadata: input.metadata ?? {},
    revision: 1,
    created_at_ms: now,
    updated_at_ms: now,
    deleted_at_ms: null,
  };
}

function eventOf(
  context: Context,
  caller: Caller,
  type: EventType,
  row: ArtifactRow,
  workspace_id: string,
): NewEvent {
  const { construct_id, session_id, id, name, size_bytes } = row;
  const data = { artifact_id: id, type: row.type, name, size_bytes };
  return newEvent(context, caller, { type, workspace_id, construct_id, session_id, data });
}

async function insert(
  context: Context,
  input: ArtifactCreate,
  row: ArtifactRow,
  /** Of the bytes that came with it. */
  sha256: string,
  caller: Caller,
): Promise<Created<ArtifactRow>> {
  const digest = createDigest({ ...input, id: undefined, state: row.state, sha256 });
  const inserted = await context.store.artifacts.insert(row, digest, (workspace_id) => [
    eventOf(context, caller, "artifact.created", row, workspace_id),
  ]);
  return settleCreate(inserted, digest);
}

/** Refuses before any byte is read what the insert would refuse after them. */
async function requirePlace(context: Context, input: ArtifactCreate): Promise<void> {
  const construct = await context.store.constructs.find(input.construct_id);
  if (construct === null) throw invalid("construct_id", "There is no such construct.");
  if (construct.deleted_at_ms !== null)
    throw new Problem("gone", "The construct is in the trash.", { hint: "Undelete the construct." });
  if (input.session_id === undefined) return;
  const session = await context.store.sessions.find(input.session_id);
  if (session === null) throw invalid("session_id", "There is no such session.");
}

/**
 * Stores bytes and their row; 201 means both are on the disk. Errors: `invalid_request` (construct, session, entry or
 * digest), `gone`, `too_large`, `storage_full`, `conflict` when the id was created with something else.
 */
export async function createArtifact(
  context: Context,
  input: ArtifactCreate,
  { chunks, sha256 }: Upload,
  caller: Caller,
): Promise<Created<Artifact>> {
  await requirePlace(context, input);
  const place = { construct_id: input.construct_id, type: input.type ?? DEFAULT_TYPE };
  const options = { max_bytes: limit("artifact_bytes"), ...(sha256 !== undefined && { sha256 }) };
  const { created, row } = await context.blobs.put(place, chunks, options, (digest) =>
    insert(context, input, newRow(context, input, digest), digest.sha256, caller),
  );
  if (created) context.blobs.compressSoon(blobKey(row));
  return { created, row: await described(context, row) };
}

/** Makes one that grows; `chunks` are its first bytes. Errors: as `createArtifact`. */
export async function openArtifact(
  context: Context,
  input: ArtifactCreate,
  { chunks }: Upload,
  caller: Caller,
): Promise<Created<Artifact>> {
  await requirePlace(context, input);
  const row = newRow(context, input, null);
  const first = {
    chunks,
    max_bytes: limit("artifact_bytes"),
    isKnown: async () => (await context.store.artifacts.find(row.id)) !== null,
  };
  const made = await context.blobs.growing.create(growingKey(row), first, (sha256) =>
    insert(context, input, row, sha256, caller),
  );
  return { created: made.created, row: await described(context, made.row) };
}

/** The row with what its file says. */
async function described(context: Context, row: ArtifactRow): Promise<Artifact> {
  if (row.state === "open") {
    const length = await context.blobs.growing.length(growingKey(row));
    return {
      ...row,
      size_bytes: length ?? 0,
      stored_bytes: length,
      encoding: length === null ? null : "identity",
    };
  }
  const file = await context.blobs.find(blobKey(row));
  return { ...row, stored_bytes: file?.stored_bytes ?? null, encoding: file?.encoding ?? null };
}

async function getRow(context: Context, id: string): Promise<ArtifactRow> {
  const found = await context.store.artifacts.find(id);
  if (found === null) throw missing();
  if (found.row.deleted_at_ms !== null) throw deleted();
  if (found.construct_deleted) throw trashed();
  return found.row;
}

/** Errors: `not_found`, `gone`. */
export async function getArtifact(context: Context, id: string): Promise<Artifact> {
  return described(context, await getRow(context, id));
}

/** Errors: `invalid_request` for a foreign cursor. */
export async function listArtifacts(
  context: Context,
  filter: ArtifactFilter,
  order: { sort: ArtifactSort; order: "asc" | "desc" },
  page: PageRequest,
): Promise<Page<Artifact>> {
  const found = await pageOfList(
    { list: "artifacts", ...filter, ...order },
    page,
    (most, position) =>
      context.store.artifacts.list({ ...filter, ...order, limit: most, ...(position && { position }) }),
    () => context.store.artifacts.count(filter),
  );
  return { ...found, items: await Promise.all(found.items.map((row) => described(context, row))) };
}

/** Hides it; its file goes after a grace period. Errors: `not_found`, `gone`, `precondition_failed`. */
export async function deleteArtifact(
  context: Context,
  id: string,
  expected: Expected,
  caller: Caller,
): Promise<void> {
  const hidden = await context.store.artifacts.update(id, (current, { workspace_id }) => {
    if (current.deleted_at_ms !== null) throw deleted();
    requireRevision(expected, current.revision);
    const now = context.clock.now_ms();
    const row = { ...current, deleted_at_ms: now, revision: current.revision + 1, updated_at_ms: now };
    return { row, events: [eventOf(context, caller, "artifact.deleted", row, workspace_id)] };
  });
  if (hidden === null) throw missing();
  context.bell.ring(id);
}

/** A file that should grow and is not there. */
function lost(error: unknown): unknown {
  return error instanceof Problem && error.code === "not_found"
    ? new Problem("integrity_failed", "The file of this artifact is missing.", { cause: error })
    : error;
}

/**
 * Appends to one that grows and gives its new length, once that is on the disk. Errors: `conflict` (sealed, or member
 * `offset`: where it ends), `too_large`, `not_found`, `gone`.
 */
export async function appendToArtifact(
  context: Context,
  id: string,
  offset: number,
  chunks: AsyncIterable<Uint8Array>,
): Promise<number> {
  const row = await getRow(context, id);
  if (row.state === "sealed") throw alreadySealed();
  try {
    return await context.blobs.growing.append(growingKey(row), offset, chunks, limit("artifact_bytes"));
  } catch (error) {
    // It may have been sealed since the row was read.
    if ((await getRow(context, id)).state === "sealed") throw alreadySealed();
    throw lost(error);
  } finally {
    context.bell.ring(id);
  }
}

/** Fixes digest and length; harmless when it is sealed. Errors: `not_found`, `gone`. */
export async function sealArtifact(context: Context, id: string, caller: Caller): Promise<Artifact> {
  const row = await getRow(context, id);
  if (row.state === "sealed") return described(context, row);
  const seal = (digest: BlobDigest): Promise<ArtifactRow | null> =>
    context.store.artifacts.update(id, (current, { workspace_id }) => {
      if (current.deleted_at_ms !== null) throw deleted();
      const sealed: ArtifactRow = {
        ...current,
        ...digest,
        state: "sealed",
        revision: current.revision + 1,
        updated_at_ms: context.clock.now_ms(),
      };
      return { row: sealed, events: [eventOf(context, caller, "artifact.sealed", sealed, workspace_id)] };
    });
  try {
    const sealed = await context.blobs.growing.seal(growingKey(row), seal);
    if (sealed === null) throw missing();
    context.blobs.compressSoon(blobKey(sealed));
    return await described(context, sealed);
  } catch (error) {
    const now = await getRow(context, id);
    if (now.state === "sealed") return described(context, now);
    throw lost(error);
  } finally {
    context.bell.ring(id);
  }
}

async function getContent(context: Context, id: string): Promise<Content> {
  const found = await context.store.artifacts.findContent(id);
  if (found === null) throw missing();
  if (found.deleted_at_ms !== null) throw deleted();
  if (found.construct_deleted) throw trashed();
  return found;
}

/** The bytes as they are now. Close the blob. Errors: `not_found`, `gone`, `integrity_failed`. */
export async function openContent(context: Context, id: string): Promise<{ row: Content; blob: Blob }> {
  const row = await getContent(context, id);
  if (row.state === "sealed") return { row, blob: await context.blobs.open(blobKey(row)) };
  try {
    const blob = await context.blobs.growing.open(growingKey(row));
    return { row: { ...row, size_bytes: blob.size_bytes }, blob };
  } catch (error) {
    const now = await getContent(context, id);
    if (now.state === "sealed") return { row: now, blob: await context.blobs.open(blobKey(now)) };
    throw lost(error);
  }
}
