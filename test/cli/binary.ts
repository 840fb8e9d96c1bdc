/** The compiled binary as a command: run to its end from an empty directory, with nothing of our own environment. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BINARY } from "../support/server.ts";

export interface Ran {
  code: number;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  stdin?: string | Uint8Array;
  env?: Record<string, string>;
  cwd?: string;
}

export type Child = Bun.Subprocess<"pipe", "pipe", "pipe">;

export interface OnTerminal {
  /** What the terminal was sent so far. */
  text(): string;
  type(keys: string): void;
  /** The exit code, when all it wrote has come. */
  ended: Promise<number>;
}

export interface Place {
  /** An empty directory that commands are started in. */
  cwd: string;
  data_dir: string;
  run(words: readonly string[], options?: RunOptions): Promise<Ran>;
  /** Runs and expects exit code 0; gives stdout without its last newline. */
  output(words: readonly string[], options?: RunOptions): Promise<string>;
  /** Runs with --json and expects one object. */
  json<T>(words: readonly string[], options?: RunOptions): Promise<T>;
  start(words: readonly string[], options?: RunOptions): Child;
  /** Starts it on a terminal of its own. */
  onTerminal(words: readonly string[], columns: number, env?: Record<string, string>): OnTerminal;
  remove(): void;
}

/** The environment without what would change the command: our settings, proxies, Bun's own switches. */
function environment(
  home: string,
  data_dir: string,
  more: Record<string, string> = {},
): Record<string, string> {
  return { PATH: process.env["PATH"] ?? "", HOME: home, TMPDIR: tmpdir(), SYNTHETIC_DATA: data_dir, ...more };
}

export function newPlace(): Place {
  const root = mkdtempSync(join(tmpdir(), "synthetic-cli-"));
  const cwd = mkdtempSync(join(root, "cwd-"));
  const data_dir = join(root, "data");

  const start = (words: readonly string[], options: RunOptions = {}): Child =>
    Bun.spawn([BINARY, ...words], {
      cwd: options.cwd ?? cwd,
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
      env: environment(root, data_dir, options.env),
    });

  const onTerminal = (
    words: readonly string[],
    columns: number,
    env: Record<string, string> = {},
  ): OnTerminal => {
    const decoder = new TextDecoder();
    let text = "";
    const closed = Promise.withResolvers<void>();
    const child = Bun.spawn([BINARY, ...words], {
      cwd,
      env: environment(root, data_dir, { TERM: "xterm-256color", ...env }),
      terminal: {
        cols: columns,
        data: (_, data) => {
          text += decoder.decode(data, { stream: true });
        },
        exit: () => closed.resolve(),
      },
    });
    const ended = child.exited.then(async (code) => {
      // The last words may come behind the end of the process.
      await Promise.race([closed.promise, Bun.sleep(200)]);
      child.terminal?.close();
      return code;
    });
    return { text: () => text, type: (keys) => void child.terminal?.write(keys), ended };
  };

  const run = async (words: readonly string[], options: RunOptions = {}): Promise<Ran> => {
    const child = start(words, options);
    if (options.stdin !== undefined) void child.stdin.write(options.stdin);
    void child.stdin.end();
    const [stdout, stderr, code] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    return { code, stdout, stderr };
  };

  const output = async (words: readonly string[], options?: RunOptions): Promise<string> => {
    const { code, stdout, stderr } = await run(words, options);
    if (code !== 0) throw new Error(`synthetic ${words.join(" ")} ended with ${code}: ${stderr}`);
    return stdout.replace(/\n$/, "");
  };

  return {
    cwd,
    data_dir,
    run,
    output,
    json: async <T>(words: readonly string[], options?: RunOptions) =>
      JSON.parse(await output([...words, "--json"], options)) as T,
    start,
    onTerminal,
    remove: () => rmSync(root, { recursive: true, force: true }),
  };
}

/** Waits until something holds, at most ten seconds. */
export async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (let tries = 0; tries < 500; tries += 1) {
    if (await holds()) return;
    await Bun.sleep(20);
  }
  throw new Error(`it never came: ${what}`);
}
