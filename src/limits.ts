/**
 * Every bound of the program, by name, with its unit and its reason. A loop, queue, body, page, retry or wait that
 * has no row here is a defect. The README's table is generated from this file.
 */

const KIB = 1024;
const MIB = 1024 * KIB;

interface Limit {
  value: number;
  unit: "bytes" | "ms" | "count" | "characters" | "levels";
  /** Why there is a bound, and why this one. */
  why: string;
}

// prettier-ignore
export const LIMITS = {
  json_body_bytes: { value: 32 * MIB, unit: "bytes", why: "an entry of 16 MiB in JSON, escaped, with room for its envelope" },
  ndjson_body_bytes: { value: 64 * MIB, unit: "bytes", why: "one request is one transaction and is held in memory whole" },
  resource_body_bytes: { value: 1 * MIB, unit: "bytes", why: "a construct, session or workspace with every field at its limit" },
  entry_body_bytes: { value: 16 * MIB + 2, unit: "bytes", why: "the largest body of an entry: a string of 16 MiB and its quotes" },
  entries_per_append_count: { value: 50_000, unit: "count", why: "one request is one transaction" },
  entry_key_characters: { value: 200, unit: "characters", why: "keys are names, not content" },
  json_depth_levels: { value: 10_000, unit: "levels", why: "nesting of a body; readers with recursive parsers fail beyond it" },
  page_items_count: { value: 500, unit: "count", why: "items of one page" },
  page_default_count: { value: 50, unit: "count", why: "items of a page when nothing is asked" },
  page_bytes: { value: 8 * MIB, unit: "bytes", why: "the most that max_bytes may ask for" },
  page_default_bytes: { value: 1 * MIB, unit: "bytes", why: "bodies of an entries page when nothing is asked" },
  inline_item_bytes: { value: 256 * KIB, unit: "bytes", why: "a larger item comes as a preview in pages and in the tail" },
  preview_characters: { value: 1_000, unit: "characters", why: "the text shown instead of a large body" },
  filtered_scan_frames_count: { value: 64, unit: "count", why: "frames that one filtered page may look through before it answers with a cursor" },
  title_characters: { value: 500, unit: "characters", why: "a title is one line" },
  name_characters: { value: 200, unit: "characters", why: "names of workspaces, agents, models, branches, labels" },
  brief_characters: { value: 65_536, unit: "characters", why: "a brief is a text that a person reads" },
  path_characters: { value: 4_096, unit: "characters", why: "PATH_MAX of Linux" },
  labels_count: { value: 32, unit: "count", why: "labels of one construct" },
  metadata_keys_count: { value: 64, unit: "count", why: "keys of one metadata map (contract §1)" },
  metadata_key_characters: { value: 128, unit: "characters", why: "keys are names" },
  metadata_value_bytes: { value: 1 * KIB, unit: "bytes", why: "values are facts, not content (contract §1)" },
  filter_values_count: { value: 50, unit: "count", why: "values of one repeated filter" },
  query_string_bytes: { value: 8 * KIB, unit: "bytes", why: "a request line with every filter used; the HTTP parser itself refuses 16 KiB of headers" },
  cursor_characters: { value: 2_048, unit: "characters", why: "an opaque cursor of ours is shorter than this" },
  writer_queue_count: { value: 4_096, unit: "count", why: "transactions waiting; past it the answer is 503" },
  writer_queue_bytes: { value: 256 * MIB, unit: "bytes", why: "payload waiting to be written; past it the answer is 503" },
  writer_group_count: { value: 256, unit: "count", why: "members of one group commit: bounds the time of one transaction" },
  lazy_write_ms: { value: 100, unit: "ms", why: "how long background writes wait for an append to ride with" },
  sqlite_busy_ms: { value: 15_000, unit: "ms", why: "Litestream holds the write lock for its checkpoints (facts 44)" },
  frame_raw_bytes: { value: 128 * KIB, unit: "bytes", why: "a frame ends with the line that reaches this (transcripts.md)" },
  bulk_append_bytes: { value: 256 * KIB, unit: "bytes", why: "a request this large goes straight to frames (transcripts.md rule 5)" },
  hot_rows_bytes: { value: 64 * MIB, unit: "bytes", why: "entries kept as rows before the oldest are sealed" },
  seal_idle_ms: { value: 5 * 60_000, unit: "ms", why: "a quiet session's tail is sealed after this" },
  trim_step_rows_count: { value: 1_000, unit: "count", why: "sealed rows deleted in one step: 500 has the better p99, 2,000 the better WAL" },
  reclaim_step_pages_count: { value: 250, unit: "count", why: "pages given back in one step: about 6 ms" },
  back_pressure_ms: { value: 5_000, unit: "ms", why: "how long an append waits for the sealer before 503" },
  frame_cache_bytes: { value: 16 * MIB, unit: "bytes", why: "decompressed frames kept for pages and single entries" },
  reader_workers_count: { value: 2, unit: "count", why: "threads for long reads; at most as many as cores" },
  reader_queue_count: { value: 64, unit: "count", why: "long reads waiting for a thread; past it the answer is 503" },
  tails_count: { value: 2_000, unit: "count", why: "open event streams; past it the answer is 503" },
  tail_batch_bytes: { value: 256 * KIB, unit: "bytes", why: "what a tail reads at once; also the most it holds for a slow reader" },
  tail_stall_ms: { value: 30_000, unit: "ms", why: "a reader that takes nothing for this long is closed and resumes" },
  tail_heartbeat_ms: { value: 15_000, unit: "ms", why: "a comment that keeps proxies from closing a quiet stream" },
  tail_retry_ms: { value: 1_000, unit: "ms", why: "what a tail tells EventSource to wait before it reconnects" },
  drain_ms: { value: 10_000, unit: "ms", why: "how long SIGTERM waits for requests under way" },
  request_idle_ms: { value: 60_000, unit: "ms", why: "a connection without traffic is closed" },
  children_list_count: { value: 10_000, unit: "count", why: "statuses of one construct that one answer can hold" },
} as const satisfies Record<string, Limit>;

export type LimitName = keyof typeof LIMITS;

/** The value of a limit, in its own unit. */
export function limit(name: LimitName): number {
  return LIMITS[name].value;
}
