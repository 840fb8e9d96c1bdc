/** Long reads on threads of their own, so that no search or count ever stops an append (facts 11). Started on first use. */
import { availableParallelism } from "node:os";
import { Problem } from "../../errors.ts";
import { limit } from "../../limits.ts";
import { damaged } from "./refuse.ts";
import type { ReaderAnswer, ReaderQuestion } from "./reader-worker.ts";
import type { Parameters } from "./statement.ts";

export interface ReaderPool {
  /** All rows of a reading statement. Errors: `busy` when too many wait. */
  all<Row>(sql: string, parameters: Parameters): Promise<Row[]>;
  close(): Promise<void>;
}

interface Question {
  sql: string;
  parameters: Parameters;
  resolve: (rows: unknown[]) => void;
  reject: (error: unknown) => void;
}

interface Reader {
  worker: Worker;
  current: Question | null;
  ended: Promise<void>;
}

/** The worker's file, beside this one in the sources and beside the main module in the compiled binary. */
function startWorker(): Worker {
  return new Worker(new URL("./reader-worker.ts", import.meta.url).href);
}

export function createReaderPool(path: string): ReaderPool {
  const size = Math.max(1, Math.min(limit("reader_workers_count"), availableParallelism()));
  const readers: Reader[] = [];
  const queue: Question[] = [];
  let closed = false;

  function start(): Reader {
    const worker = startWorker();
    const { promise, resolve } = Promise.withResolvers<void>();
    const reader: Reader = { worker, current: null, ended: promise };
    worker.addEventListener("message", ({ data }: MessageEvent<ReaderAnswer>) => {
      const question = reader.current;
      reader.current = null;
      if ("rows" in data) question?.resolve(data.rows);
      else question?.reject(data.is_corrupt ? damaged(data.error) : new Error(data.error));
      next(reader);
    });
    worker.addEventListener("error", (event) => {
      readers.splice(readers.indexOf(reader), 1);
      reader.current?.reject(new Error(`a reader thread failed: ${event.message}`));
      resolve();
      // Each failure answers a question, so that this comes to an end.
      if (queue.length > 0) next(start());
    });
    worker.addEventListener("close", () => resolve());
    worker.postMessage({ open: path } satisfies ReaderQuestion);
    worker.unref();
    readers.push(reader);
    return reader;
  }

  function next(reader: Reader): void {
    const question = queue.shift();
    if (question === undefined) return;
    reader.current = question;
    reader.worker.postMessage({
      id: 0,
      sql: question.sql,
      parameters: question.parameters,
    } satisfies ReaderQuestion);
  }

  return {
    all<Row>(sql: string, parameters: Parameters): Promise<Row[]> {
      if (closed) throw new Problem("unavailable", "The server is stopping.", { retry_after_s: 1 });
      if (queue.length >= limit("reader_queue_count"))
        throw new Problem("busy", "Too many long reads are waiting.", { retry_after_s: 1 });
      return new Promise<Row[]>((resolve, reject) => {
        queue.push({ sql, parameters, resolve: resolve as (rows: unknown[]) => void, reject });
        const idle =
          readers.find((reader) => reader.current === null) ?? (readers.length < size ? start() : null);
        if (idle !== null) next(idle);
      });
    },
    async close() {
      closed = true;
      for (const question of queue.splice(0))
        question.reject(new Problem("unavailable", "The server is stopping.", { retry_after_s: 1 }));
      for (const reader of readers) reader.worker.postMessage({ close: true } satisfies ReaderQuestion);
      await Promise.all(readers.map((reader) => reader.ended));
    },
  };
}
