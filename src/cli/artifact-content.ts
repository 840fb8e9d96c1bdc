/**
 * The bytes of an artifact, whole and in order. A server gives up a reader that pauses (a pager, a slow pipe), and
 * connections break: the read then goes on where it was.
 */
import { Problem } from "../errors.ts";
import { limit } from "../limits.ts";
import type { Artifact } from "../schema/artifact.ts";
import { chunksOf, type Client } from "./client.ts";

/** What is read: of one that grows, as much as there was when it was looked at. */
export type Content = Pick<Artifact, "id" | "size_bytes" | "sha256">;

/** Bytes [start, end). Errors: those of the read; `unreachable` when it breaks off. */
export async function* rangeOf(
  client: Client,
  id: string,
  start: number,
  end: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const response = await client.request({
    path: `/v1/artifacts/${id}/content`,
    // Nothing at all has no range.
    headers: {
      "accept-encoding": "identity",
      ...(end > start && { range: `bytes=${start}-${end - 1}` }),
    },
    endless: true,
  });
  if (end > start && response.status !== 206) {
    await response.body?.cancel();
    throw new Problem("internal", "The server did not give the range that was asked for.");
  }
  yield* chunksOf(response, signal);
}

/**
 * Errors: `not_found`, `gone`, `unreachable`, `integrity_failed`: after the last piece, when what came is not what the
 * artifact's digest says.
 */
export async function* streamContent(
  client: Client,
  { id, size_bytes, sha256 }: Content,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const hasher = new Bun.CryptoHasher("sha256");
  let reached = 0;
  let empty = 0;
  do {
    const before = reached;
    try {
      for await (const piece of rangeOf(client, id, reached, size_bytes, signal)) {
        reached += piece.byteLength;
        hasher.update(piece);
        yield piece;
      }
    } catch (error) {
      if (!(error instanceof Problem) || error.code !== "unreachable" || reached === before) throw error;
    }
    empty = reached === before ? empty + 1 : 0;
    if (empty >= limit("cli_read_tries_count") && reached < size_bytes)
      throw new Problem("unreachable", `The content broke off after ${reached} bytes.`, {
        hint: "Try again.",
      });
  } while (reached < size_bytes);
  if (sha256 !== null && hasher.digest("hex") !== sha256)
    throw new Problem("integrity_failed", "The bytes that came are not those of the artifact.");
}
