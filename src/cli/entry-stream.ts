/**
 * A transcript as lines, whole and in order. A server gives up a reader that pauses (a pager, a slow pipe):
 * the read then goes on behind the last line, so that what comes out has no gap and no end that is not the
 * end.
 */
import { Problem } from "../errors.ts";
import { readHeader } from "../lib/wire-line.ts";
import { limit } from "../limits.ts";
import type { Session } from "../schema/session.ts";
import { chunksOf, type Client } from "./client.ts";
import { readLines } from "./lines.ts";

/**
 * Wire lines without newlines, behind `after` up to where the session ended when it was read, or further.
 * Errors: `not_found`, `gone` (dropped by retention), `unreachable`.
 */
export async function* streamLines(
  client: Client,
  session: Pick<Session, "id" | "last_seq" | "dropped_through_seq">,
  after: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array[]> {
  const path = `/v1/sessions/${session.id}`;
  let reached = after;
  for (let empty = 0; reached < session.last_seq;) {
    const before = reached;
    try {
      // The whole of it comes as it is stored; a part is cut out by the server.
      const whole = reached === session.dropped_through_seq;
      const response = await client.request(
        whole
          ? { path: `${path}/transcript` }
          : {
              path: `${path}/entries`,
              query: { after: reached },
              headers: { accept: "application/x-ndjson" },
            },
      );
      for await (const lines of readLines(
        chunksOf(response, signal),
        limit("entry_body_bytes") + limit("entry_envelope_bytes"),
      )) {
        const line = lines.at(-1);
        if (line !== undefined) reached = readHeader(line).header.seq;
        yield lines;
      }
    } catch (error) {
      if (!(error instanceof Problem) || error.code !== "unreachable" || reached === before) throw error;
    }
    empty = reached === before ? empty + 1 : 0;
    if (empty >= limit("cli_read_tries_count"))
      throw new Problem("unreachable", `The transcript broke off behind entry ${reached}.`, {
        hint: "Try again.",
      });
  }
}
