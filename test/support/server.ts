/** The compiled binary as a server, for tests and campaigns: started, called, killed, started again. */
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

export const BINARY = resolve(import.meta.dir, "../../dist/synthetic");

export interface StartOptions {
  data_dir: string;
  /** Words before the binary's, for instance strace and its options. */
  wrapper?: string[];
  args?: string[];
  env?: Record<string, string>;
  /** How long the first line may take. */
  start_ms?: number;
}

export interface Server {
  url: string;
  token: string;
  /** Of the server itself, also under a wrapper. */
  pid: number;
  /** Milliseconds from the start of the process to its first line. */
  started_in_ms: number;
  process: Bun.Subprocess<"ignore", "pipe", "pipe">;
  /** What it wrote to stderr so far. */
  log(): string;
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Response>;
  /** Sends a signal to the server and waits for its end; gives the exit code (128 + n for a signal). */
  stop(signal?: NodeJS.Signals): Promise<number>;
}

/** Starts the binary on a free port. Throws with its stderr when it ends before its first line. */
export async function startServer(options: StartOptions): Promise<Server> {
  const began = performance.now();
  const command = [
    ...(options.wrapper ?? []),
    BINARY,
    "serve",
    "--json",
    "--port",
    "0",
    "--data",
    options.data_dir,
    ...(options.args ?? []),
  ];
  const child = Bun.spawn(command, {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    env: { ...process.env, ...options.env },
  });
  let log = "";
  const logged = (async () => {
    for await (const part of child.stderr) log += new TextDecoder().decode(part);
  })();
  const line = await Promise.race([
    firstLine(child.stdout),
    Bun.sleep(options.start_ms ?? 20_000).then(() => null),
  ]);
  if (line === null) {
    child.kill("SIGKILL");
    await logged;
    throw new Error(`the server did not start: ${log}`);
  }
  const started_in_ms = performance.now() - began;
  const { url, pid } = JSON.parse(line) as { url: string; pid: number };
  const token_file = join(options.data_dir, "token");
  const token =
    options.env?.["SYNTHETIC_TOKEN"] ??
    (existsSync(token_file) ? readFileSync(token_file, "utf8").trim() : "");
  return {
    url,
    token,
    pid,
    started_in_ms,
    process: child,
    log: () => log,
    call: (method, path, body, headers = {}) =>
      fetch(new URL(path, url), {
        method,
        headers: {
          authorization: `Bearer ${token}`,
          ...(body !== undefined && { "content-type": "application/json" }),
          ...headers,
        },
        ...(body !== undefined && {
          body: typeof body === "string" || body instanceof Uint8Array ? body : JSON.stringify(body),
        }),
      }),
    async stop(signal = "SIGTERM") {
      try {
        process.kill(pid, signal);
      } catch {
        // It has ended already.
      }
      const code = await child.exited;
      await logged;
      return code;
    },
  };
}

async function firstLine(stream: ReadableStream<Uint8Array>): Promise<string | null> {
  const reader = stream.getReader();
  let text = "";
  while (!text.includes("\n")) {
    const { value, done } = await reader.read();
    if (done) return null;
    text += new TextDecoder().decode(value, { stream: true });
  }
  // What follows is read and forgotten, so that a full pipe never stops the server.
  void (async () => {
    while (!(await reader.read()).done);
  })();
  return text.slice(0, text.indexOf("\n"));
}

/** A JSON answer of the expected status, or an error with the answer's text. */
export async function json<T>(response: Response | Promise<Response>, status?: number): Promise<T> {
  const answer = await response;
  const text = await answer.text();
  if (status === undefined ? !answer.ok : answer.status !== status)
    throw new Error(`${answer.url}: ${answer.status} ${text.slice(0, 500)}`);
  return JSON.parse(text) as T;
}

/** A new session in a new construct; gives its id. */
export async function makeSession(server: Server): Promise<string> {
  const construct = await json<{ id: string }>(server.call("POST", "/v1/constructs", { title: "campaign" }));
  const session = await json<{ id: string }>(
    server.call("POST", "/v1/sessions", { construct_id: construct.id }),
  );
  return session.id;
}
