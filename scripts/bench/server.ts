/**
 * The server of the benchmark: the real handlers on a real store, or on one that keeps nothing. Started by
 * http-rows.ts as a process of its own; prints its address, its token and the session to write to.
 */
import { createDoor } from "../../src/http/door.ts";
import { listen } from "../../src/http/listen.ts";
import { system_clock } from "../../src/lib/clock.ts";
import { forgettingStore, log, makeSessions, openStore } from "./arms.ts";

const [arm, count] = process.argv.slice(2);
const token = "benchmark-token-of-sufficient-length";
const { context } = await openStore();
const sessions = await makeSessions(context, Number(count));
if (arm === "forgetting") context.store = forgettingStore(context.store);
const door = createDoor({
  context,
  token,
  hosts: [],
  version: "bench",
  commit: "",
  log,
  started_at_ms: system_clock.now_ms(),
});
const { url } = listen(door, { host: "127.0.0.1", port: 0, log });
console.log(JSON.stringify({ url, token, sessions }));
