/**
 * Reading a transcript back as an outsider would: heads are computed here from the documented rule alone, without
 * the program's own code, so that a mistake in it cannot hide itself.
 */
import { createHash } from "node:crypto";
import type { Server } from "./server.ts";

export interface Line {
  received_at_ms: number;
  seq: number;
  kind: string;
  actor: string;
  at_ms: number;
  key?: string;
  /** Verbatim text of the value. */
  body: string;
  /** The whole line, without its newline. */
  text: string;
}

export interface Transcript {
  lines: Line[];
  /** The running head by seq; `heads[0]` is the one before the first entry. */
  heads: string[];
}

const BODY = ',"body":';

/** Throws on what is not a wire line. */
export function readLine(text: string): Line {
  const at = text.indexOf(BODY);
  if (at === -1 || !text.endsWith("}")) throw new Error(`not a wire line: ${text.slice(0, 200)}`);
  const members = JSON.parse(`${text.slice(0, at)}}`) as Omit<Line, "body" | "text">;
  return { ...members, body: text.slice(at + BODY.length, -1), text };
}

/** Lines and heads of NDJSON. Throws when the text does not end with a newline. */
export function readTranscript(ndjson: string): Transcript {
  if (ndjson !== "" && !ndjson.endsWith("\n")) throw new Error("the transcript ends in the middle of a line");
  const lines = ndjson.split("\n").slice(0, -1).map(readLine);
  let head = Buffer.alloc(32);
  const heads = [head.toString("hex")];
  for (const { text } of lines) {
    head = createHash("sha256")
      .update(head)
      .update(text.slice(text.indexOf('"seq":')))
      .digest() as Buffer<ArrayBuffer>;
    heads.push(head.toString("hex"));
  }
  return { lines, heads };
}

/** What is wrong with a transcript by itself and against what the session says of it. */
export function transcriptFaults(
  transcript: Transcript,
  session: { last_seq: number; head: string },
): string[] {
  const faults: string[] = [];
  const gap = transcript.lines.findIndex(({ seq }, index) => seq !== index + 1);
  if (gap !== -1) faults.push(`line ${gap + 1} has seq ${transcript.lines[gap]?.seq}`);
  if (session.last_seq !== transcript.lines.length)
    faults.push(
      `the session says ${session.last_seq} entries, the transcript has ${transcript.lines.length}`,
    );
  if (session.head !== transcript.heads.at(-1))
    faults.push(`the session's head is not that of its ${transcript.lines.length} lines`);
  return faults;
}

/** The whole transcript of a session of a running server, and what is wrong with it by itself. */
export async function fetchTranscript(
  server: Server,
  session_id: string,
): Promise<Transcript & { faults: string[] }> {
  const answer = await server.call("GET", `/v1/sessions/${session_id}/transcript`);
  if (answer.status !== 200)
    throw new Error(`transcript: ${answer.status} ${(await answer.text()).slice(0, 300)}`);
  const transcript = readTranscript(await answer.text());
  const session = (await (await server.call("GET", `/v1/sessions/${session_id}`)).json()) as {
    last_seq: number;
    head: string;
  };
  return { ...transcript, faults: transcriptFaults(transcript, session) };
}
