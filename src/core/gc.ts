/** What is left over: rows whose time is over, files that nobody names, and rows whose file is missing. */
import { errorText, type Log } from "../lib/log.ts";
import { limit } from "../limits.ts";
import type { ArtifactRow } from "../schema/artifact.ts";
import type { GarbageReport } from "../schema/gc.ts";
import type { Context } from "./context.ts";

export interface GarbageOptions {
  dry_run: boolean;
  /** How long a file that nobody names stays, and the row of a deleted artifact. */
  grace_ms: number;
}

/** Removes what nobody can miss any more. Never races with an upload of the same bytes: both hold the digest's lock. */
export async function collectGarbage(context: Context, options: GarbageOptions): Promise<GarbageReport> {
  const { dry_run, grace_ms } = options;
  const now_ms = context.clock.now_ms();
  let purged_rows_count = 0;
  while (!dry_run) {
    const purged = await context.store.artifacts.purge(now_ms - grace_ms);
    if (purged === 0) break;
    purged_rows_count += purged;
  }
  const files = await context.blobs.gc({ grace_ms, dry_run, now_ms }, async (key) => {
    if ("sha256" in key) return context.store.artifacts.namesBlob(key);
    const found = await context.store.artifacts.find(key.artifact_id);
    return found !== null && found.row.state === "open";
  });
  return {
    dry_run,
    purged_rows_count,
    temporary_files: files.temporary,
    unreferenced_files: files.unreferenced,
    removed_bytes: files.removed_bytes,
    missing: await missingFiles(context),
  };
}

async function missingFiles(context: Context): Promise<GarbageReport["missing"]> {
  const missing: GarbageReport["missing"] = [];
  for (let after: number | null = 0; after !== null;) {
    const step: { rows: ArtifactRow[]; next: number | null } = await context.store.artifacts.scan(after);
    for (const row of step.rows) {
      if (row.deleted_at_ms === null && (await isMissing(context, row)))
        missing.push({ artifact_id: row.id, construct_id: row.construct_id, name: row.name });
    }
    after = step.next;
  }
  return missing;
}

/** A row that went or was sealed since it was read has no other file to miss. */
async function isMissing(
  context: Context,
  { id, construct_id, type, sha256 }: ArtifactRow,
): Promise<boolean> {
  const has_file =
    sha256 === null
      ? (await context.blobs.growing.length({ construct_id, type, artifact_id: id })) !== null
      : (await context.blobs.find({ construct_id, type, sha256 })) !== null;
  if (has_file) return false;
  const now = await context.store.artifacts.find(id);
  return now !== null && now.row.deleted_at_ms === null && now.row.sha256 === sha256;
}

/** Collects by itself, time and again, until the returned function has resolved. */
export function scheduleGarbage(context: Context, log: Log): () => Promise<void> {
  let running: Promise<void> = Promise.resolve();
  const collect = async (): Promise<void> => {
    try {
      const report = await collectGarbage(context, { dry_run: false, grace_ms: limit("artifact_grace_ms") });
      log.info("garbage_collected", {
        purged_rows_count: report.purged_rows_count,
        temporary_files_count: report.temporary_files.length,
        unreferenced_files_count: report.unreferenced_files.length,
        removed_bytes: report.removed_bytes,
      });
      for (const { artifact_id, construct_id } of report.missing)
        log.error("artifact_file_missing", { artifact_id, construct_id });
    } catch (error) {
      log.warn("garbage_failed", { error: errorText(error) });
    }
  };
  let timer: Timer;
  const schedule = (wait_ms: number): void => {
    timer = setTimeout(() => {
      running = collect();
      schedule(limit("gc_interval_ms"));
    }, wait_ms);
    timer.unref();
  };
  schedule(limit("gc_first_ms"));
  return async () => {
    clearTimeout(timer);
    await running;
  };
}
