/**
 * The HTTP API as the commands use it, wherever it is: a server that was named, the server of the data
 * directory, or the directory itself, opened in this process behind the same door. No command knows which.
 */
import { Problem } from "../errors.ts";
import { limit } from "../limits.ts";
import type { Page } from "../schema/common.ts";
import { problemOf } from "./problem.ts";

export type Query = Record<string, string | number | boolean | readonly string[] | null | undefined>;

export interface ApiRequest {
  method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Begins with `/`; parts that come from outside are encoded by the caller. */
  path: string;
  query?: Query;
  headers?: Record<string, string>;
  /** Sent as JSON. */
  json?: unknown;
  /** Sent as it is; its type is among the headers. */
  body?: Uint8Array | ReadableStream<Uint8Array>;
  /** The answer goes on as long as it likes. */
  endless?: boolean;
}

/** A request as it goes out. */
export interface Outgoing {
  method: string;
  headers: Record<string, string>;
  signal: AbortSignal;
  body?: string | Uint8Array | ReadableStream<Uint8Array>;
}

/** How a door is reached. Errors: `unreachable`. */
export interface Transport {
  via: "server" | "process";
  /** What people are told they talk to. */
  name: string;
  fetch(path: string, outgoing: Outgoing, endless: boolean): Promise<Response>;
  close(): Promise<void>;
}

export interface Client {
  readonly via: Transport["via"];
  readonly name: string;
  /** An answer that is not a refusal. Errors: what the problem document says; `unreachable`. */
  request(request: ApiRequest): Promise<Response>;
  json<T>(request: ApiRequest): Promise<T>;
  /**
   * The pages of a list in order, up to `most` items; `left` says whether there are more behind this page.
   */
  pages<T>(path: string, query: Query, most: number): AsyncGenerator<{ items: T[]; left: boolean }>;
  close(): Promise<void>;
}

export function queryText(query: Query): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined || value === null) continue;
    for (const one of Array.isArray(value) ? (value as readonly string[]) : [value])
      parameters.append(name, String(one));
  }
  const text = parameters.toString();
  return text === "" ? "" : `?${text}`;
}

/** The pieces of an answer's body as they come. Errors: `unreachable` when it breaks off. */
export async function* chunksOf(response: Response, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  if (response.body === null) return;
  try {
    yield* response.body;
  } catch (error) {
    throw signal.aborted
      ? error
      : new Problem("unreachable", "The server broke off its answer.", { cause: error });
  }
}

/** The value of an answer. Errors: `unreachable` when it breaks off. */
export async function valueOf<T>(response: Response): Promise<T> {
  try {
    return (await response.json()) as T;
  } catch (error) {
    throw new Problem("unreachable", "The server broke off its answer.", { cause: error });
  }
}

export function createClient(transport: Transport, token: string, signal: AbortSignal): Client {
  const request = async ({
    method = "GET",
    path,
    query = {},
    headers = {},
    json,
    body,
    endless = false,
  }: ApiRequest): Promise<Response> => {
    const content = json === undefined ? body : JSON.stringify(json);
    const outgoing: Outgoing = {
      method,
      signal,
      headers: {
        authorization: `Bearer ${token}`,
        ...(json !== undefined && { "content-type": "application/json" }),
        ...headers,
      },
      ...(content !== undefined && { body: content }),
    };
    const response = await transport.fetch(path + queryText(query), outgoing, endless);
    if (!response.ok) throw await problemOf(response);
    return response;
  };
  const json = async <T>(asked: ApiRequest): Promise<T> => valueOf<T>(await request(asked));
  return {
    via: transport.via,
    name: transport.name,
    request,
    json,
    async *pages<T>(path: string, query: Query, most: number) {
      let cursor: string | null | undefined;
      for (let rest = most; rest > 0 && cursor !== null;) {
        const page: Page<T> = await json({
          path,
          query: { ...query, limit: Math.min(limit("page_items_count"), rest), cursor },
        });
        cursor = page.next_cursor;
        rest -= page.items.length;
        yield { items: page.items, left: cursor !== null };
      }
    },
    close: () => transport.close(),
  };
}
