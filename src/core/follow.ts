/**
 * Following a log while it grows, line by line: each line exactly once and in order, and only when it is whole. The
 * file is the truth and the bell only a wake-up.
 */
import type { Blob, TextLine } from "../blob/contract.ts";
import { createWaiter } from "../lib/wake.ts";
import { limit } from "../limits.ts";
import { type Content, openContent } from "./artifact.ts";
import type { Context } from "./context.ts";

export type { TextLine };

export type FollowStep =
  | { step: "lines"; lines: TextLine[] }
  /** Nothing came for the time that was given. */
  | { step: "quiet" }
  /** It is sealed and all its lines were given. */
  | { step: "end"; row: Content };

export interface Follower {
  /** Errors: `gone` when it was deleted meanwhile, `integrity_failed`. */
  next(wait_ms: number): Promise<FollowStep>;
  close(): void;
}

const NEWLINE = 10;

async function endsWithNewline(blob: Blob): Promise<boolean> {
  for await (const piece of blob.read(blob.size_bytes - 1, blob.size_bytes)) return piece.at(-1) === NEWLINE;
  return false;
}

/** From a line on, counted from 1. Errors: `not_found`, `gone`. */
export async function followLines(context: Context, id: string, from: number): Promise<Follower> {
  await (await openContent(context, id)).blob.close();
  let next_line = from;
  const waiter = createWaiter(context.bell, [id]);

  async function read(): Promise<FollowStep | null> {
    const { row, blob } = await openContent(context, id);
    try {
      const found = await blob.lines({
        from: next_line,
        count: limit("page_items_count"),
        max_bytes: limit("tail_batch_bytes"),
      });
      const { lines } = found;
      const is_cut = row.state === "open" && lines.length > 0 && found.next_line === null;
      if (is_cut && !(await endsWithNewline(blob))) lines.pop();
      const last = lines.at(-1);
      if (last === undefined) return row.state === "sealed" ? { step: "end", row } : null;
      next_line = last.number + 1;
      return { step: "lines", lines };
    } finally {
      await blob.close();
    }
  }

  return {
    async next(wait_ms) {
      waiter.expect();
      return (await read()) ?? (await waiter.wait(wait_ms).then(read)) ?? { step: "quiet" };
    },
    close: waiter.close,
  };
}
