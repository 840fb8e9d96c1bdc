/** Reading the bytes of a request with a bound: no more than the limit is ever held. */
import { Problem } from "../errors.ts";

function tooLarge(limit_bytes: number): Problem {
  return new Problem("too_large", `The body may be ${limit_bytes} bytes long.`, { members: { limit_bytes } });
}

function cutOff(cause: unknown): Problem {
  return new Problem("malformed_body", "The body ended before it was whole.", { cause });
}

/** The length that the request announces, or null. Errors: `too_large`. */
function announcedBytes(request: Request, limit_bytes: number): number | null {
  const announced = request.headers.get("content-length");
  if (announced === null || !/^\d+$/.test(announced)) return null;
  const bytes = Number(announced);
  if (bytes > limit_bytes) throw tooLarge(limit_bytes);
  return bytes;
}

/** The body as it comes. Errors: `too_large` at the byte that is too many, `malformed_body` when it is cut off. */
export async function* limitedChunks(request: Request, limit_bytes: number): AsyncGenerator<Uint8Array> {
  announcedBytes(request, limit_bytes);
  if (request.body === null) return;
  const reader = request.body.getReader();
  let bytes = 0;
  try {
    for (;;) {
      const { value, done } = await reader.read().catch((error: unknown) => {
        throw cutOff(error);
      });
      if (done) return;
      bytes += value.byteLength;
      if (bytes > limit_bytes) throw tooLarge(limit_bytes);
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** The whole body. Errors: `too_large`, `malformed_body` when it is cut off. */
export async function readBody(request: Request, limit_bytes: number): Promise<Uint8Array> {
  if (announcedBytes(request, limit_bytes) !== null) {
    const bytes = await request.bytes().catch((error: unknown) => {
      throw cutOff(error);
    });
    // Bun's server keeps to what was announced; a request that was made in this process need not.
    if (bytes.byteLength > limit_bytes) throw tooLarge(limit_bytes);
    return bytes;
  }
  const chunks: Uint8Array[] = [];
  for await (const chunk of limitedChunks(request, limit_bytes)) chunks.push(chunk);
  return Buffer.concat(chunks);
}
