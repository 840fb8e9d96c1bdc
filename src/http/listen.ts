/** The door on a socket: Bun's server around `door.fetch`, and its orderly end. */
import { system_ids } from "../lib/ids.ts";
import type { Log } from "../lib/log.ts";
import { limit } from "../limits.ts";
import type { Door } from "./door.ts";
import { logProblem, problemOf, problemResponse } from "./problem.ts";

export interface ListenOptions {
  host: string;
  /** 0 picks a free one. */
  port: number;
  log: Log;
}

export interface Listener {
  url: string;
  port: number;
  /**
   * Stops accepting, ends tails, waits up to `drain_ms` for requests under way, then closes what is left.
   * Resolves when no connection is open.
   */
  stop(drain_ms: number): Promise<void>;
}

/**
 * Bodies are bounded where they are read, with an answer of ours; beyond its own bound Bun answers a bare
 * 413.
 */
const UNBOUNDED_BYTES = Number.MAX_SAFE_INTEGER;

/**
 * Listens until it is stopped. Errors: what the system says about the address, for instance that it is in
 * use.
 */
export function listen(door: Omit<Door, "routes">, { host, port, log }: ListenOptions): Listener {
  const server = Bun.serve({
    hostname: host,
    port,
    development: false,
    // Without it Bun shares the port with another server, and requests go now to one, now to the other.
    reusePort: false,
    idleTimeout: limit("request_idle_ms") / 1_000,
    maxRequestBodySize: UNBOUNDED_BYTES,
    fetch: (request, self) => door.fetch(request, self),
    error(error) {
      // The door answers its own failures. This is for what fails around it, and for a stream that failed,
      // and was logged, before its first byte was sent: then there is no error here.
      const problem = problemOf(error);
      const request_id = system_ids.next();
      if (problem.cause !== undefined) logProblem(log, problem, request_id, "none");
      return problemResponse(problem, request_id);
    },
  });
  const bound_port = server.port ?? port;
  const url = `http://${host.includes(":") ? `[${host}]` : host}:${bound_port}`;
  return {
    url,
    port: bound_port,
    async stop(drain_ms) {
      door.beginDrain();
      const drained = server.stop(false);
      let timer: Timer | undefined;
      const late = new Promise<"late">((resolve) => {
        timer = setTimeout(() => resolve("late"), drain_ms);
      });
      const outcome = await Promise.race([drained, late]);
      clearTimeout(timer);
      if (outcome === "late") log.warn("drain_cut", { active_count: door.active_count, drain_ms });
      await server.stop(true);
    },
  };
}
