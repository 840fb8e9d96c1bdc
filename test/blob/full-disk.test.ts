/** A full disk under artifacts: refused as such, nothing half there, and what was kept of an open one is told. */
import { expect } from "bun:test";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Problem } from "../../src/errors.ts";
import { system_ids } from "../../src/lib/ids.ts";
import { blobsIn, chunksOf } from "../support/blobs.ts";
import { mountSmallDisk } from "../support/small-disk.ts";
import { skipWithout } from "../support/tools.ts";

const MIB = 1_048_576;
const MAX = { max_bytes: 1_000 * MIB };

function files(root: string): string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => name);
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof Problem) return error.code;
    throw error;
  }
  return "none";
}

skipWithout(["root"], "artifacts on a full disk").test(
  "an upload that does not fit is 507 and leaves nothing, an append keeps what fitted, and both go on once there is room",
  async () => {
    const disk = mountSmallDisk(8 * MIB);
    if (typeof disk === "string") throw new Error(disk);
    try {
      const root = join(disk.path, "artifacts");
      mkdirSync(root);
      const blobs = blobsIn(root);
      const place = { construct_id: system_ids.next(), type: "log" };
      const large = crypto.getRandomValues(new Uint8Array(65_536));
      async function* much(pieces: number): AsyncGenerator<Uint8Array> {
        for (let piece = 0; piece < pieces; piece += 1) yield large.slice();
      }
      let commits = 0;
      const commit = async (): Promise<void> => {
        commits += 1;
      };
      expect(await codeOf(blobs.put(place, much(200), MAX, commit))).toBe("storage_full");
      expect([commits, files(root)]).toEqual([0, []]);

      const key = { ...place, artifact_id: system_ids.next() };
      const first = { chunks: chunksOf(""), ...MAX, isKnown: async () => false };
      await blobs.growing.create(key, first, commit);
      await blobs.growing.append(key, 0, chunksOf("before"), MAX.max_bytes);
      expect(await codeOf(blobs.growing.append(key, 6, much(200), MAX.max_bytes))).toBe("storage_full");
      const length = (await blobs.growing.length(key)) ?? 0;
      expect(length).toBeGreaterThan(6);
      expect((length - 6) % large.byteLength).toBe(0);
      expect(await codeOf(blobs.put(place, much(50), MAX, commit))).toBe("storage_full");

      const report = await blobs.gc(
        { grace_ms: -60_000, now_ms: Date.now(), dry_run: false },
        async () => false,
      );
      expect(report.unreferenced).toHaveLength(1);
      await blobs.put(place, much(50), MAX, commit);
      expect(files(root)).toHaveLength(1);
    } finally {
      disk.unmount();
    }
  },
);
