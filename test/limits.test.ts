/**
 * Limits: where each one is tested at its bound and one past it, or why nobody can meet it; and the tests of those
 * that the HTTP API has. Those of the store and of the command line are tested beside them.
 */
import { describe, expect, spyOn, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { appendEntries } from "../src/core/append.ts";
import { openTail } from "../src/core/tail.ts";
import { Problem } from "../src/errors.ts";
import { parseAppendNdjson } from "../src/http/append-body.ts";
import { headedText, wireLine } from "../src/lib/wire-line.ts";
import { type LimitName, LIMITS, limit } from "../src/limits.ts";
import {
  append,
  newSession,
  type OpenDoor,
  openDoor,
  problemIn,
  type ProblemJson,
  requestOf,
  type Row,
  type Sending,
  START_MS,
} from "./http/open-door.ts";

const ROOT = join(import.meta.dir, "..");
const HERE = "test/limits.test.ts";
const STORE = "test/store/limits.test.ts";
const CLI = "test/cli/limits.test.ts";

/** For each limit the file that tests it by name, or the reason why there is no such test. */
const TESTED: Record<LimitName, string> = {
  json_body_bytes: HERE,
  ndjson_body_bytes: HERE,
  resource_body_bytes: HERE,
  entry_body_bytes: HERE,
  entries_per_append_count: HERE,
  entry_key_characters: HERE,
  keyed_entries_per_append_count: STORE,
  writer_group_bytes: STORE,
  statements_count: STORE,
  hash_turn_bytes: "only the length of a turn: nothing is refused at it",
  merge_retries_count: "merges under one read cannot be made to happen that often",
  seals_at_once_count: "only a degree of parallelism",
  seal_rows_count: "only the size of a step; the model campaign seals longer tails",
  seal_retry_ms: "the longest of growing pauses, a minute",
  writer_turns_count: "test/store/writer.test.ts",
  checkpoint_pages_count: "test/store/checkpointer.test.ts",
  low_room_bytes: "test/store/checkpointer.test.ts",
  low_room_checkpoint_pages_count: "test/store/checkpointer.test.ts",
  checkpoint_retry_ms: "only a pause; the full-disk campaign recovers through it",
  appends_per_turn_count: "test/lib/lane.test.ts",
  sealer_tick_ms: "only how often the sealer looks",
  reclaim_steps_count: "only the size of a step",
  entry_envelope_bytes: CLI,
  parse_turn_bytes: HERE,
  json_depth_levels: HERE,
  page_items_count: HERE,
  page_default_count: HERE,
  page_bytes: STORE,
  page_default_bytes: STORE,
  inline_item_bytes: HERE,
  preview_characters: HERE,
  filtered_scan_frames_count: STORE,
  title_characters: HERE,
  artifact_bytes: "16 GiB; test/blob/blobs.test.ts puts with a smaller bound",
  artifact_name_characters: "test/http/artifact.test.ts",
  media_type_characters: "test/http/artifact.test.ts",
  artifact_read_bytes: "only the size of a step",
  inline_artifact_bytes: "test/http/artifact.test.ts",
  small_artifacts_bytes: "only what is remembered: a forgotten file is read again",
  compressed_artifact_bytes: "test/blob/blobs.test.ts",
  upload_sync_bytes: "only how the disk is given its work",
  upload_batch_bytes: "test/blob/intake.test.ts",
  upload_batch_pieces_count: "test/blob/intake.test.ts",
  upload_window_bytes: "test/blob/intake.test.ts",
  upload_busy_bytes_per_s: "test/lib/pace.test.ts",
  upload_busy_ms: "test/lib/pace.test.ts",
  committed_rows_count: "test/store/committed-rows.test.ts",
  plain_copy_ms: "two seconds beside a copy; test/blob/blobs.test.ts waits for none of them",
  gc_first_ms: "ten minutes after a start",
  gc_interval_ms: "a day; test/http/artifact.test.ts runs what it runs",
  waiting_compressions_count: "10,000 files; what is beyond stays as it is",
  known_folders_count: "only what is remembered: a forgotten folder is synced again",
  known_growing_count: "test/blob/growing.test.ts",
  line_indexes_bytes: "only what is remembered: a forgotten index is made again",
  line_index_entry_bytes: "an estimate of what an index takes",
  artifact_grace_ms: "a day; test/http/artifact.test.ts gives a shorter one",
  scanned_artifacts_count: "test/store/artifact.test.ts",
  purged_artifacts_count: "test/store/artifact.test.ts",
  name_characters: HERE,
  brief_characters: HERE,
  path_characters: HERE,
  type_characters: HERE,
  labels_count: HERE,
  metadata_keys_count: HERE,
  metadata_key_characters: HERE,
  metadata_value_bytes: HERE,
  artifact_block_bytes: "test/blob/seekable.test.ts",
  text_line_bytes: "test/blob/source.test.ts",
  text_sample_bytes: "test/blob/text.test.ts",
  filter_values_count: HERE,
  query_string_bytes: HERE,
  cursor_characters: HERE,
  named_errors_count: HERE,
  append_rounds_count: HERE,
  writer_queue_count: STORE,
  writer_queue_bytes: STORE,
  writer_group_count: STORE,
  lazy_write_ms: STORE,
  sqlite_busy_ms: "a setting of each connection: test/store/connection.test.ts reads it back",
  directory_lock_ms: STORE,
  frame_raw_bytes: STORE,
  bulk_append_bytes: STORE,
  unframed_rows_count: STORE,
  hot_rows_bytes: STORE,
  seal_idle_ms: "the default of a setting; tests of the sealer set a shorter one",
  trim_step_rows_count:
    "how much one step in the background does; test/store/trim.test.ts has the rule it keeps",
  reclaim_step_pages_count: "how much one step in the background does; nobody can ask for more",
  back_pressure_ms: STORE,
  frame_cache_bytes: STORE,
  cached_frame_bytes: STORE,
  inline_decompress_bytes: STORE,
  read_rows_count: STORE,
  sent_frames_count: STORE,
  reader_workers_count: STORE,
  reader_queue_count: STORE,
  tails_count: HERE,
  tail_batch_bytes: HERE,
  tail_cache_bytes: STORE,
  row_cache_bytes: STORE,
  stream_batch_bytes: "how much a stream reads at once; what it sends is the same",
  tail_piece_bytes: "test/http/tail.test.ts",
  tail_stall_ms: "half a minute; test/http/tail.test.ts opens a door with a shorter one",
  tail_heartbeat_ms: "a quarter of a minute; test/http/tail.test.ts opens a door with a shorter one",
  tail_retry_ms: "test/http/tail.test.ts",
  farewell_ms: HERE,
  drain_ms: "an argument of the listener's stop: test/http/listen.test.ts gives a shorter one",
  request_idle_ms: HERE,
  children_list_count: STORE,
  token_min_characters: CLI,
  token_max_characters: CLI,
  cli_wait_ms: "an argument of choose: test/cli/client.test.ts gives a shorter one",
  cli_wait_step_ms: "the rhythm of a wait that has its own bound, cli_wait_ms",
  cli_probe_ms: CLI,
  cli_grace_ms: "runs out only when a command does not end by itself after a signal, and none is like that",
  cli_last_close_ms:
    "runs out only when closing hangs after a fatal error of the engine; the process ends in any case",
  cli_append_request_bytes: CLI,
  cli_append_idle_ms: CLI,
  cli_append_retries_count: CLI,
  cli_append_pause_ms: CLI,
  cli_append_overtaken_count: CLI,
  cli_read_tries_count: CLI,
  cli_tail_retries_count: CLI,
  cli_tail_pause_ms: CLI,
  cli_longest_pause_ms: CLI,
  cli_retry_after_ms: CLI,
  cli_event_line_bytes: CLI,
  cli_file_name_bytes: "test/cli/artifact.test.ts",
  cli_resolve_rows_count: CLI,
  cli_named_rows_count: CLI,
};

/** Numbers with a unit in their name that bound no loop, queue, body, page, retry or wait. */
const NO_BOUNDS: Record<string, string> = {
  "src/cli/doctor-checks.ts LITTLE_SPACE_BYTES": "from where on a finding is a warning",
  "src/cli/doctor-checks.ts NO_SPACE_BYTES": "from where on a finding is a failure",
  "src/cli/format.ts RELATIVE_MS": "from where on a time is shown as a date",
  "src/cli/format.ts SHORT_ID_CHARACTERS": "how an id is shown",
  "src/cli/progress.ts QUIET_MS": "from where on progress is shown",
  "src/cli/progress.ts STEP_MS": "how often progress is shown",
  "src/cli/token-file.ts TOKEN_BYTES": "what a token of ours is made of",
  "src/lib/pace.ts SHORTEST_MS": "what a timer can tell apart",
  "src/http/answer.ts COMPRESSED_FROM_BYTES": "from where on compression is worth it",
  "src/http/append-body.ts LINE_BYTES": "an estimate of what a line costs",
  "src/http/append-body.ts NAME_SHOWN_CHARACTERS": "how a name is shown",
  "src/http/listen.ts UNBOUNDED_BYTES": "Bun's own bound, which ours replaces",
  "src/store/sqlite/inspect.ts SMALLEST_BYTES": "what a database file has at least",
  "src/lib/wire-line.ts HEADER_BYTES": "follows from the format of a line",
  "src/store/sqlite/connection.ts CHECKPOINT_PAGES": "a setting of SQLite",
  "src/store/sqlite/connection.ts LOG_KEPT_BYTES": "a setting of SQLite",
  "src/store/sqlite/connection.ts READER_CACHE_BYTES": "a setting of SQLite",
  "src/store/sqlite/connection.ts WRITER_CACHE_BYTES": "a setting of SQLite",
  "src/store/sqlite/entry-row.ts ROW_OVERHEAD_BYTES": "an estimate of what a row costs",
  "src/store/sqlite/frame.ts MIN_CHUNK_BYTES": "the least that node:zlib takes",
};

const SOURCES = [...new Bun.Glob("src/**/*.ts").scanSync({ cwd: ROOT })]
  .filter((path) => path !== "src/limits.ts")
  .toSorted()
  .map((path) => ({ path, text: readFileSync(join(ROOT, path), "utf8") }));
const NAMES = Object.keys(LIMITS) as LimitName[];

describe("every limit", () => {
  test("is tested by name where the table says, or cannot be met for a reason", () => {
    expect(Object.keys(TESTED).toSorted()).toEqual(NAMES.toSorted());
    const untested = NAMES.filter((name) => {
      const place = TESTED[name];
      if (!place.endsWith(".test.ts")) return place.length < 20;
      const path = join(ROOT, place);
      return !existsSync(path) || !readFileSync(path, "utf8").includes(`limit("${name}")`);
    });
    expect(untested).toEqual([]);
  });

  test("bounds something", () => {
    const all = SOURCES.map(({ text }) => text).join("\n");
    expect(NAMES.filter((name) => !all.includes(`limit("${name}")`))).toEqual([]);
  });

  test("is a whole number above 0 and has its unit at the end of its name", () => {
    const wrong = NAMES.filter((name) => {
      const { value, unit } = LIMITS[name];
      return !name.endsWith(`_${unit}`) || !Number.isSafeInteger(value) || value < 1;
    });
    expect(wrong).toEqual([]);
  });

  test("stands in limits.ts: no other file has a number with a unit in its name, but for those that bound nothing", () => {
    const declared =
      /^\s*(?:export )?const (\w+_(?:BYTES|MS|S|COUNT|CHARACTERS|LEVELS|PAGES|ROWS|TRIES|ROUNDS|BATCH)) = [\d(]/gm;
    const found = SOURCES.flatMap(({ path, text }) =>
      [...text.matchAll(declared)].map(([, name]) => `${path} ${name}`),
    );
    expect(found.filter((place) => !Object.hasOwn(NO_BOUNDS, place))).toEqual([]);
  });
});

// ------------------------------------------------------------------ what the API refuses

async function refused(
  open: OpenDoor,
  code: string,
  method: string,
  path: string,
  sending?: Sending,
): Promise<ProblemJson> {
  const problem = await problemIn(await open.call(method, path, sending));
  expect({ code: problem.code, detail: problem.detail }).toMatchObject({ code });
  return problem;
}

const pointersOf = ({ errors = [] }: ProblemJson): string[] => errors.map(({ pointer }) => pointer);
const JSON_TYPE = { "content-type": "application/json" };
const NDJSON_TYPE = { "content-type": "application/x-ndjson" };

/** Text that spaces fill up to a length. */
const padded = (text: string, length: number): string => text.padEnd(length, " ");

/** A body that tells its length beforehand, and one that does not. */
function sendings(text: string, type: Record<string, string>): Sending[] {
  return [
    { body: text, headers: { ...type, "content-length": String(text.length) } },
    { body: text, headers: type },
  ];
}

describe("a request body", () => {
  const bodies: [LimitName, string, Record<string, string>, number, (session: string) => string][] = [
    [
      "json_body_bytes",
      '{"entries":[{"kind":"note","body":1}]}',
      JSON_TYPE,
      limit("json_body_bytes"),
      (path) => `${path}/entries`,
    ],
    [
      "ndjson_body_bytes",
      '{"kind":"note","body":1}',
      NDJSON_TYPE,
      limit("ndjson_body_bytes"),
      (path) => `${path}/entries`,
    ],
    ["resource_body_bytes", '{"title":"x"}', JSON_TYPE, limit("resource_body_bytes"), () => "/v1/constructs"],
  ];
  for (const [name, text, type, most, placeOf] of bodies) {
    test(`is taken at ${name} and refused one byte later, whether it tells its length or not`, async () => {
      const open = openDoor();
      const place = placeOf((await newSession(open)).path);
      for (const sending of sendings(padded(text, most), type))
        expect((await open.call("POST", place, sending)).status).toBe(201);
      for (const sending of sendings(padded(text, most + 1), type))
        expect(await refused(open, "too_large", "POST", place, sending)).toMatchObject({ limit_bytes: most });
    });
  }

  test("of a construct with every field at its limit and every character escaped is within resource_body_bytes", async () => {
    const open = openDoor();
    const full = (count: number): string => "\u{1f600}".repeat(count);
    const name = full(limit("name_characters") - 2);
    const two = (index: number): string => String(index).padStart(2, "0");
    const json = {
      title: full(limit("title_characters")),
      brief: full(limit("brief_characters")),
      type: "x".repeat(limit("type_characters")),
      labels: Array.from({ length: limit("labels_count") }, (_, index) => name + two(index)),
      agent: name,
      branch: name,
      worktree_path: full(limit("path_characters")),
      // Counted in bytes: more of these fit.
      metadata: Object.fromEntries(
        Array.from({ length: limit("metadata_keys_count") }, (_, index) => [
          full(limit("metadata_key_characters") - 2) + two(index),
          "\u0001".repeat(limit("metadata_value_bytes")),
        ]),
      ),
    };
    // As clients write it that keep to ASCII.
    const body = JSON.stringify(json).replaceAll("\u{1f600}", String.raw`\ud83d\ude00`);
    expect(body.length).toBeLessThan(limit("resource_body_bytes"));
    const answer = await open.call("POST", "/v1/constructs", { body, headers: JSON_TYPE });
    expect(answer.status).toBe(201);
    expect(await answer.json()).toMatchObject(json);
  });
});

describe("an entry", () => {
  test("has a body of entry_body_bytes at most", async () => {
    const open = openDoor();
    const { path } = await newSession(open);
    const line = (body_bytes: number): Sending => ({
      body: `{"kind":"note","body":"${"x".repeat(body_bytes - 2)}"}`,
      headers: NDJSON_TYPE,
    });
    expect((await open.call("POST", `${path}/entries`, line(limit("entry_body_bytes")))).status).toBe(201);
    const problem = await refused(
      open,
      "too_large",
      "POST",
      `${path}/entries`,
      line(limit("entry_body_bytes") + 1),
    );
    expect(problem.detail).toContain("entry_body_bytes");
    expect(pointersOf(problem)).toEqual(["line 1: /body"]);
  });

  test("is counted in bytes, not in characters", async () => {
    const open = openDoor();
    const { path } = await newSession(open);
    const body = "é".repeat(limit("entry_body_bytes") / 2 - 1);
    const send = (text: string): Promise<Response> =>
      open.call("POST", `${path}/entries`, {
        body: `{"kind":"note","body":"${text}"}`,
        headers: NDJSON_TYPE,
      });
    expect((await send(body)).status).toBe(201);
    expect((await send(`${body}x`)).status).toBe(413);
  });

  test("is nested json_depth_levels deep at most", async () => {
    const open = openDoor();
    const { path } = await newSession(open);
    const nested = (levels: number): Sending => ({
      body: `{"entries":[{"kind":"note","body":${"[".repeat(levels)}${"]".repeat(levels)}}]}`,
      headers: JSON_TYPE,
    });
    expect((await open.call("POST", `${path}/entries`, nested(limit("json_depth_levels")))).status).toBe(201);
    const problem = await refused(
      open,
      "too_large",
      "POST",
      `${path}/entries`,
      nested(limit("json_depth_levels") + 1),
    );
    expect(pointersOf(problem)).toEqual(["/entries/0/body"]);
  });

  test("has a key of entry_key_characters at most, whatever they are", async () => {
    const open = openDoor();
    const { path } = await newSession(open);
    for (const character of ["k", '"', "\\", "界", "\u{1f600}"]) {
      const key = character.repeat(limit("entry_key_characters"));
      const entries = [{ kind: "note", key, body: character }];
      expect(await open.json(201, "POST", `${path}/entries`, { json: { entries } })).toMatchObject({
        replayed: false,
      });
      expect(await open.json(200, "POST", `${path}/entries`, { json: { entries } })).toMatchObject({
        replayed: true,
      });
      const problem = await refused(open, "invalid_request", "POST", `${path}/entries`, {
        json: { entries: [{ kind: "note", key: key + character, body: 1 }] },
      });
      expect(pointersOf(problem)).toEqual(["/entries/0/key"]);
    }
  });
});

describe("an append", () => {
  test("has entries_per_append_count entries at most, as JSON and as NDJSON", async () => {
    const open = openDoor();
    const { path } = await newSession(open);
    const most = limit("entries_per_append_count");
    const entry = '{"kind":"note","body":1}';
    const json = (count: number): Sending => ({
      body: `{"entries":[${Array.from({ length: count }, () => entry).join(",")}]}`,
      headers: JSON_TYPE,
    });
    const lines = (count: number): Sending => ({ body: `${entry}\n`.repeat(count), headers: NDJSON_TYPE });
    expect(await open.json(201, "POST", `${path}/entries`, json(most))).toMatchObject({ last_seq: most });
    expect(await open.json(201, "POST", `${path}/entries`, lines(most))).toMatchObject({
      last_seq: 2 * most,
    });
    for (const sending of [json(most + 1), lines(most + 1)]) {
      const problem = await refused(open, "too_large", "POST", `${path}/entries`, sending);
      expect(problem.detail).toContain("entries_per_append_count");
    }
  });

  test("lets others have their turn each parse_turn_bytes", async () => {
    const turnsOf = async (line_bytes: number): Promise<number> => {
      const entry = '{"kind":"note","body":1}';
      const lines = Buffer.from(`${padded(entry, line_bytes)}\n${entry}\n`);
      const chunks = (async function* () {
        yield lines;
      })();
      const turns = spyOn(globalThis, "setImmediate").mockImplementation(((act: () => void) =>
        queueMicrotask(act)) as unknown as typeof setImmediate);
      try {
        expect((await parseAppendNdjson(chunks)).length).toBe(2);
        return turns.mock.calls.length;
      } finally {
        turns.mockRestore();
      }
    };
    expect(await turnsOf(limit("parse_turn_bytes") - 1)).toBe(0);
    expect(await turnsOf(limit("parse_turn_bytes"))).toBe(1);
  });

  test("is tried append_rounds_count times when others use the same keys, and is busy then", async () => {
    const open = openDoor();
    const { session } = await newSession(open);
    const { context, store } = open;
    const keep = store.entries.append;
    const rounds = { left: 0, count: 0 };
    store.entries.append = async (session_id, entries, options) => {
      rounds.count += 1;
      rounds.left -= 1;
      const head = await store.entries.head(session_id);
      if (head === null || rounds.left < 0) return keep(session_id, entries, options);
      return { outcome: "keys", head, candidates: new Map() };
    };
    const send = (key: string): Promise<unknown> =>
      appendEntries(context, session.id, [{ kind: "note", key, body: "1" }]).catch((error: unknown) =>
        error instanceof Problem ? error.code : error,
      );
    Object.assign(rounds, { left: limit("append_rounds_count") - 1, count: 0 });
    expect(await send("a")).toMatchObject({ last_seq: 1, replayed: false });
    expect(rounds.count).toBe(limit("append_rounds_count"));
    Object.assign(rounds, { left: limit("append_rounds_count"), count: 0 });
    expect(await send("b")).toBe("busy");
    expect(rounds.count).toBe(limit("append_rounds_count"));
  });
});

describe("a text", () => {
  const fields: [number, string, [collection: string, member: string][]][] = [
    [
      limit("title_characters"),
      "x",
      [
        ["constructs", "title"],
        ["sessions", "title"],
      ],
    ],
    [
      limit("name_characters"),
      "x",
      [
        ["workspaces", "name"],
        ["constructs", "agent"],
        ["constructs", "branch"],
        ["sessions", "agent"],
        ["sessions", "model"],
        ["sessions", "branch"],
        ["sessions", "external_id"],
      ],
    ],
    [
      limit("brief_characters"),
      "界",
      [
        ["constructs", "brief"],
        ["workspaces", "description"],
      ],
    ],
    [
      limit("path_characters"),
      "/",
      [
        ["workspaces", "path"],
        ["workspaces", "repository"],
        ["constructs", "worktree_path"],
        ["sessions", "working_directory"],
      ],
    ],
    [limit("type_characters"), "x", [["constructs", "type"]]],
  ];
  for (const [most, character, members] of fields) {
    for (const [collection, member] of members) {
      test(`as ${member} of ${collection} is ${most} characters long at most, also when it is changed`, async () => {
        const open = openDoor();
        const { construct } = await newSession(open);
        const needed = {
          workspaces: { name: "w" },
          constructs: { title: "c" },
          sessions: { construct_id: construct.id },
        };
        const base = needed[collection as keyof typeof needed];
        const place = `/v1/${collection}`;
        const text = character.repeat(most);
        const row = await open.json<Row>(201, "POST", place, { json: { ...base, [member]: text } });
        expect(row[member]).toBe(text);
        const changing = { headers: { "if-match": "*" } };
        const long = { [member]: text + character };
        await open.json(200, "PATCH", `${place}/${row.id}`, { json: { [member]: text }, ...changing });
        for (const refusal of [
          await refused(open, "invalid_request", "POST", place, { json: { ...base, ...long } }),
          await refused(open, "invalid_request", "PATCH", `${place}/${row.id}`, { json: long, ...changing }),
        ])
          expect(pointersOf(refusal)).toEqual([`/${member}`]);
      });
    }
  }

  test("that says why a status changed is title_characters long at most", async () => {
    const open = openDoor();
    const { construct } = await newSession(open);
    const change = (status: string, length: number): Promise<Response> =>
      open.call("PATCH", `/v1/constructs/${construct.id}`, {
        json: { status, status_reason: "x".repeat(length) },
        headers: { "if-match": "*" },
      });
    expect((await change("parked", limit("title_characters"))).status).toBe(200);
    const problem = await problemIn(await change("active", limit("title_characters") + 1));
    expect([problem.code, ...pointersOf(problem)]).toEqual(["invalid_request", "/status_reason"]);
  });

  test("that is looked for is as long as what it is looked for in", async () => {
    const open = openDoor();
    for (const [place, most] of [
      ["/v1/constructs", limit("title_characters")],
      ["/v1/workspaces", limit("name_characters")],
    ] as const) {
      await open.json(200, "GET", `${place}?q=${"x".repeat(most)}`);
      expect(
        pointersOf(await refused(open, "invalid_request", "GET", `${place}?q=${"x".repeat(most + 1)}`)),
      ).toEqual(["q"]);
    }
  });
});

describe("labels and metadata", () => {
  const labels = (count: number): string[] => Array.from({ length: count }, (_, index) => `label ${index}`);
  const map = (count: number): Record<string, string> =>
    Object.fromEntries(Array.from({ length: count }, (_, index) => [`key ${index}`, "v"]));
  const wide = "é".repeat(limit("metadata_value_bytes") / 2);
  const values: [title: string, pointer: string, most: object, beyond: object][] = [
    [
      "labels_count labels",
      "/labels",
      { labels: labels(limit("labels_count")) },
      { labels: labels(limit("labels_count") + 1) },
    ],
    [
      "name_characters in a label",
      "/labels/0",
      { labels: ["x".repeat(limit("name_characters"))] },
      { labels: ["x".repeat(limit("name_characters") + 1)] },
    ],
    [
      "metadata_keys_count keys",
      "/metadata",
      { metadata: map(limit("metadata_keys_count")) },
      { metadata: map(limit("metadata_keys_count") + 1) },
    ],
    [
      "metadata_key_characters in a key",
      `/metadata/${"k".repeat(limit("metadata_key_characters") + 1)}`,
      { metadata: { ["k".repeat(limit("metadata_key_characters"))]: "v" } },
      { metadata: { ["k".repeat(limit("metadata_key_characters") + 1)]: "v" } },
    ],
    [
      "metadata_value_bytes in a value",
      "/metadata/key",
      { metadata: { key: "v".repeat(limit("metadata_value_bytes")) } },
      { metadata: { key: "v".repeat(limit("metadata_value_bytes") + 1) } },
    ],
    [
      "metadata_value_bytes, counted in bytes",
      "/metadata",
      { metadata: { key: wide } },
      { metadata: { key: `${wide}x` } },
    ],
  ];
  for (const [title, pointer, most, beyond] of values) {
    test(`have ${title} at most`, async () => {
      const open = openDoor();
      await open.json(201, "POST", "/v1/constructs", { json: { title: "x", ...most } });
      const problem = await refused(open, "invalid_request", "POST", "/v1/constructs", {
        json: { title: "x", ...beyond },
      });
      expect(pointersOf(problem)).toContain(pointer);
    });
  }
});

describe("a query", () => {
  test("is query_string_bytes long at most", async () => {
    const open = openDoor();
    const query = (length: number): string => `/v1/constructs?${"limit=1".padEnd(length, "&")}`;
    await open.json(200, "GET", query(limit("query_string_bytes")));
    await refused(open, "too_large", "GET", query(limit("query_string_bytes") + 1));
  });

  test("has filter_values_count values of one filter at most", async () => {
    const open = openDoor();
    for (const name of ["label", "metadata.key"]) {
      const query = (count: number): string =>
        `/v1/constructs?${Array.from({ length: count }, (_, index) => `${name}=${index}`).join("&")}`;
      await open.json(200, "GET", query(limit("filter_values_count")));
      const problem = await refused(open, "invalid_request", "GET", query(limit("filter_values_count") + 1));
      expect(pointersOf(problem)).toEqual([name]);
    }
  });

  test("asks for metadata_keys_count keys at most, each of metadata_key_characters", async () => {
    const open = openDoor();
    const keys = (count: number): string =>
      `/v1/constructs?${Array.from({ length: count }, (_, index) => `metadata.key${index}=v`).join("&")}`;
    await open.json(200, "GET", keys(limit("metadata_keys_count")));
    await refused(open, "invalid_request", "GET", keys(limit("metadata_keys_count") + 1));
    for (const character of ["k", "\u{1f600}"]) {
      const key = (length: number): string =>
        `/v1/constructs?metadata.${encodeURIComponent(character.repeat(length))}=v`;
      await open.json(200, "GET", key(limit("metadata_key_characters")));
      await refused(open, "invalid_request", "GET", key(limit("metadata_key_characters") + 1));
    }
  });

  test("has a cursor of cursor_characters at most, and no cursor of ours is longer", async () => {
    const open = openDoor();
    for (const character of ["\u0001", "界", "\u{1f600}"])
      for (let index = 0; index < 2; index += 1)
        await open.json(201, "POST", "/v1/constructs", {
          json: { title: character.repeat(limit("title_characters")) },
        });
    const lengths: number[] = [];
    let seen = 0;
    for (let cursor: string | null = ""; cursor !== null; seen += 1) {
      const asked = cursor === "" ? "" : `&cursor=${cursor}`;
      const page: { items: Row[]; next_cursor: string | null } = await open.json(
        200,
        "GET",
        `/v1/constructs?sort=title&limit=1${asked}`,
      );
      expect(page.items.length).toBe(1);
      cursor = page.next_cursor;
      if (cursor !== null) lengths.push(cursor.length);
    }
    expect(seen).toBe(6);
    expect(Math.max(...lengths)).toBe(limit("cursor_characters"));
    const made_up = (length: number): Promise<ProblemJson> =>
      refused(open, "invalid_request", "GET", `/v1/constructs?cursor=${"a".repeat(length)}`);
    expect((await made_up(limit("cursor_characters"))).detail).toContain("does not belong");
    expect((await made_up(limit("cursor_characters") + 1)).detail).not.toContain("does not belong");
  });
});

describe("a refusal", () => {
  test("names named_errors_count places at most", async () => {
    const open = openDoor();
    const { path } = await newSession(open);
    const unknown = (count: number): Record<string, number> =>
      Object.fromEntries(Array.from({ length: count }, (_, index) => [`unknown${index}`, 1]));
    const refusals: ((count: number) => Promise<ProblemJson>)[] = [
      (count) =>
        refused(open, "invalid_request", "POST", "/v1/constructs", {
          json: { title: "x", ...unknown(count) },
        }),
      (count) =>
        refused(open, "invalid_request", "POST", `${path}/entries`, {
          json: { entries: [{ kind: "note", body: 1, ...unknown(count) }] },
        }),
      (count) =>
        refused(open, "invalid_request", "GET", `/v1/constructs?${Object.keys(unknown(count)).join("=1&")}`),
    ];
    for (const refuse of refusals) {
      expect(pointersOf(await refuse(limit("named_errors_count"))).length).toBe(limit("named_errors_count"));
      expect(pointersOf(await refuse(limit("named_errors_count") + 1)).length).toBe(
        limit("named_errors_count"),
      );
    }
  });
});

// ------------------------------------------------------------------ pages and tails

describe("a page", () => {
  test("has page_items_count items when they are asked for, and more cannot be", async () => {
    const open = openDoor();
    const { path, construct } = await newSession(open);
    const most = limit("page_items_count");
    await append(
      open,
      path,
      Array.from({ length: most + 1 }, (_, index) => index),
    );
    for (let index = 0; index < most; index += 1) {
      await open.json(201, "POST", "/v1/workspaces", { json: { name: `w${index}` } });
      await open.json(201, "POST", "/v1/constructs", { json: { title: `c${index}` } });
      await open.json(201, "POST", "/v1/sessions", { json: { construct_id: construct.id } });
    }
    for (const place of ["/v1/workspaces", "/v1/constructs", "/v1/sessions", `${path}/entries`]) {
      const page = await open.json<{ items: unknown[]; next_cursor: string | null }>(
        200,
        "GET",
        `${place}?limit=${most}`,
      );
      expect(page.items.length).toBe(most);
      expect(page.next_cursor).not.toBeNull();
      expect(pointersOf(await refused(open, "invalid_request", "GET", `${place}?limit=${most + 1}`))).toEqual(
        ["limit"],
      );
    }
  });

  test("has page_default_count items when nothing is asked", async () => {
    const open = openDoor();
    const { path } = await newSession(open);
    const pageOf = (): Promise<{ items: unknown[]; next_cursor: string | null }> =>
      open.json(200, "GET", `${path}/entries`);
    await append(
      open,
      path,
      Array.from({ length: limit("page_default_count") }, (_, index) => index),
    );
    expect(await pageOf()).toMatchObject({ next_cursor: null });
    await append(open, path, ["one more"]);
    const page = await pageOf();
    expect(page.items.length).toBe(limit("page_default_count"));
    expect(page.next_cursor).not.toBeNull();
  });
});

/** A body with which entry `seq` has a line that is so long, newline and all. */
function bodyOfLine(line_bytes: number, seq: number): string {
  const empty = wireLine(
    START_MS,
    headedText({ seq, kind: "message", actor: "agent", at_ms: 1, body: '""' }),
  );
  return "x".repeat(line_bytes - Buffer.byteLength(empty) - 1);
}

describe("a large entry", () => {
  test("is shown whole up to inline_item_bytes, and beyond by preview_characters of its text", async () => {
    const open = openDoor();
    const { path } = await newSession(open);
    const bodies = [bodyOfLine(limit("inline_item_bytes"), 1), bodyOfLine(limit("inline_item_bytes") + 1, 2)];
    await append(open, path, bodies);
    const { items } = await open.json<{ items: Record<string, unknown>[] }>(200, "GET", `${path}/entries`);
    expect(items[0]).toMatchObject({ body: bodies[0] });
    expect(items[0]).not.toHaveProperty("preview");
    expect(items[1]).toMatchObject({
      body: null,
      body_bytes: bodies[1]!.length + 2,
      preview: `"${bodies[1]}`.slice(0, limit("preview_characters")),
    });
  });
});

describe("a tail", () => {
  test("takes tail_batch_bytes at once", async () => {
    const open = openDoor();
    const half = limit("tail_batch_bytes") / 2;
    for (const [line_bytes, last_seq] of [
      [half, 2],
      [half - 1, 3],
    ] as const) {
      const { path, session } = await newSession(open);
      await append(
        open,
        path,
        [1, 2, 3].map((seq) => bodyOfLine(line_bytes, seq)),
      );
      const tail = await openTail(open.context, session.id, undefined);
      expect(await tail.next(0)).toMatchObject({ first_seq: 1, last_seq });
      tail.close();
    }
  });

  test("finds room while fewer than tails_count are open, and is busy then", async () => {
    const open = openDoor();
    const { path } = await newSession(open);
    const bodies: (ReadableStream | null)[] = [];
    for (let index = 0; index < limit("tails_count"); index += 1) {
      const { status, body } = await open.call("GET", `${path}/tail`);
      expect(status).toBe(200);
      bodies.push(body);
    }
    await refused(open, "busy", "GET", `${path}/tail`);
    await bodies.pop()?.cancel();
    bodies.push((await open.call("GET", `${path}/tail`)).body);
    await refused(open, "busy", "GET", `${path}/tail`);
    for (const body of bodies) await body?.cancel();
    expect(open.door.active_count).toBe(0);
  });

  test("finds no room that many at once have counted on", async () => {
    const open = openDoor({ waits: { tails_count: 2 } });
    const { path } = await newSession(open);
    const answers = await Promise.all(Array.from({ length: 5 }, () => open.call("GET", `${path}/tail`)));
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 200, 503, 503, 503]);
    for (const { body } of answers) await body?.cancel();
    expect(open.door.active_count).toBe(0);
  });
});

describe("the idle time of a connection", () => {
  test("is off while a stream runs, request_idle_ms after it and farewell_ms after its last words", async () => {
    const open = openDoor();
    const { path } = await newSession(open);
    await append(open, path, ["x"]);
    const given: number[] = [];
    const connection = { timeout: (_request: Request, seconds: number) => void given.push(seconds) };
    await (await open.door.fetch(requestOf("GET", `${path}/transcript`), connection)).text();
    expect(given.splice(0)).toEqual([0, limit("request_idle_ms") / 1_000]);
    const tail = await open.door.fetch(requestOf("GET", `${path}/tail`), connection);
    open.door.beginDrain();
    expect(await tail.text()).toContain("event: error");
    expect(given).toEqual([0, limit("farewell_ms") / 1_000]);
  });
});
