import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, closeSync, openSync, rmSync, statSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { StoreInspection } from "../../src/app.ts";
import { createStyle } from "../../src/cli/colour.ts";
import { exitOf, renderFindings } from "../../src/cli/doctor.ts";
import {
  checkDatabase,
  checkFilesystem,
  checkMigrations,
  checkPermissions,
  checkServer,
  checkSettings,
  checkSpace,
  checkToken,
  checkVersions,
} from "../../src/cli/doctor-checks.ts";
import { factsOf } from "../../src/cli/migrate.ts";
import { loadConfig } from "../../src/config.ts";
import { thisServer } from "../../src/lib/server-record.ts";
import { newPlace, type Place } from "./binary.ts";

setDefaultTimeout(30_000);

const STORE: StoreInspection = {
  sqlite_version: "3.54.1",
  wal_reset_safe: true,
  filesystem: "ext4",
  filesystem_safe: true,
  exists: true,
  locked: false,
  schema_version: 6,
  pending_count: 0,
  database_bytes: 1_000,
  wal_bytes: 0,
  quick_check: "ok",
};
const SERVER = thisServer("http://127.0.0.1:1", 0);

let place: Place;
beforeAll(() => {
  place = newPlace();
});
afterAll(() => place.remove());

describe("what is found", () => {
  test.each([
    ["a sound store", checkDatabase(STORE), "ok"],
    ["a store in use", checkDatabase({ ...STORE, locked: true, quick_check: null }), "ok"],
    ["no store", checkDatabase({ ...STORE, exists: false, quick_check: null }), "ok"],
    ["a damaged store", checkDatabase({ ...STORE, quick_check: "row 1 missing from index x" }), "fail"],
    ["an old SQLite", checkVersions({ ...STORE, wal_reset_safe: false }), "warn"],
    [
      "a network file system",
      checkFilesystem({ ...STORE, filesystem: "NFS", filesystem_safe: false }),
      "fail",
    ],
    ["an older store", checkMigrations({ ...STORE, schema_version: 5, pending_count: 1 }), "warn"],
    ["a newer store", checkMigrations({ ...STORE, schema_version: 7, pending_count: null }), "fail"],
    ["no server", checkServer(null, null, false), "ok"],
    ["a command at work", checkServer(null, null, true), "ok"],
    ["a server", checkServer(SERVER, true, true), "ok"],
    ["a server that hangs", checkServer(SERVER, false, true), "fail"],
    ["a server without its lock", checkServer(SERVER, true, false), "fail"],
    ["settings", checkSettings(loadConfig({}, { HOME: "/h" }))[0]!, "ok"],
    ["an open server", checkSettings(loadConfig({ host: "0.0.0.0" }, { HOME: "/h" }))[0]!, "warn"],
    ["some space", checkSpace("/"), "ok"],
  ] as const)("%s", (_, finding, state) => expect(finding.state).toBe(state));

  test("names that others may read, and the way to mend it", async () => {
    await place.output(["construct", "create", "x"]);
    expect(checkPermissions(place.data_dir).state).toBe("ok");
    chmodSync(join(place.data_dir, "synthetic.db"), 0o640);
    expect(checkPermissions(place.data_dir)).toMatchObject({
      state: "warn",
      detail: "others could read synthetic.db",
    });
    chmodSync(place.data_dir, 0o755);
    expect(checkPermissions(place.data_dir).hint).toContain("chmod 700");
    chmodSync(place.data_dir, 0o700);
    chmodSync(join(place.data_dir, "synthetic.db"), 0o600);
  });

  test("a token that cannot be one", () => {
    const config = loadConfig({ data: place.data_dir }, { HOME: "/h" });
    writeFileSync(join(place.data_dir, "token"), "short\n");
    expect(checkToken(config).state).toBe("fail");
    rmSync(join(place.data_dir, "token"));
    expect(checkToken(config).state).toBe("ok");
  });
});

test("the exit code is 1 for a failure and 5 for damaged data", () => {
  const [ok, warn, fail] = [
    checkDatabase(STORE),
    checkVersions({ ...STORE, wal_reset_safe: false }),
    checkServer(SERVER, false, true),
  ];
  const damage = checkDatabase({ ...STORE, quick_check: "bad" });
  expect([[ok], [ok, warn], [ok, fail], [fail, damage]].map(exitOf)).toEqual([0, 0, 1, 5]);
});

test("each finding is a line, with what to do below those that need it", () => {
  const text = renderFindings(
    [
      { check: "a", state: "ok", detail: "fine", hint: "never shown" },
      { check: "bb", state: "fail", detail: "bad", hint: "mend it" },
    ],
    createStyle(false),
  );
  expect(text).toBe("✓ a   fine\n✗ bb  bad\n      mend it\n");
});

test("a report of migrations says how to go back", () => {
  const facts = factsOf({
    action: "apply",
    created: false,
    from_version: 5,
    to_version: 6,
    applied: [{ version: 6, name: "event", sha256: "0".repeat(64), applied_at_ms: 0 }],
    snapshot: { path: "/s", restore_command: "cp /s /d" },
  });
  expect(facts).toEqual([
    { name: "version", value: "5 to 6" },
    { name: "applied", value: "6 event" },
    { name: "snapshot", value: "/s" },
    { name: "to go back", value: "cp /s /d" },
  ]);
});

test("damaged data are found by the binary, with exit code 5", async () => {
  const session = await place.output([
    "session",
    "create",
    await place.output(["construct", "create", "damaged"]),
  ]);
  await place.output(["append", session, "--text"], { stdin: "some words\n".repeat(5_000) });
  expect((await place.run(["doctor"])).code).toBe(0);
  const path = join(place.data_dir, "synthetic.db");
  const descriptor = openSync(path, "r+");
  // The middle of the file is the table of entries; its pages are filled with what is no page.
  writeSync(
    descriptor,
    Buffer.alloc(64 * 1024, 0xa5),
    0,
    64 * 1024,
    Math.floor(statSync(path).size / 2 / 4_096) * 4_096,
  );
  closeSync(descriptor);
  const { code, stdout } = await place.run(["doctor", "--json"]);
  expect(code).toBe(5);
  expect(JSON.parse(stdout)).toMatchObject({ ok: false });
});
