/** Files of artifacts for tests, in a folder that goes when the process ends. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createBlobs } from "../../src/blob/blobs.ts";
import type { Blobs } from "../../src/blob/contract.ts";
import { system_clock } from "../../src/lib/clock.ts";
import { system_ids } from "../../src/lib/ids.ts";

/** The blobs of a folder. A failure to compress ends the test. */
export function blobsIn(root: string): Blobs {
  const noteFailure = (error: unknown): never => {
    throw error;
  };
  return createBlobs({ root, clock: system_clock, ids: system_ids, noteFailure, plain_copy_ms: 0 });
}

/** Blobs in a folder of their own. */
export function makeBlobs(): { blobs: Blobs; root: string } {
  const root = mkdtempSync(join(tmpdir(), "synthetic-blobs-"));
  process.once("exit", () => rmSync(root, { recursive: true, force: true }));
  return { blobs: blobsIn(root), root };
}

let shared: Blobs | null = null;

/** The same for all who do not look into the folder. */
export function sharedBlobs(): Blobs {
  shared ??= makeBlobs().blobs;
  return shared;
}

export async function* chunksOf(bytes: Uint8Array | string, size = 1_000): AsyncGenerator<Uint8Array> {
  const whole = Buffer.from(bytes);
  for (let at = 0; at < whole.byteLength; at += size) yield whole.subarray(at, at + size);
}
