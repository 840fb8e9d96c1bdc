/** What is measured. One set a door, so that two in one process do not mix. */
import type { Context } from "../core/context.ts";
import { operation, type Operation } from "./operation.ts";
import { counters, type Family, histogram, reading, information } from "./prometheus.ts";
import { bodyAnswer } from "./answer.ts";
import type { DoorState } from "./state.ts";

export interface Metrics {
  /** One finished request; for a stream, the time until it began. */
  observeRequest(route: string, method: string, status: number, elapsed_ms: number): void;
  /** One append that was stored, not replayed. */
  countAppend(entries_count: number, body_bytes: number): void;
  text(): string;
}

/** Upper bounds in seconds: an append of a millisecond and an export of a minute are both told apart. */
const DURATION_BOUNDS_S = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30];

/** Methods that are counted by name; a client cannot make up new series. */
const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/** Classes of statuses by their first digit. */
const CLASSES = ["", "1xx", "2xx", "3xx", "4xx", "5xx"];

export interface MetricsOptions {
  version: string;
  started_at_ms: number;
}

/** Metrics of one door and its store. */
export function createMetrics(context: Context, state: DoorState, options: MetricsOptions): Metrics {
  const requests = counters("synthetic_http_requests_total", "Requests by route, method and status class", [
    "route",
    "method",
    "status",
  ]);
  const durations = histogram(
    "synthetic_http_request_duration_seconds",
    "Time until the response began",
    ["route", "method"],
    DURATION_BOUNDS_S,
  );
  const entries = counters("synthetic_appended_entries_total", "Entries appended, replays apart", []);
  const bytes = counters(
    "synthetic_appended_request_bytes_total",
    "Bytes of the appends that were stored",
    [],
  );
  const addEntries = entries.of();
  const addBytes = bytes.of();

  /** What counts a request, by route, then by method and status class. */
  const known = new Map<string, ((elapsed_ms: number) => void)[]>();
  const seriesOf = (route: string, method: number, status_class: number): ((elapsed_ms: number) => void) => {
    const of_route = known.get(route) ?? [];
    known.set(route, of_route);
    const place = (method + 1) * CLASSES.length + status_class;
    const found = of_route[place];
    if (found !== undefined) return found;
    const name = METHODS[method] ?? "other";
    const count = requests.of(route, name, CLASSES[status_class] ?? "");
    const observe = durations.of(route, name);
    const made = (elapsed_ms: number): void => {
      count(1);
      observe(elapsed_ms / 1_000);
    };
    of_route[place] = made;
    return made;
  };

  const all = [
    requests,
    durations,
    entries,
    bytes,
    ...serverFamilies(state, options),
    ...storeFamilies(context),
  ];
  return {
    observeRequest(route, method, status, elapsed_ms) {
      seriesOf(route, METHODS.indexOf(method), Math.floor(status / 100))(elapsed_ms);
    },
    countAppend(entries_count, body_bytes) {
      addEntries(entries_count);
      addBytes(body_bytes);
    },
    text: () => all.map((family) => family.text()).join(""),
  };
}

function serverFamilies(state: DoorState, { version, started_at_ms }: MetricsOptions): Family[] {
  const gauge = (name: string, help: string, read: () => number): Family =>
    reading("gauge", name, help, read);
  return [
    information("synthetic_build_info", "Always 1; the version is its label", { version, bun: Bun.version }),
    gauge(
      "synthetic_http_active_requests",
      "Requests under way, open tails among them",
      () => state.active_count,
    ),
    gauge("synthetic_tails_open", "Open tails", () => state.tails.size),
    gauge("process_resident_memory_bytes", "Resident memory", () => process.memoryUsage.rss()),
    gauge("process_start_time_seconds", "Start, seconds since 1970", () => started_at_ms / 1_000),
  ];
}

function storeFamilies({ store }: Context): Family[] {
  const gauge = (name: string, help: string, read: () => number): Family =>
    reading("gauge", `synthetic_store_${name}`, help, read);
  const counter = (name: string, help: string, read: () => number): Family =>
    reading("counter", `synthetic_store_${name}`, help, read);
  const stats = () => store.stats();
  return [
    gauge("hot_rows_bytes", "Entries that are still rows", () => stats().hot_rows_bytes),
    gauge("wal_bytes", "Write-ahead log", () => stats().wal_bytes),
    gauge("database_bytes", "Database file", () => stats().database_bytes),
    gauge("freelist_bytes", "Free pages in the database file", () => stats().freelist_bytes),
    gauge("writer_queue", "Transactions that wait for the writer", () => stats().writer.queue_count),
    counter("writes_total", "Writes committed; many share a transaction", () => stats().writer.member_count),
    counter("commits_total", "Transactions committed", () => stats().writer.commit_count),
    counter("failures_total", "Transactions that the engine failed", () => stats().writer.failed_count),
    counter("sealed_frames_total", "Frames sealed", () => stats().sealed_frame_count),
    counter("frame_cache_hits_total", "Frames found decompressed", () => stats().frame_cache.hits),
    counter("frame_cache_misses_total", "Frames not found so", () => stats().frame_cache.misses),
    gauge("frame_cache_bytes", "Decompressed frames in memory", () => stats().frame_cache.bytes),
  ];
}

const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** The route that gives them. */
export function metricsOperation(metrics: Metrics): Operation {
  return operation(
    {
      method: "get",
      path: "/metrics",
      name: "getMetrics",
      tag: "server",
      summary: "Metrics for Prometheus",
      outcomes: [
        { status: 200, description: "Text format 0.0.4", content: { "text/plain": { type: "string" } } },
      ],
    },
    (call) => bodyAnswer(call, metrics.text(), { headers: { "Content-Type": CONTENT_TYPE } }),
  );
}
