/** A reader of server-sent events (WHATWG HTML §9.2) on a raw socket, which can stop reading and can break off anywhere. */
import { AnswerReader, connect, type Wire } from "./wire.ts";

export interface SseEvent {
  id: string | null;
  event: string;
  data: string;
}

export interface SseStream {
  wire: Wire;
  /** Resolves when the connection is over, with the status of the answer, or null when there was none. */
  ended: Promise<number | null>;
}

export interface SseOptions {
  path: string;
  headers: Record<string, string>;
  /** Of the whole stream; then the connection is cut, in the middle of whatever comes. */
  cut_after_bytes?: number;
  onEvent(event: SseEvent): void;
}

function readBlock(block: string): SseEvent | null {
  let id: string | null = null;
  let event = "message";
  const data: string[] = [];
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue;
    const value = line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    const name = line.slice(0, colon);
    if (name === "id") id = value;
    else if (name === "event") event = value;
    else if (name === "data") data.push(value);
  }
  return data.length === 0 ? null : { id, event, data: data.join("\n") };
}

/** Takes whole blocks out of the bytes of a stream. */
class Blocks {
  #waiting: Uint8Array[] = [];
  #newline_last = false;

  push(bytes: Uint8Array): string[] {
    const out: string[] = [];
    let from = 0;
    // A block ends with an empty line; its two newlines may come in two pieces.
    for (let at = bytes.indexOf(10); at !== -1; at = bytes.indexOf(10, at + 1)) {
      const doubled = at === 0 ? this.#newline_last : bytes[at - 1] === 10;
      if (!doubled || (at === from && this.#waiting.length === 0)) continue;
      this.#waiting.push(bytes.subarray(from, at + 1));
      out.push(Buffer.concat(this.#waiting).toString("utf8"));
      this.#waiting = [];
      from = at + 1;
    }
    if (from < bytes.byteLength) this.#waiting.push(bytes.subarray(from));
    this.#newline_last = bytes.at(-1) === 10;
    return out;
  }
}

export async function openSse(port: number, options: SseOptions): Promise<SseStream> {
  const reader = new AnswerReader();
  const blocks = new Blocks();
  const { promise: ended, resolve } = Promise.withResolvers<number | null>();
  let left = options.cut_after_bytes ?? Number.POSITIVE_INFINITY;
  const wire = await connect(port, {
    data(bytes) {
      if (left <= 0) return;
      const own = bytes.slice(0, Math.min(bytes.byteLength, left));
      left -= bytes.byteLength;
      for (const piece of reader.push(own)) {
        for (const block of reader.head?.status === 200 ? blocks.push(piece) : []) {
          const event = readBlock(block);
          if (event !== null) options.onEvent(event);
        }
      }
      if (left <= 0 || reader.done) wire.cut();
    },
    close: () => resolve(reader.head?.status ?? null),
  });
  const headers = { host: "127.0.0.1", accept: "text/event-stream", ...options.headers };
  wire.send(
    `GET ${options.path} HTTP/1.1\r\n${Object.entries(headers)
      .map(([name, value]) => `${name}: ${value}\r\n`)
      .join("")}\r\n`,
  );
  return { wire, ended };
}
