/**
 * Bytes on their way to a new file. Few are hashed and written at once; for many a thread does both, so that the event
 * loop only receives them. The disk is given them in steps and not all at the end, because a commit that syncs its log
 * has to wait for what the disk was given before.
 */
import type { FileHandle } from "node:fs/promises";
import { limit } from "../limits.ts";
import type { BlobDigest } from "./contract.ts";
import { tooLarge, writeAll } from "./durable.ts";
import type { IntakeLane, IntakeThread } from "./intake-thread.ts";

/** How many steps may have been written while one is on its way to the disk. */
const STEPS_AHEAD = 4;

/** Hands batches to the thread and steps to the disk, with a bound on what each of them has before it. */
function createFeed(lane: IntakeLane, file: FileHandle) {
  /** Handed over and not known to be written, oldest first. */
  const writes: { done: Promise<void>; bytes: number }[] = [];
  let sent_bytes = 0;
  let unwritten_bytes = 0;
  let unsynced_bytes = 0;
  let syncing: Promise<void> | null = null;
  /** The system tells of it once: a later sync of the same file may succeed without those bytes. */
  let sync_failure: { error: unknown } | null = null;

  async function oldestWritten(): Promise<void> {
    const oldest = writes.shift();
    unwritten_bytes -= oldest?.bytes ?? 0;
    await oldest?.done;
  }

  function sync(): void {
    unsynced_bytes = 0;
    syncing = file
      .datasync()
      .catch((error: unknown) => {
        sync_failure ??= { error };
      })
      .finally(() => {
        syncing = null;
      });
  }

  function requireSynced(): void {
    if (sync_failure !== null) throw sync_failure.error;
  }

  return {
    async send(batch: readonly Uint8Array[], bytes: number): Promise<void> {
      requireSynced();
      const done = lane.write(file.fd, batch, sent_bytes);
      done.catch(() => undefined);
      writes.push({ done, bytes });
      sent_bytes += bytes;
      unwritten_bytes += bytes;
      unsynced_bytes += bytes;
      while (unwritten_bytes > limit("upload_window_bytes")) await oldestWritten();
      if (unsynced_bytes >= STEPS_AHEAD * limit("upload_sync_bytes")) await syncing;
      if (unsynced_bytes >= limit("upload_sync_bytes") && syncing === null) sync();
    },
    /** Everything is written and known to be so. Errors: of any write or sync. */
    async finish(): Promise<void> {
      while (writes.length > 0) await oldestWritten();
      await syncing;
      requireSynced();
    },
    /** Nobody writes any more, however it went. */
    async stop(): Promise<void> {
      await Promise.allSettled([...writes.map(({ done }) => done), syncing]);
    },
  };
}

/**
 * Writes all bytes into an empty file and syncs it; gives their digest. Afterwards nobody writes to the file any more,
 * also when it failed. A chunk that is a whole buffer is handed over: nobody may use it afterwards. Errors: `too_large`,
 * those of the file system, `unavailable`, what `chunks` throw.
 */
export async function receive(
  thread: IntakeThread,
  file: FileHandle,
  chunks: AsyncIterable<Uint8Array>,
  max_bytes: number,
): Promise<BlobDigest> {
  let batch: Uint8Array[] = [];
  let batch_bytes = 0;
  let size_bytes = 0;
  let lane: IntakeLane | null = null;
  let feed: ReturnType<typeof createFeed> | null = null;
  try {
    for await (const chunk of chunks) {
      size_bytes += chunk.byteLength;
      if (size_bytes > max_bytes) throw tooLarge(max_bytes);
      batch.push(chunk);
      batch_bytes += chunk.byteLength;
      // A sender that drips is not kept in thousands of pieces.
      if (batch.length >= limit("upload_batch_pieces_count")) batch = [Buffer.concat(batch)];
      if (batch_bytes < limit("upload_batch_bytes")) continue;
      lane ??= thread.open();
      feed ??= createFeed(lane, file);
      await feed.send(batch, batch_bytes);
      batch = [];
      batch_bytes = 0;
    }
    let sha256: string;
    if (lane === null || feed === null) {
      const bytes = Buffer.concat(batch);
      await writeAll(file, bytes, 0);
      sha256 = new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
    } else {
      await feed.send(batch, batch_bytes);
      await feed.finish();
      sha256 = await lane.end();
    }
    await file.sync();
    return { sha256, size_bytes };
  } catch (error) {
    // The thread forgets the upload; what it says does not matter any more.
    await feed?.stop();
    await lane?.end().catch(() => undefined);
    throw error;
  }
}
