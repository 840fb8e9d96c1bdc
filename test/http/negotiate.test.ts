import { describe, expect, test } from "bun:test";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { acceptedCoding } from "../../src/http/negotiate.ts";
import { openDoor, type Row } from "./open-door.ts";

describe("the coding of an answer", () => {
  test.each([
    [null, "identity"],
    ["", "identity"],
    ["zstd", "zstd"],
    ["gzip", "gzip"],
    ["x-gzip", "gzip"],
    ["br", "identity"],
    ["*", "zstd"],
    ["gzip, deflate, br, zstd", "zstd"],
    ["gzip;q=1.0, zstd;q=0.5", "gzip"],
    ["zstd;q=0, gzip", "gzip"],
    ["zstd;q=0, *", "gzip"],
    ["gzip;q=0", "identity"],
    ["*;q=0", "identity"],
    ["identity, gzip;q=0.5", "identity"],
    ["identity;q=0.5, gzip;q=0.5", "gzip"],
    ["zstd;q=x", "identity"],
    ["zstd; Q=0.5", "zstd"],
    ["zstd;q=2", "identity"],
    ["zstd;q=0.0005, gzip;q=0.001", "gzip"],
    [",,;,", "identity"],
  ] as const)("%p asks for %s", (header, coding) => {
    expect(
      acceptedCoding(
        new Request("http://localhost", { headers: header === null ? {} : { "accept-encoding": header } }),
      ),
    ).toBe(coding);
  });
});

describe("compression", () => {
  const open = openDoor();

  test("is for answers over 1 KiB, and shows in the tag, which is understood when it comes back", async () => {
    const row = await open.json<Row>(201, "POST", "/v1/constructs", {
      json: { title: "x", brief: "words ".repeat(1_000) },
    });
    const path = `/v1/constructs/${row.id}`;
    const plain = await (await open.call("GET", path)).text();
    for (const [coding, decode] of [
      ["zstd", zstdDecompressSync],
      ["gzip", gunzipSync],
    ] as const) {
      const answer = await open.call("GET", path, { headers: { "accept-encoding": coding } });
      const tag = answer.headers.get("etag") ?? "";
      expect(tag).toBe(`"r1;${coding}"`);
      expect(answer.headers.get("content-encoding")).toBe(coding);
      expect(answer.headers.get("vary")).toBe("Accept-Encoding");
      const bytes = await answer.bytes();
      expect(bytes.byteLength).toBeLessThan(1_024);
      expect(decode(bytes).toString()).toBe(plain);
      expect(
        (await open.call("GET", path, { headers: { "if-none-match": tag, "accept-encoding": coding } }))
          .status,
      ).toBe(304);
    }
    const patched = await open.call("PATCH", path, {
      json: { title: "y" },
      headers: { "if-match": '"r1;zstd"', "accept-encoding": "zstd" },
    });
    expect(patched.headers.get("etag")).toBe('"r2;zstd"');
  });

  test("is not for short answers and not for errors", async () => {
    for (const path of ["/healthz", "/version", "/v1/constructs/x", "/nothing"]) {
      expect(
        (await open.call("GET", path, { headers: { "accept-encoding": "zstd" } })).headers.get(
          "content-encoding",
        ),
      ).toBeNull();
    }
  });

  test("HEAD tells of it too", async () => {
    const answer = await open.call("HEAD", "/openapi.json", { headers: { "accept-encoding": "gzip" } });
    expect(answer.headers.get("content-encoding")).toBe("gzip");
    expect(await answer.text()).toBe("");
  });
});
