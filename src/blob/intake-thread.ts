/** The sending side of the thread that hashes and writes uploads. Started with the first large one. */
import { assert, Problem } from "../errors.ts";
import type { IntakeAnswer, IntakeRequest } from "./intake-worker.ts";

/** One upload on the thread; its messages are answered in order. */
export interface IntakeLane {
  /** Hashes and writes pieces that nobody else uses any more. Errors: those of the file system, with their code. */
  write(descriptor: number, pieces: readonly Uint8Array[], position: number): Promise<void>;
  /** The SHA-256 of all that was written, in hexadecimal; to be called once, also after a failure. */
  end(): Promise<string>;
}

export interface IntakeThread {
  open(): IntakeLane;
  /** Ends the thread; what is under way fails with `unavailable`. */
  close(): Promise<void>;
}

interface Question {
  resolve: (answer: IntakeAnswer) => void;
  reject: (error: unknown) => void;
}

/** The worker's file, beside this one in the sources and beside the main module in the compiled binary. */
function startWorker(): Worker {
  return new Worker(new URL("./intake-worker.ts", import.meta.url).href);
}

function stopping(): Problem {
  return new Problem("unavailable", "The server is stopping.", { retry_after_s: 1 });
}

/** A buffer is handed over whole: a part of one is copied, because others may use the rest. */
function alone(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const is_whole = bytes.buffer instanceof ArrayBuffer && bytes.byteLength === bytes.buffer.byteLength;
  return is_whole ? (bytes as Uint8Array<ArrayBuffer>) : new Uint8Array(bytes);
}

/** One worker and the questions that only it answers. */
interface Running {
  ask(request: IntakeRequest, handed_over: ArrayBuffer[]): Promise<IntakeAnswer>;
  readonly is_over: boolean;
  stop(): Promise<void>;
}

function run(): Running {
  const worker = startWorker();
  /** Unanswered, in the order in which they were asked, which is that of the answers. */
  const questions: Question[] = [];
  const { promise: ended, resolve: tellEnded } = Promise.withResolvers<void>();
  let is_over = false;
  const settle = (problem: Problem): void => {
    is_over = true;
    for (const { reject } of questions.splice(0)) reject(problem);
    tellEnded();
  };
  worker.addEventListener("message", ({ data }: MessageEvent<IntakeAnswer>) => {
    questions.shift()?.resolve(data);
  });
  worker.addEventListener("error", (event) => {
    event.preventDefault();
    const cause = event.message;
    settle(new Problem("unavailable", "The thread of uploads failed.", { cause, retry_after_s: 1 }));
    worker.terminate();
  });
  worker.addEventListener("close", () => settle(stopping()));
  worker.unref();
  return {
    get is_over() {
      return is_over;
    },
    async ask(request, handed_over) {
      if (is_over) throw stopping();
      worker.postMessage(request, handed_over);
      const { promise, resolve, reject } = Promise.withResolvers<IntakeAnswer>();
      questions.push({ resolve, reject });
      const answer = await promise;
      if ("error" in answer) throw Object.assign(new Error(answer.error), { code: answer.code });
      return answer;
    },
    async stop() {
      if (!is_over) worker.postMessage({ close: true } satisfies IntakeRequest);
      await ended;
    },
  };
}

export function createIntakeThread(): IntakeThread {
  let running: Running | null = null;
  let closed = false;
  let last_upload = 0;

  return {
    open() {
      if (closed) throw stopping();
      if (running === null || running.is_over) running = run();
      // An upload stays with its worker: what another one hashed would be only a part.
      const { ask } = running;
      last_upload += 1;
      const upload = last_upload;
      return {
        async write(descriptor, pieces, position) {
          const owned = pieces.map(alone);
          await ask(
            { upload, descriptor, position, pieces: owned },
            owned.map(({ buffer }) => buffer),
          );
        },
        async end() {
          const answer = await ask({ upload, end: true }, []);
          assert("sha256" in answer, "the answer to an end is a digest");
          return answer.sha256;
        },
      };
    },
    async close() {
      closed = true;
      await running?.stop();
    },
  };
}
