/**
 * A child process that appends to a store and prints the number of each entry once it is acknowledged. The power-loss
 * campaign runs it with synchronous FULL and, as the control, OFF. Arguments: directory, FULL or OFF. The first line
 * is the session's id.
 */
import { appendEntries } from "../../src/core/append.ts";
import { createConstruct } from "../../src/core/construct.ts";
import { createSession } from "../../src/core/session.ts";
import { system_clock } from "../../src/lib/clock.ts";
import { system_ids } from "../../src/lib/ids.ts";
import { createBell } from "../../src/lib/wake.ts";
import { openDatabase } from "../../src/store/sqlite/open.ts";
import { createSqliteStore } from "../../src/store/sqlite/store.ts";
import { caller, quiet_log } from "./store.ts";
import { sharedBlobs } from "./blobs.ts";

const [data_dir = "", synchronous = "FULL"] = process.argv.slice(2);
const shared = { clock: system_clock, ids: system_ids };
const { writer, path, generation } = await openDatabase({
  data_dir,
  migrate: false,
  synchronous: synchronous === "OFF" ? "OFF" : "FULL",
  ...shared,
});
const { store } = createSqliteStore({
  writer,
  path,
  generation,
  clock: system_clock,
  log: quiet_log,
  seal_idle_ms: 100,
});
const context = { store, blobs: sharedBlobs(), bell: createBell(), ...shared };
const { row: construct } = await createConstruct(context, { title: "power" }, caller);
const { row: session } = await createSession(context, { construct_id: construct.id }, caller);
process.stdout.write(`${session.id}\n`);
for (let number = 1; ; number += 1) {
  const body = JSON.stringify({ number, text: "x".repeat((number * 131) % 3_000) });
  await appendEntries(context, session.id, [{ kind: "note", at_ms: number, body }], { seq: number - 1 });
  process.stdout.write(`${number}\n`);
}
