/**
 * A child process that stores artifacts by the code of src/blob alone and prints each one once it is acknowledged: a
 * JSON line of key, length and digest. The power-loss campaign runs it as it is and, as the control, with a sync of
 * folders that does nothing. Each uses a construct of its own, so that folders are new, too. It then waits to be ended.
 * Arguments: folder, `sync` or `no-sync`, how many.
 */
import { mkdirSync } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import type { BlobDigest, BlobKey } from "../../src/blob/contract.ts";
import { system_ids } from "../../src/lib/ids.ts";
import { makePrivateFolder } from "../../src/lib/private-files.ts";
import { blobsIn, chunksOf } from "./blobs.ts";

const [root = "", syncing = "", count = "0"] = process.argv.slice(2);
const MAX_BYTES = 2 ** 24;

/** Every handle's `sync` from here on leaves folders alone. */
async function forgetFolders(): Promise<void> {
  const handle = await open(root, "r");
  const prototype = Object.getPrototypeOf(handle) as FileHandle;
  await handle.close();
  const original = prototype.sync;
  prototype.sync = async function sync(this: FileHandle): Promise<void> {
    if (!(await this.stat()).isDirectory()) await original.call(this);
  };
}

function tell(key: BlobKey, size_bytes: number): void {
  process.stdout.write(`${JSON.stringify({ key, size_bytes })}\n`);
}

if (syncing === "sync") makePrivateFolder(root);
else {
  mkdirSync(root, { recursive: true });
  await forgetFolders();
}
const blobs = blobsIn(root);
for (let number = 1; number <= Number(count); number += 1) {
  const construct_id = system_ids.next();
  const place = { construct_id, type: "log" };
  const bytes = Buffer.alloc((number * 997) % 50_000, `number ${number} `);
  const acknowledge = (digest: BlobDigest): Promise<void> => {
    tell({ ...place, sha256: digest.sha256 }, digest.size_bytes);
    return Promise.resolve();
  };
  if (number % 3 === 0) {
    const key = { ...place, artifact_id: system_ids.next() };
    const first = { chunks: chunksOf(""), max_bytes: MAX_BYTES, isKnown: () => Promise.resolve(false) };
    await blobs.growing.create(key, first, () => Promise.resolve());
    await blobs.growing.append(key, 0, chunksOf(bytes, 10_000), MAX_BYTES);
    await blobs.growing.seal(key, acknowledge);
  } else await blobs.put(place, chunksOf(bytes, 10_000), { max_bytes: MAX_BYTES }, acknowledge);
}
process.stdout.write("done\n");
// Until it is ended: a quiet disk is the worst moment, because nobody else's sync saves what was forgotten.
setInterval(() => undefined, 60_000);
