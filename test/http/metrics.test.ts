import { describe, expect, test } from "bun:test";
import { Problem } from "../../src/errors.ts";
import { counters, histogram, reading } from "../../src/http/prometheus.ts";
import { append, newSession, openDoor, START_MS } from "./open-door.ts";

describe("/metrics", () => {
  const open = openDoor();
  const metrics = async (): Promise<string> => (await open.call("GET", "/metrics")).text();

  test("counts requests by route, method and class, and appended entries without their replays", async () => {
    const { path } = await newSession(open);
    await append(open, path, [1, 2, 3]);
    const entries = [
      { kind: "message", at_ms: 1, body: 1 },
      { kind: "message", at_ms: 1, body: 2 },
    ];
    await open.json(200, "POST", `${path}/entries?after=0`, { json: { entries } });
    await open.call("GET", "/v1/constructs/01940000-0000-7000-8000-000000000000");
    await open.call("GET", "/nothing/at/all");
    const tail = await open.call("GET", `${path}/tail`);
    const answer = await open.call("GET", "/metrics");
    const text = await answer.text();
    expect(answer.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    for (const line of [
      'synthetic_http_requests_total{route="/v1/sessions/{id}/entries",method="POST",status="2xx"} 2',
      'synthetic_http_requests_total{route="/v1/constructs/{id}",method="GET",status="4xx"} 1',
      'synthetic_http_requests_total{route="none",method="GET",status="4xx"} 1',
      'synthetic_http_request_duration_seconds_count{route="/v1/sessions/{id}/entries",method="POST"} 2',
      "synthetic_appended_entries_total 3",
      "synthetic_tails_open 1",
      "synthetic_http_active_requests 2",
      "synthetic_store_wal_bytes 0",
      "synthetic_store_frame_cache_hits_total 0",
      `process_start_time_seconds ${START_MS / 1_000}`,
    ]) {
      expect(text).toContain(`${line}\n`);
    }
    expect(text).toMatch(/process_resident_memory_bytes \d{7,}/);
    expect(text).toMatch(/synthetic_appended_request_bytes_total \d{2,}/);
    await tail.body?.cancel();
    expect(await metrics()).toContain("synthetic_tails_open 0\n");
  });

  test("counters of the store do not grow by being read", async () => {
    const count = async (): Promise<string | undefined> =>
      /^synthetic_store_commits_total \d+$/m.exec(await metrics())?.[0];
    const before = await count();
    expect(await count()).toBe(before ?? "missing");
  });

  test("a client cannot make up series", async () => {
    const before = (await metrics()).split("\n").length;
    for (let index = 0; index < 50; index += 1) {
      await open.call("GET", `/made/up/${index}`);
      await open.call("GET", `/v1/constructs/made-up-${index}`);
    }
    expect((await metrics()).split("\n").length).toBe(before);
  });

  test("two doors do not mix", async () => {
    expect(await (await openDoor().call("GET", "/metrics")).text()).not.toContain("/v1/sessions");
  });
});

describe("health", () => {
  const open = openDoor();

  test("is ok whatever the store does", async () => {
    open.store.failing = new Error("broken");
    expect(await open.json(200, "GET", "/healthz")).toEqual({ status: "ok" });
    open.store.failing = null;
  });

  test("readiness follows the store", async () => {
    expect(await open.json(200, "GET", "/readyz")).toEqual({
      status: "ready",
      checks: { store: "ok", server: "ok" },
    });
    open.store.failing = new Problem("unavailable", "broken", { cause: new Error("SQLITE_IOERR") });
    const answer = await open.call("GET", "/readyz");
    open.store.failing = null;
    expect(answer.status).toBe(503);
    const text = await answer.text();
    expect(JSON.parse(text)).toEqual({ status: "unready", checks: { store: "failed", server: "ok" } });
    expect(text).not.toContain("SQLITE");
    expect(open.logged.some((line) => line.includes("not_ready") && line.includes("SQLITE_IOERR"))).toBe(
      true,
    );
  });

  test("the version names program, commit, API and runtime", async () => {
    expect(await open.json(200, "GET", "/version")).toEqual({
      version: "1.2.3",
      commit: "abcdef",
      api: "v1",
      bun: Bun.version,
    });
  });
});

describe("the text format", () => {
  test("has help and type once, labels escaped, and an unlabelled counter from the start", () => {
    const requests = counters("a_total", "What\nit \\ is", ["one", "two"]);
    requests.of('q"', "back\\slash\n")(1);
    requests.of('q"', "back\\slash\n")(2);
    expect(requests.text()).toBe(
      '# HELP a_total What\\nit \\\\ is\n# TYPE a_total counter\na_total{one="q\\"",two="back\\\\slash\\n"} 3\n',
    );
    expect(counters("b_total", "B", []).text()).toEndWith("b_total 0\n");
    expect(reading("gauge", "c", "C", () => 1.5).text()).toEndWith("# TYPE c gauge\nc 1.5\n");
  });

  test("a histogram counts up to each bound, the bound itself within", () => {
    const times = histogram("t", "T", ["x"], [1, 2.5]);
    for (const value of [0.5, 1, 2, 2.5, 9]) times.of("y")(value);
    expect(times.text().split("\n").slice(2, -1)).toEqual([
      't_bucket{x="y",le="1"} 2',
      't_bucket{x="y",le="2.5"} 4',
      't_bucket{x="y",le="+Inf"} 5',
      't_sum{x="y"} 15',
      't_count{x="y"} 5',
    ]);
  });
});
