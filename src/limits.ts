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
  resource_body_bytes: { value: 2 * MIB, unit: "bytes", why: "a construct, session or workspace with every field at its limit and every character escaped" },
  entry_body_bytes: { value: 16 * MIB + 2, unit: "bytes", why: "the largest body of an entry: a string of 16 MiB and its quotes" },
  entries_per_append_count: { value: 50_000, unit: "count", why: "one request is one transaction" },
  keyed_entries_per_append_count: { value: 5_000, unit: "count", why: "each key is looked up in the transaction: 5,000 take about 0.1 s" },
  entry_key_characters: { value: 200, unit: "characters", why: "keys are names, not content" },
  entry_envelope_bytes: { value: 4 * KIB, unit: "bytes", why: "the members beside a body in a line that the command line reads: kind, actor, times and a key, escaped" },
  parse_turn_bytes: { value: 256 * KIB, unit: "bytes", why: "NDJSON that is parsed before other requests get their turn" },
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
  type_characters: { value: 64, unit: "characters", why: "the type of a construct is a short word" },
  labels_count: { value: 32, unit: "count", why: "labels of one construct" },
  metadata_keys_count: { value: 64, unit: "count", why: "keys of one metadata map (contract §1)" },
  metadata_key_characters: { value: 128, unit: "characters", why: "keys are names" },
  metadata_value_bytes: { value: 1 * KIB, unit: "bytes", why: "values are facts, not content (contract §1)" },
  filter_values_count: { value: 50, unit: "count", why: "values of one repeated filter" },
  query_string_bytes: { value: 8 * KIB, unit: "bytes", why: "a request line with every filter used; the HTTP parser itself refuses 16 KiB of headers" },
  cursor_characters: { value: 4_096, unit: "characters", why: "the longest of ours: behind a title of 500 characters that JSON escapes" },
  named_errors_count: { value: 20, unit: "count", why: "places that one refusal names; a longer list explains no more" },
  append_rounds_count: { value: 16, unit: "count", why: "races between writers of the same keys are settled in one round; past it the answer is 503" },
  writer_queue_count: { value: 4_096, unit: "count", why: "transactions waiting; past it the answer is 503" },
  writer_queue_bytes: { value: 256 * MIB, unit: "bytes", why: "payload waiting to be written; past it the answer is 503" },
  writer_group_bytes: { value: 8 * MIB, unit: "bytes", why: "payload of one group commit, unless one member alone is larger: bounds the time of one transaction" },
  writer_group_count: { value: 24, unit: "count", why: "members of one group commit: bounds how long the event loop is held, about 3 ms" },
  writer_turns_count: { value: 6, unit: "count", why: "turns of the event loop that a group waits while each brings more: as many as fill it" },
  checkpoint_pages_count: { value: 1_000, unit: "count", why: "pages in the log before they are moved into the database: SQLite's own default" },
  low_room_bytes: { value: 64 * MIB, unit: "bytes", why: "with less than this free the log is kept short, so that little has to come free on a full disk before writing goes on" },
  low_room_checkpoint_pages_count: { value: 64, unit: "count", why: "pages in the log before they are moved when room is low: they need as much room once more" },
  checkpoint_retry_ms: { value: 1_000, unit: "ms", why: "the pause after a checkpoint that found the disk full or somebody else at work" },
  appends_per_turn_count: { value: 4, unit: "count", why: "appends that are parsed before other requests get their turn" },
  lazy_write_ms: { value: 100, unit: "ms", why: "how long background writes wait for an append to ride with" },
  sqlite_busy_ms: { value: 15_000, unit: "ms", why: "Litestream holds the write lock for its checkpoints (facts 44)" },
  directory_lock_ms: { value: 250, unit: "ms", why: "how long a start waits for a command that only looks whether the directory is held" },
  frame_raw_bytes: { value: 128 * KIB, unit: "bytes", why: "a frame ends with the line that reaches this (transcripts.md)" },
  bulk_append_bytes: { value: 256 * KIB, unit: "bytes", why: "a request this large goes straight to frames (transcripts.md rule 5)" },
  unframed_rows_count: { value: 500, unit: "count", why: "rows read at once to be sealed; none is larger than a frame" },
  hot_rows_bytes: { value: 64 * MIB, unit: "bytes", why: "entries kept as rows before the oldest are sealed" },
  merge_retries_count: { value: 8, unit: "count", why: "frames that may be merged under one read before it gives up" },
  statements_count: { value: 64, unit: "count", why: "prepared list statements kept for each connection; their shapes come from filters" },
  hash_turn_bytes: { value: 2 * MIB, unit: "bytes", why: "lines of a large append that are made before other requests get their turn" },
  seals_at_once_count: { value: 4, unit: "count", why: "sessions sealed at the same time: enough to keep the thread pool busy" },
  seal_rows_count: { value: 1_000, unit: "count", why: "rows of a session sealed in one step" },
  seal_retry_ms: { value: 60_000, unit: "ms", why: "the longest pause before a session that cannot be sealed is tried again" },
  sealer_tick_ms: { value: 1_000, unit: "ms", why: "how often quiet sessions, dead rows and free pages are looked for" },
  reclaim_steps_count: { value: 8, unit: "count", why: "slices of free pages given back in one tick: about 50 ms" },
  seal_idle_ms: { value: 5 * 60_000, unit: "ms", why: "a quiet session's tail is sealed after this" },
  trim_step_rows_count: { value: 1_000, unit: "count", why: "sealed rows deleted in one step: 500 has the better p99, 2,000 the better WAL" },
  reclaim_step_pages_count: { value: 250, unit: "count", why: "pages given back in one step: about 6 ms" },
  back_pressure_ms: { value: 5_000, unit: "ms", why: "how long an append waits for the sealer before 503" },
  frame_cache_bytes: { value: 8 * MIB, unit: "bytes", why: "decompressed frames kept for pages and single entries" },
  cached_frame_bytes: { value: 1 * MIB, unit: "bytes", why: "a larger frame would push everything else out of the cache" },
  inline_decompress_bytes: { value: 256 * KIB, unit: "bytes", why: "up to this decompressing costs less than a trip to the thread pool" },
  read_rows_count: { value: 100, unit: "count", why: "rows read at once: 12 MiB if all are as large as a frame, in practice 300 KB" },
  sent_frames_count: { value: 8, unit: "count", why: "frames read at once that go out as they are stored" },
  reader_workers_count: { value: 2, unit: "count", why: "threads for long reads; at most as many as cores" },
  reader_queue_count: { value: 64, unit: "count", why: "long reads waiting for a thread; past it the answer is 503" },
  tails_count: { value: 2_000, unit: "count", why: "open event streams; past it the answer is 503" },
  stream_batch_bytes: { value: 256 * KIB, unit: "bytes", why: "rows that a stream of a transcript reads at once" },
  row_cache_bytes: { value: 4 * MIB, unit: "bytes", why: "newest rows kept as lines, so that many tails of one session read them once" },
  tail_cache_bytes: { value: 2 * MIB, unit: "bytes", why: "events as they were sent last, for the other tails of the session" },
  tail_batch_bytes: { value: 32 * KIB, unit: "bytes", why: "what a tail reads at once; also the most it holds for a slow reader" },
  tail_piece_bytes: { value: 40 * KIB, unit: "bytes", why: "of a large event handed over at once: the server copies what a reader has not taken yet" },
  tail_stall_ms: { value: 30_000, unit: "ms", why: "a reader that takes nothing for this long is closed and resumes" },
  tail_heartbeat_ms: { value: 15_000, unit: "ms", why: "a comment that keeps proxies from closing a quiet stream" },
  tail_retry_ms: { value: 1_000, unit: "ms", why: "what a tail tells EventSource to wait before it reconnects" },
  farewell_ms: { value: 5_000, unit: "ms", why: "how long a reader that was given up may take for its last words" },
  drain_ms: { value: 10_000, unit: "ms", why: "how long SIGTERM waits for requests under way" },
  request_idle_ms: { value: 60_000, unit: "ms", why: "a connection without traffic is closed" },
  children_list_count: { value: 10_000, unit: "count", why: "statuses of one construct that one answer holds; of more the newest" },
  token_min_characters: { value: 32, unit: "characters", why: "a token of base64url that short has 192 bits" },
  token_max_characters: { value: 512, unit: "characters", why: "the token is a part of each request" },
  cli_wait_ms: { value: 5_000, unit: "ms", why: "how long a command waits for a server that starts or stops, or for another command" },
  cli_wait_step_ms: { value: 50, unit: "ms", why: "how long it waits before it looks again" },
  cli_probe_ms: { value: 2_000, unit: "ms", why: "a server that does not answer within this is taken for silent" },
  cli_grace_ms: { value: 3_000, unit: "ms", why: "what a command may take to put things in order after a signal" },
  cli_last_close_ms: { value: 2_000, unit: "ms", why: "what closing may take after a fatal error of the engine; then the process ends anyway" },
  cli_append_request_bytes: { value: 8 * MIB, unit: "bytes", why: "an append request ends with the entry that reaches this: large enough for frames, small beside ndjson_body_bytes" },
  cli_append_idle_ms: { value: 50, unit: "ms", why: "entries are sent when no more come for this long" },
  cli_append_retries_count: { value: 8, unit: "count", why: "repetitions of one append request while the server is busy or away: about 20 s" },
  cli_append_pause_ms: { value: 100, unit: "ms", why: "the pause before the first of them; each is twice the one before" },
  cli_append_overtaken_count: { value: 100, unit: "count", why: "how often other writers may get in between before it is a failure" },
  cli_read_tries_count: { value: 3, unit: "count", why: "connections in a row that bring nothing of a transcript" },
  cli_tail_retries_count: { value: 10, unit: "count", why: "connections in a row that bring nothing of a tail: about 50 s" },
  cli_tail_pause_ms: { value: 250, unit: "ms", why: "the pause before the first of them; each is twice the one before" },
  cli_longest_pause_ms: { value: 8_000, unit: "ms", why: "no pause before a repetition is longer, unless the server asks for it" },
  cli_retry_after_ms: { value: 60_000, unit: "ms", why: "a server that asks for a longer pause is asked again after this" },
  cli_event_line_bytes: { value: 16 * MIB, unit: "bytes", why: "a line of a tail holds one item, and larger ones come as previews" },
  cli_resolve_rows_count: { value: 10_000, unit: "count", why: "rows looked through for an id that was shortened" },
  cli_named_rows_count: { value: 500, unit: "count", why: "workspaces looked through for one of that name" },
} as const satisfies Record<string, Limit>;

export type LimitName = keyof typeof LIMITS;

/** The value of a limit, in its own unit. */
export function limit(name: LimitName): number {
  return LIMITS[name].value;
}
