/** Where the bytes of artifacts lie on the disk. The only file that knows. */
import { join } from "node:path";
import { ID_PATTERN } from "../lib/ids.ts";
import type { BlobEncoding, BlobKey, BlobPlace, GrowingKey } from "./contract.ts";

const COMPRESSED = ".zst";
const GROWING = ".open";
const TEMPORARY = ".tmp";
const DIGEST = /^[0-9a-f]{64}$/;
const TYPE = /^[a-z0-9][a-z0-9._-]*$/;

export type FileName =
  | { kind: "blob"; sha256: string; encoding: BlobEncoding }
  | { kind: "growing"; artifact_id: string }
  | { kind: "temporary" };

/** All of a construct's artifacts, below the folder of all artifacts. */
export function constructFolder(root: string, construct_id: string): string {
  return join(root, construct_id.slice(-2), construct_id);
}

/** Those of one type. */
export function folderOf(root: string, { construct_id, type }: BlobPlace): string {
  return join(constructFolder(root, construct_id), type);
}

export function blobPath(root: string, key: BlobKey, encoding: BlobEncoding): string {
  return join(folderOf(root, key), `${key.sha256}${encoding === "zstd" ? COMPRESSED : ""}`);
}

export function growingPath(root: string, key: GrowingKey): string {
  return join(folderOf(root, key), `${key.artifact_id}${GROWING}`);
}

export function temporaryPath(folder: string, token: string): string {
  return join(folder, `${token}${TEMPORARY}`);
}

/** What a name in a folder of artifacts means, or null when it is none of ours. */
export function readName(name: string): FileName | null {
  if (name.endsWith(TEMPORARY)) return { kind: "temporary" };
  const stem = (ending: string): string => name.slice(0, -ending.length);
  if (name.endsWith(GROWING) && ID_PATTERN.test(stem(GROWING)))
    return { kind: "growing", artifact_id: stem(GROWING) };
  if (name.endsWith(COMPRESSED) && DIGEST.test(stem(COMPRESSED)))
    return { kind: "blob", sha256: stem(COMPRESSED), encoding: "zstd" };
  return DIGEST.test(name) ? { kind: "blob", sha256: name, encoding: "identity" } : null;
}

/** Whether a path of three names below the root is a folder of ours. */
export function readPlace(shard: string, construct_id: string, type: string): BlobPlace | null {
  const is_ours = ID_PATTERN.test(construct_id) && construct_id.endsWith(shard) && TYPE.test(type);
  return is_ours ? { construct_id, type } : null;
}
