/**
 * Appending a stream of entries in requests, each exactly once: every request says behind which entry it
 * belongs, so repeating one whose outcome is unknown does no harm.
 */
import { ERRORS, Problem } from "../errors.ts";
import { limit } from "../limits.ts";
import type { AppendResult } from "../schema/entry.ts";
import type { Client } from "./client.ts";
import { pause } from "./interruption.ts";

export interface Position {
  generation?: string;
  seq: number;
}

export interface AppendState {
  /** Behind which entry the next request belongs. */
  position: Position;
  /** True when the caller named the position: then other writers are a conflict. Else the end is followed. */
  is_fixed: boolean;
  first_seq: number | null;
  head: string | null;
  entry_count: number;
  /** Entries that were there already. */
  replayed_count: number;
}

export interface AppendTarget {
  client: Client;
  session_id: string;
  signal: AbortSignal;
  /** Told once for a request that has to be repeated. */
  waits(problem: Problem): void;
}

function positionText({ generation, seq }: Position): string {
  return generation === undefined ? String(seq) : `${generation}.${seq}`;
}

function keep(state: AppendState, result: AppendResult, sent_count: number): void {
  const replayed = result.items?.filter((item) => item.replayed).length ?? (result.replayed ? sent_count : 0);
  state.first_seq = Math.min(state.first_seq ?? result.first_seq, result.first_seq);
  // Entries with a key may have been there long before; the end never moves back.
  if (result.last_seq >= state.position.seq) state.head = result.head;
  state.position = { ...state.position, seq: Math.max(state.position.seq, result.last_seq) };
  state.entry_count += sent_count;
  state.replayed_count += replayed;
}

/** Where the session ends now. */
async function endOf(client: Client, session_id: string): Promise<number> {
  return (await client.json<{ last_seq: number }>({ path: `/v1/sessions/${session_id}` })).last_seq;
}

/** Twice as long each time; longer when the server asks for it, within reason. */
function pauseMs(failed: number, { extra }: Problem): number {
  const own = Math.min(limit("cli_append_pause_ms") * 2 ** failed, limit("cli_longest_pause_ms"));
  return Math.max(own, Math.min((extra.retry_after_s ?? 0) * 1_000, limit("cli_retry_after_ms")));
}

/**
 * Appends one request's entries; when it resolves they are on disk and `state` says where. Errors: those of
 * the append; after one, `state` is what was acknowledged before.
 */
export async function appendRequest(
  target: AppendTarget,
  body: Uint8Array,
  sent_count: number,
  state: AppendState,
): Promise<void> {
  const { client, session_id, signal } = target;
  let uncertain = false;
  let overtaken = 0;
  for (let failed = 0; ;) {
    try {
      const result = await client.json<AppendResult>({
        method: "POST",
        path: `/v1/sessions/${session_id}/entries`,
        query: { after: positionText(state.position) },
        headers: { "content-type": "application/x-ndjson" },
        body,
      });
      // The same entries at a place that nobody promised us, at the first try: another writer's, who said the
      // same.
      const is_anothers = result.replayed && result.items === undefined && !uncertain && !state.is_fixed;
      if (!is_anothers) return keep(state, result, sent_count);
      state.position = { seq: await endOf(client, session_id) };
    } catch (error) {
      if (!(error instanceof Problem) || signal.aborted) throw error;
      const last_seq = error.extra.members?.["last_seq"];
      if (
        error.code === "conflict" &&
        !state.is_fixed &&
        typeof last_seq === "number" &&
        last_seq > state.position.seq
      ) {
        // It was refused there and is stored nowhere else: it belongs behind the new end.
        state.position = { seq: last_seq };
        uncertain = false;
      } else if (ERRORS[error.code].retryable && failed < limit("cli_append_retries_count")) {
        // A refusal for want of room or time stored nothing; a broken connection may have.
        uncertain ||= error.code !== "busy" && error.code !== "storage_full";
        if (failed === 0) target.waits(error);
        await pause(pauseMs(failed, error), signal);
        failed += 1;
        continue;
      } else throw error;
    }
    overtaken += 1;
    if (overtaken > limit("cli_append_overtaken_count"))
      throw new Problem("conflict", "Other writers were always faster.", {
        hint: "One writer at a time, or a `key` in every entry.",
      });
  }
}
