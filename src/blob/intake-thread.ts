/** The sending side of the thread that hashes and writes uploads. Started with the first large one. */
import { Problem } from "../errors.ts";
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

export function createIntakeThread(): IntakeThread {
  /** Unanswered, in the order in which they were asked, which is that of the answers. */
  const questions: Question[] = [];
  let worker: Worker | null = null;
  let ended: Promise<void> = Promise.resolve();
  let closed = false;
  let last_upload = 0;

  function start(): Worker {
    const started = startWorker();
    const { promise, resolve } = Promise.withResolvers<void>();
    ended = promise;
    const over = (problem: Problem): void => {
      worker = null;
      for (const { reject } of questions.splice(0)) reject(problem);
      resolve();
    };
    started.addEventListener("message", ({ data }: MessageEvent<IntakeAnswer>) => {
      questions.shift()?.resolve(data);
    });
    started.addEventListener("error", (event) => {
      event.preventDefault();
      const cause = event.message;
      over(new Problem("unavailable", "The thread of uploads failed.", { cause, retry_after_s: 1 }));
    });
    started.addEventListener("close", () => over(stopping()));
    started.unref();
    return started;
  }

  async function ask(request: IntakeRequest, handed_over: ArrayBuffer[]): Promise<IntakeAnswer> {
    if (closed) throw stopping();
    worker ??= start();
    worker.postMessage(request, handed_over);
    const { promise, resolve, reject } = Promise.withResolvers<IntakeAnswer>();
    questions.push({ resolve, reject });
    const answer = await promise;
    if ("error" in answer) throw Object.assign(new Error(answer.error), { code: answer.code });
    return answer;
  }

  return {
    open() {
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
          return "sha256" in answer ? answer.sha256 : "";
        },
      };
    },
    async close() {
      closed = true;
      worker?.postMessage({ close: true } satisfies IntakeRequest);
      await ended;
    },
  };
}
