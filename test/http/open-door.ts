/**
 * A door over the store in memory, called without a socket, for tests of everything that is not about
 * sockets.
 */
import { expect } from "bun:test";
import type { Context } from "../../src/core/context.ts";
import { createDoor, type Door, type DoorOptions } from "../../src/http/door.ts";
import type { Clock } from "../../src/lib/clock.ts";
import { system_ids } from "../../src/lib/ids.ts";
import { createLog, type Log } from "../../src/lib/log.ts";
import { createBell } from "../../src/lib/wake.ts";
import { sharedBlobs } from "../support/blobs.ts";
import { createMemoryStore, type MemoryStore, type MemoryStoreOptions } from "../support/memory-store.ts";

export const TOKEN = "0123456789abcdef0123456789abcdef0123456789a";

export interface Sending {
  /** Sent as JSON, with its content type. */
  json?: unknown;
  /** Sent as it is. */
  body?: Bun.BodyInit;
  headers?: Record<string, string | undefined>;
}

export interface OpenDoor {
  door: Door;
  store: MemoryStore;
  context: Context;
  /** Lines of the log. */
  logged: string[];
  /** The clock moves only when it is told to. */
  clock: Clock & { at_ms: number };
  call(method: string, path: string, sending?: Sending): Promise<Response>;
  /** The JSON of an answer that has this status. */
  json<T = Record<string, unknown>>(
    status: number,
    method: string,
    path: string,
    sending?: Sending,
  ): Promise<T>;
}

/** A log that keeps nothing. */
export const silent_log: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

export const START_MS = 1_700_000_000_000;

/** Headers that every call of a test has, unless it says otherwise; undefined leaves one out. */
export function requestOf(method: string, path: string, { json, body, headers = {} }: Sending = {}): Request {
  const all: Record<string, string | undefined> = {
    host: "localhost",
    authorization: `Bearer ${TOKEN}`,
    ...(json !== undefined && { "content-type": "application/json" }),
    ...headers,
  };
  const given = Object.entries(all).filter((header): header is [string, string] => header[1] !== undefined);
  const content = json === undefined ? body : JSON.stringify(json);
  return new Request(`http://localhost${path}`, {
    method,
    headers: given,
    ...(content !== undefined && { body: content }),
  });
}

export function openDoor(options: Partial<DoorOptions> & { memory?: MemoryStoreOptions } = {}): OpenDoor {
  const store = createMemoryStore(options.memory);
  const clock = { at_ms: START_MS, now_ms: () => clock.at_ms, elapsed_ms: () => performance.now() };
  const context: Context = { store, blobs: sharedBlobs(), clock, ids: system_ids, bell: createBell() };
  const logged: string[] = [];
  const log = createLog(clock, "debug", (line) => logged.push(line));
  const door = createDoor({
    context,
    token: TOKEN,
    hosts: [],
    version: "1.2.3",
    commit: "abcdef",
    log,
    started_at_ms: START_MS,
    ...options,
  });
  const call: OpenDoor["call"] = async (method, path, sending) =>
    door.fetch(requestOf(method, path, sending));
  return {
    door,
    store,
    context,
    logged,
    clock,
    call,
    async json<T>(status: number, method: string, path: string, sending?: Sending) {
      const answer = await call(method, path, sending);
      const text = await answer.text();
      expect({ status: answer.status, text: answer.status === status ? "" : text }).toEqual({
        status,
        text: "",
      });
      return JSON.parse(text) as T;
    },
  };
}

export interface ProblemJson {
  type: string;
  title: string;
  status: number;
  detail: string;
  instance: string;
  code: string;
  retryable: boolean;
  hint: string;
  errors?: { pointer: string; detail: string }[];
  [member: string]: unknown;
}

/** The problem document of an answer, after its shape was looked at. */
export async function problemIn(answer: Response): Promise<ProblemJson> {
  expect(answer.headers.get("content-type")).toBe("application/problem+json");
  const problem = (await answer.json()) as ProblemJson;
  expect(problem.status).toBe(answer.status);
  expect(problem.type).toBe(`/docs#error-${problem.code}`);
  expect(problem.instance).toBe(`urn:uuid:${answer.headers.get("synthetic-request-id")}`);
  for (const member of ["title", "detail", "hint"] as const) expect(problem[member]).not.toBe("");
  return problem;
}

export interface Row {
  id: string;
  revision: number;
  [member: string]: unknown;
}

/** A construct and a session in it. */
export async function newSession(open: OpenDoor): Promise<{ construct: Row; session: Row; path: string }> {
  const construct = await open.json<Row>(201, "POST", "/v1/constructs", { json: { title: "work" } });
  const session = await open.json<Row>(201, "POST", "/v1/sessions", { json: { construct_id: construct.id } });
  return { construct, session, path: `/v1/sessions/${session.id}` };
}

/** Appends messages with these bodies. */
export async function append(
  open: OpenDoor,
  path: string,
  bodies: readonly unknown[],
  kind = "message",
): Promise<Record<string, unknown>> {
  return open.json(201, "POST", `${path}/entries`, {
    json: { entries: bodies.map((body) => ({ kind, at_ms: 1, body })) },
  });
}
