import { afterAll, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadToken, readToken, rotateToken } from "../../src/cli/token-file.ts";

const dir = mkdtempSync(join(tmpdir(), "synthetic-token-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const place = (): string => join(dir, crypto.randomUUID());

test("the first start makes a token that only the owner can read", () => {
  const data = place();
  const { token, source } = loadToken(data, null);
  expect(token).toMatch(/^[A-Za-z0-9_-]{43}$/);
  expect(source).toBe("file");
  expect(statSync(join(data, "token")).mode & 0o777).toBe(0o600);
  expect(statSync(data).mode & 0o777).toBe(0o700);
  expect(readdirSync(data)).toEqual(["token"]);
});

test("later starts find the same one", () => {
  const data = place();
  expect(loadToken(data, null).token).toBe(loadToken(data, null).token);
  expect(readToken(place())).toBeNull();
});

test("many starts at once end with one token", async () => {
  const data = place();
  const script = `const { loadToken } = await import(${JSON.stringify(import.meta.resolve("../../src/cli/token-file.ts"))}); process.stdout.write(loadToken(${JSON.stringify(data)}, null).token);`;
  const tokens = await Promise.all(
    Array.from({ length: 8 }, () => new Response(Bun.spawn([process.execPath, "-e", script]).stdout).text()),
  );
  expect(new Set(tokens).size).toBe(1);
  expect(tokens[0]).toBe(readFileSync(join(data, "token"), "utf8").trim());
  expect(readdirSync(data)).toEqual(["token"]);
});

test("the environment wins and leaves no file", () => {
  const data = place();
  const given = "x".repeat(32);
  expect(loadToken(data, given)).toEqual({ token: given, source: "environment" });
  expect(readToken(data)).toBeNull();
});

test.each([
  "short",
  "x".repeat(31),
  "x".repeat(513),
  `${"x".repeat(40)} y`,
  `${"x".repeat(40)}\ny`,
  "é".repeat(40),
])("a weak or unsendable token is refused: %p", (token) => {
  expect(() => loadToken(place(), token)).toThrow("no usable token");
});

test("a spoilt file is refused and not replaced", () => {
  const data = place();
  loadToken(data, null);
  writeFileSync(join(data, "token"), "");
  expect(() => loadToken(data, null)).toThrow("no usable token");
  expect(readFileSync(join(data, "token"), "utf8")).toBe("");
});

test("rotating puts another token in the place of the old one", () => {
  const data = place();
  const before = loadToken(data, null).token;
  chmodSync(join(data, "token"), 0o644);
  const after = rotateToken(data);
  expect(after).not.toBe(before);
  expect(loadToken(data, null).token).toBe(after);
  expect(statSync(join(data, "token")).mode & 0o777).toBe(0o600);
});
