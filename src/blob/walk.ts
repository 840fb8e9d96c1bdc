/** Looks through the folders of artifacts, a few names at a time. */
import { opendir, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { BlobPlace } from "./contract.ts";
import { absentAsNull } from "./durable.ts";
import { type FileName, folderOf, readName, readPlace } from "./layout.ts";

export interface FoundFile {
  place: BlobPlace;
  meaning: FileName;
  path: string;
  stored_bytes: number;
  /** When its bytes or its names changed last. */
  changed_ms: number;
}

/** Files of ours in one place. */
export async function* filesOf(root: string, place: BlobPlace): AsyncGenerator<FoundFile> {
  const folder = folderOf(root, place);
  for await (const { name } of await opendir(folder)) {
    const meaning = readName(name);
    const path = join(folder, name);
    const found = meaning === null ? null : await absentAsNull(stat(path));
    if (meaning !== null && found !== null)
      yield { place, meaning, path, stored_bytes: found.size, changed_ms: found.ctimeMs };
  }
}

/** All places that there are. */
export async function* places(root: string): AsyncGenerator<BlobPlace> {
  for (const shard of await foldersIn(root))
    for (const construct_id of await foldersIn(join(root, shard)))
      for (const type of await foldersIn(join(root, shard, construct_id))) {
        const place = readPlace(shard, construct_id, type);
        if (place !== null) yield place;
      }
}

/** Names of the folders in a folder; none when it is not there. */
export async function foldersIn(path: string): Promise<string[]> {
  const entries = (await absentAsNull(readdir(path, { withFileTypes: true }))) ?? [];
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
}
