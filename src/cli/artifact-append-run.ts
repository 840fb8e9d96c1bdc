/**
 * Appending a stream to an artifact in requests, each exactly once. Every request says where it goes; after one whose
 * outcome is unknown what lies there is read and compared, and only the rest is sent again.
 */
import { ERRORS, Problem } from "../errors.ts";
import { limit } from "../limits.ts";
import type { Artifact } from "../schema/artifact.ts";
import { rangeOf } from "./artifact-content.ts";
import type { Client } from "./client.ts";
import { pause } from "./interruption.ts";

export interface ArtifactEnd {
  /** Where the next byte goes. */
  offset: number;
  /** Bytes of this input that are on the disk. */
  stored_bytes: number;
}

export interface ArtifactTarget {
  client: Client;
  id: string;
  signal: AbortSignal;
  /** Told once for a request that has to be repeated. */
  waits(problem: Problem): void;
}

function pauseMs(failed: number, { extra }: Problem): number {
  const own = Math.min(limit("cli_append_pause_ms") * 2 ** failed, limit("cli_longest_pause_ms"));
  return Math.max(own, Math.min((extra.retry_after_s ?? 0) * 1_000, limit("cli_retry_after_ms")));
}

/**
 * What is still to be sent of a piece that may have arrived in part; `end` moves past what did. Errors: `conflict` when
 * somebody else's bytes lie there.
 */
async function restOf(
  { client, id, signal }: ArtifactTarget,
  piece: Uint8Array,
  end: ArtifactEnd,
): Promise<Uint8Array> {
  const { size_bytes } = await client.json<Artifact>({ path: `/v1/artifacts/${id}` });
  const arrived_bytes = Math.min(size_bytes - end.offset, piece.byteLength);
  if (arrived_bytes <= 0) return piece;
  const parts: Uint8Array[] = [];
  for await (const part of rangeOf(client, id, end.offset, end.offset + arrived_bytes, signal))
    parts.push(part);
  if (!Buffer.concat(parts).equals(piece.subarray(0, arrived_bytes)))
    throw new Problem("conflict", "Another writer appended while this one was cut off.", {
      hint: "One writer at a time; look at the end of the artifact before going on.",
    });
  end.offset = size_bytes;
  end.stored_bytes += arrived_bytes;
  return piece.subarray(arrived_bytes);
}

/** Where the artifact ends, when a refusal says so. */
function offsetIn({ code, extra }: Problem): number | null {
  const offset = extra.members?.["offset"];
  return code === "conflict" && typeof offset === "number" ? offset : null;
}

/**
 * Appends one piece; when it resolves it is on the disk and `end` says where. Errors: those of the append; after one,
 * `end` is what is known to be stored.
 */
export async function appendPiece(
  target: ArtifactTarget,
  piece: Uint8Array,
  end: ArtifactEnd,
): Promise<void> {
  const { client, id, signal } = target;
  let rest = piece;
  let uncertain = false;
  let overtaken = 0;
  for (let failed = 0; ;) {
    try {
      if (uncertain) rest = await restOf(target, rest, end);
      uncertain = false;
      if (rest.byteLength === 0) return;
      await client.request({
        method: "PATCH",
        path: `/v1/artifacts/${id}/content`,
        headers: { "upload-offset": String(end.offset), "content-type": "application/octet-stream" },
        body: rest,
      });
      end.offset += rest.byteLength;
      end.stored_bytes += rest.byteLength;
      return;
    } catch (error) {
      if (!(error instanceof Problem) || signal.aborted) throw error;
      const offset = offsetIn(error);
      if (offset !== null && overtaken < limit("cli_append_overtaken_count")) {
        overtaken += 1;
        // A request that was cut off may have gone on behind us; without one it was another writer.
        if (failed > 0) uncertain = true;
        else end.offset = offset;
        continue;
      }
      if (!ERRORS[error.code].retryable || failed >= limit("cli_append_retries_count")) throw error;
      if (failed === 0) target.waits(error);
      await pause(pauseMs(failed, error), signal);
      failed += 1;
      uncertain = true;
    }
  }
}
