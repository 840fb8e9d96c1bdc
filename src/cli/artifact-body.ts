/** A file or a pipe as the body of a request: read as it is sent, hashed as it goes by. */
import { within } from "./artifact-wait.ts";

export interface SentBody {
  stream: ReadableStream<Uint8Array>;
  readonly size_bytes: number;
  /** Of what was sent, hexadecimal. Asked once, at the end. */
  sha256(): string;
  /** Why reading failed, or null: on its way through a request it would become a failure of the network. */
  readonly failure: unknown;
}

/** Holds one piece at a time. `passes` is told how much was read after each. */
export function bodyOf(
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
  passes: (sent_bytes: number) => void,
): SentBody {
  const hasher = new Bun.CryptoHasher("sha256");
  const pieces = source[Symbol.asyncIterator]();
  let size_bytes = 0;
  let failure: unknown = null;

  async function next(): Promise<Uint8Array | null> {
    for (;;) {
      const step = await within(pieces.next(), null, signal);
      if (step === undefined || step.done === true) return null;
      if (step.value.byteLength > 0) return step.value;
    }
  }

  const stream = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const piece = await next();
          if (piece === null) return controller.close();
          hasher.update(piece);
          size_bytes += piece.byteLength;
          passes(size_bytes);
          controller.enqueue(piece);
        } catch (error) {
          failure = error;
          controller.error(error);
        }
      },
    },
    { highWaterMark: 0 },
  );
  return {
    stream,
    get size_bytes() {
      return size_bytes;
    },
    sha256: () => hasher.digest("hex"),
    get failure() {
      return failure;
    },
  };
}
