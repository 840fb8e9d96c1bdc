/** Starts open-child.ts as a process of its own, and hears what it says. */
import { resolve } from "node:path";

const SCRIPT = resolve(import.meta.dir, "open-child.ts");

export interface Child {
  pid: number;
  /** Its first line. */
  answer: Record<string, unknown>;
  /** Ends it without a chance to tidy up, and waits until it is gone. */
  kill(): Promise<void>;
}

export interface ChildOptions {
  /** Runs the child, for instance strace with its options. */
  wrapper?: readonly string[];
  ballast_rows?: number;
}

function command(thing: string, data_dir: string, options: ChildOptions): string[] {
  return [
    ...(options.wrapper ?? []),
    process.execPath,
    SCRIPT,
    thing,
    data_dir,
    String(options.ballast_rows ?? 10),
  ];
}

/** Runs it to its end. Throws when it says nothing. */
export function runChild(
  thing: string,
  data_dir: string,
  options: ChildOptions = {},
): Record<string, unknown> {
  const { stdout, stderr } = Bun.spawnSync(command(thing, data_dir, options));
  if (stdout.length === 0) throw new Error(`the child said nothing: ${stderr.toString()}`);
  return JSON.parse(stdout.toString()) as Record<string, unknown>;
}

/** Starts it and resolves with its first line; it goes on until it is killed. */
export async function startChild(
  thing: string,
  data_dir: string,
  options: ChildOptions = {},
): Promise<Child> {
  const child = Bun.spawn(command(thing, data_dir, options), { stdout: "pipe", stderr: "inherit" });
  let said = "";
  for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
    said += chunk;
    if (said.includes("\n")) break;
  }
  if (!said.includes("\n")) throw new Error("the child ended without a word");
  return {
    pid: child.pid,
    answer: JSON.parse(said) as Record<string, unknown>,
    async kill() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}
