/**
 * What is measured, in the text format of Prometheus. One registry a door, so that two in one process do not
 * mix.
 */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Context } from "../core/context.ts";
import { operation, type Operation } from "./operation.ts";
import type { DoorState } from "./state.ts";

export interface Metrics {
  /** One finished request; for a stream, the time until it began. */
  observeRequest(route: string, method: string, status: number, elapsed_ms: number): void;
  /** One append that was stored, not replayed. */
  countAppend(entries_count: number, body_bytes: number): void;
  text(): Promise<string>;
  content_type: string;
}

/** Upper bounds in seconds: an append of a millisecond and an export of a minute are both told apart. */
const DURATION_BUCKETS_S = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30];

/** Methods that are counted by name; a client cannot make up new series. */
const METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);

export interface MetricsOptions {
  version: string;
  started_at_ms: number;
}

/** Metrics of one door and its store. */
export function createMetrics(context: Context, state: DoorState, options: MetricsOptions): Metrics {
  const registry = new Registry();
  const registers = [registry];
  const requests = new Counter({
    name: "synthetic_http_requests_total",
    help: "Requests by route, method and status class",
    labelNames: ["route", "method", "status"],
    registers,
  });
  const durations = new Histogram({
    name: "synthetic_http_request_duration_seconds",
    help: "Time until the response began",
    labelNames: ["route", "method"],
    buckets: DURATION_BUCKETS_S,
    registers,
  });
  const entries = new Counter({
    name: "synthetic_appended_entries_total",
    help: "Entries appended, replays apart",
    registers,
  });
  const bytes = new Counter({
    name: "synthetic_appended_request_bytes_total",
    help: "Bytes of the append requests that were stored",
    registers,
  });
  addServerGauges(registry, state, options);
  addStoreMetrics(registry, context);
  return {
    observeRequest(route, method, status, elapsed_ms) {
      const name = METHODS.has(method) ? method : "other";
      requests.inc({ route, method: name, status: `${Math.floor(status / 100)}xx` });
      durations.observe({ route, method: name }, elapsed_ms / 1_000);
    },
    countAppend(entries_count, body_bytes) {
      entries.inc(entries_count);
      bytes.inc(body_bytes);
    },
    text: () => registry.metrics(),
    content_type: registry.contentType,
  };
}

/** A gauge that is read when it is asked for. */
function gauge(registry: Registry, name: string, help: string, read: () => number): void {
  new Gauge({
    name,
    help,
    registers: [registry],
    collect() {
      this.set(read());
    },
  });
}

/** A counter whose count is kept elsewhere. */
function counter(registry: Registry, name: string, help: string, read: () => number): void {
  new Counter({
    name,
    help,
    registers: [registry],
    collect() {
      this.reset();
      this.inc(read());
    },
  });
}

function addServerGauges(registry: Registry, state: DoorState, options: MetricsOptions): void {
  const info = new Gauge({
    name: "synthetic_build_info",
    help: "Always 1; the version is its label",
    labelNames: ["version", "bun"],
    registers: [registry],
  });
  info.set({ version: options.version, bun: Bun.version }, 1);
  gauge(
    registry,
    "synthetic_http_active_requests",
    "Requests under way, open tails among them",
    () => state.active_count,
  );
  gauge(registry, "synthetic_tails_open", "Open tails", () => state.tails.size);
  gauge(registry, "process_resident_memory_bytes", "Resident memory", () => process.memoryUsage.rss());
  gauge(
    registry,
    "process_start_time_seconds",
    "Start of the process, seconds since 1970",
    () => options.started_at_ms / 1_000,
  );
}

function addStoreMetrics(registry: Registry, context: Context): void {
  const stats = () => context.store.stats();
  gauge(
    registry,
    "synthetic_store_hot_rows_bytes",
    "Entries that are still rows",
    () => stats().hot_rows_bytes,
  );
  gauge(registry, "synthetic_store_wal_bytes", "Write-ahead log", () => stats().wal_bytes);
  gauge(registry, "synthetic_store_database_bytes", "Database file", () => stats().database_bytes);
  gauge(
    registry,
    "synthetic_store_freelist_bytes",
    "Free pages in the database file",
    () => stats().freelist_bytes,
  );
  gauge(
    registry,
    "synthetic_store_writer_queue",
    "Transactions waiting for the writer",
    () => stats().writer.queue_count,
  );
  counter(registry, "synthetic_store_writer_groups_total", "Group commits", () => stats().writer.group_count);
  counter(
    registry,
    "synthetic_store_commits_total",
    "Transactions committed",
    () => stats().writer.commit_count,
  );
  counter(
    registry,
    "synthetic_store_failures_total",
    "Transactions failed by the engine",
    () => stats().writer.failed_count,
  );
  counter(registry, "synthetic_store_sealed_frames_total", "Frames sealed", () => stats().sealed_frame_count);
  counter(
    registry,
    "synthetic_frame_cache_hits_total",
    "Decompressed frames found in memory",
    () => stats().frame_cache.hits,
  );
  counter(
    registry,
    "synthetic_frame_cache_misses_total",
    "Decompressed frames not found in memory",
    () => stats().frame_cache.misses,
  );
  gauge(
    registry,
    "synthetic_frame_cache_bytes",
    "Decompressed frames in memory",
    () => stats().frame_cache.bytes,
  );
}

/** The route that gives them. */
export function metricsOperations(metrics: Metrics): Operation[] {
  return [
    operation(
      {
        method: "get",
        path: "/metrics",
        name: "getMetrics",
        tag: "server",
        summary: "Metrics for Prometheus",
        outcomes: [
          {
            status: 200,
            description: "Text exposition format 0.0.4",
            content: { "text/plain": { type: "string" } },
          },
        ],
      },
      async () => new Response(await metrics.text(), { headers: { "Content-Type": metrics.content_type } }),
    ),
  ];
}
