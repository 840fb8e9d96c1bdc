/**
 * HTTP/1.1 over a raw socket: sends bytes as they are, also such as no client library would send, and reads the
 * answer by the rules of RFC 9112. Knows nothing of the API.
 */

export interface Wire {
  /** Takes everything; what the socket does not take at once goes as soon as it can. */
  send(bytes: Uint8Array | string): void;
  /** No more will be sent; what was given is sent first. */
  end(): void;
  /** Ends it at once, in both directions. */
  cut(): void;
  /** Stops reading, so that the other side meets a full window. */
  pause(): void;
  resume(): void;
  readonly closed: Promise<void>;
}

interface WireState {
  waiting: Uint8Array[];
  ending: boolean;
  closed: boolean;
  onData: (bytes: Uint8Array) => void;
  onClose: () => void;
}

function flush(socket: Bun.Socket<WireState>): void {
  const state = socket.data;
  for (let [next] = state.waiting; next !== undefined; [next] = state.waiting) {
    const taken = socket.write(next);
    if (taken < 0) return;
    if (taken < next.byteLength) {
      state.waiting[0] = next.subarray(taken);
      return;
    }
    state.waiting.shift();
  }
  if (state.ending) socket.end();
}

const HANDLERS: Bun.SocketHandler<WireState> = {
  binaryType: "uint8array",
  data: (socket, bytes) => socket.data.onData(bytes),
  drain: flush,
  end: (socket) => void socket.end(),
  close(socket) {
    socket.data.closed = true;
    socket.data.onClose();
  },
  error: (socket) => socket.terminate(),
};

function wireOf(socket: Bun.Socket<WireState>, closed: Promise<void>): Wire {
  return {
    closed,
    send(bytes) {
      if (socket.data.closed) return;
      socket.data.waiting.push(typeof bytes === "string" ? Buffer.from(bytes) : bytes);
      if (socket.data.waiting.length === 1) flush(socket);
    },
    end() {
      if (socket.data.closed) return;
      socket.data.ending = true;
      flush(socket);
    },
    cut: () => socket.terminate(),
    pause: () => socket.pause(),
    resume: () => socket.resume(),
  };
}

/** A connection to a local port. Throws when nobody listens. */
export async function connect(
  port: number,
  on: { data: (bytes: Uint8Array) => void; close?: () => void },
): Promise<Wire> {
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  const onClose = (): void => {
    resolve();
    on.close?.();
  };
  const data: WireState = { waiting: [], ending: false, closed: false, onData: on.data, onClose };
  const socket = await Bun.connect<WireState>({ hostname: "127.0.0.1", port, data, socket: HANDLERS });
  return wireOf(socket, closed);
}

export interface Listening {
  port: number;
  stop(): void;
}

/** Accepts connections on a free local port. `accept` gives what is done with the bytes of each. */
export function listen(
  accept: (wire: Wire) => { data: (bytes: Uint8Array) => void; close?: () => void },
): Listening {
  const server = Bun.listen<WireState>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      ...HANDLERS,
      open(socket) {
        const { promise: closed, resolve } = Promise.withResolvers<void>();
        const state: WireState = {
          waiting: [],
          ending: false,
          closed: false,
          onData: () => undefined,
          onClose: resolve,
        };
        socket.data = state;
        const on = accept(wireOf(socket, closed));
        state.onData = on.data;
        state.onClose = () => {
          resolve();
          on.close?.();
        };
      },
    },
  });
  return { port: server.port, stop: () => server.stop(true) };
}

export interface AnswerHead {
  status: number;
  /** By lower-case name; repeated ones joined by a comma. */
  headers: Map<string, string>;
}

const decoder = new TextDecoder();

function readHead(text: string): AnswerHead {
  const [status_line = "", ...fields] = text.split("\r\n");
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(status_line)?.[1]);
  if (!Number.isInteger(status)) throw new Error(`not an HTTP answer: ${status_line.slice(0, 100)}`);
  const headers = new Map<string, string>();
  for (const field of fields) {
    const colon = field.indexOf(":");
    const name = field.slice(0, colon).toLowerCase();
    const value = field.slice(colon + 1).trim();
    const before = headers.get(name);
    headers.set(name, before === undefined ? value : `${before}, ${value}`);
  }
  return { status, headers };
}

type BodyFraming =
  | { form: "none" }
  | { form: "length"; left: number }
  | { form: "chunks"; left: number; last: boolean }
  | { form: "close" };

/** Reads one answer out of pieces as they come. */
export class AnswerReader {
  head: AnswerHead | null = null;
  /** The whole answer was read; an answer that lasts until the close is never whole by itself. */
  done = false;
  #framing: BodyFraming = { form: "none" };
  #pending: Uint8Array = new Uint8Array();
  readonly #is_head: boolean;

  constructor(is_head_request = false) {
    this.#is_head = is_head_request;
  }

  /** The length is not known and the connection's end is the answer's end. */
  get untilClose(): boolean {
    return this.head !== null && this.#framing.form === "close";
  }

  /** Gives the pieces of the body that these bytes bring. */
  push(bytes: Uint8Array): Uint8Array[] {
    this.#pending = this.#pending.byteLength === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    while (this.head === null) if (!this.#takeHead()) return [];
    const out: Uint8Array[] = [];
    while (!this.done && this.#takeBody(out));
    return out;
  }

  #takeHead(): boolean {
    const end = Buffer.from(this.#pending.buffer, this.#pending.byteOffset, this.#pending.byteLength).indexOf(
      "\r\n\r\n",
    );
    if (end === -1) return false;
    const head = readHead(decoder.decode(this.#pending.subarray(0, end)));
    this.#pending = this.#pending.subarray(end + 4);
    if (head.status >= 100 && head.status < 200) return true;
    this.head = head;
    const length = head.headers.get("content-length");
    if (this.#is_head || head.status === 204 || head.status === 304) this.done = true;
    else if (head.headers.get("transfer-encoding")?.toLowerCase().includes("chunked") === true)
      this.#framing = { form: "chunks", left: 0, last: false };
    else if (length === undefined) this.#framing = { form: "close" };
    else if (Number(length) === 0) this.done = true;
    else this.#framing = { form: "length", left: Number(length) };
    return true;
  }

  #take(count: number): Uint8Array {
    const taken = this.#pending.subarray(0, count);
    this.#pending = this.#pending.subarray(taken.byteLength);
    return taken;
  }

  /** True while there may be more in what is pending. */
  #takeBody(out: Uint8Array[]): boolean {
    const framing = this.#framing;
    if (framing.form === "none" || this.#pending.byteLength === 0) return false;
    if (framing.form === "close") {
      out.push(this.#take(this.#pending.byteLength));
      return false;
    }
    if (framing.form === "chunks" && framing.left === 0) return this.#takeChunkSize(framing);
    const piece = this.#take(framing.left);
    framing.left -= piece.byteLength;
    out.push(piece);
    if (framing.left === 0 && framing.form === "length") this.done = true;
    return framing.left === 0 && !this.done;
  }

  #takeChunkSize(framing: BodyFraming & { form: "chunks" }): boolean {
    const text = decoder.decode(this.#pending.subarray(0, 64));
    const found = /^(?:\r\n)?([0-9A-Fa-f]+)[^\r\n]*\r\n/.exec(text);
    if (framing.last) {
      if (!text.startsWith("\r\n")) return false;
      this.done = true;
      return false;
    }
    if (found === null) return false;
    const size = Number.parseInt(found[1] ?? "", 16);
    this.#take(found[0].length);
    framing.left = size;
    framing.last = size === 0;
    return true;
  }
}

export interface Answer extends AnswerHead {
  body: Uint8Array;
  text: string;
  /** False when the connection ended, or the time ran out, before the answer was whole. */
  whole: boolean;
}

export interface ExchangeOptions {
  timeout_ms?: number;
  /** The answer to HEAD has a length and no body. */
  is_head?: boolean;
  /** An answer without an end is cut, as it is, after this long without a byte. */
  quiet_ms?: number;
}

/** Sends bytes on a connection of their own and reads the answer; null when the connection ends before a whole head. */
export async function exchange(
  port: number,
  request: Uint8Array | string,
  options: ExchangeOptions = {},
): Promise<Answer | null> {
  const reader = new AnswerReader(options.is_head);
  const pieces: Uint8Array[] = [];
  const { promise: over, resolve } = Promise.withResolvers<void>();
  let failure: unknown = null;
  let quiet: Timer | undefined;
  const wire = await connect(port, {
    data(bytes) {
      try {
        // Bytes are the socket's own and may be used again by it.
        pieces.push(...reader.push(bytes.slice()));
      } catch (error) {
        failure = error;
      }
      if (reader.done || failure !== null) resolve();
      clearTimeout(quiet);
      if (options.quiet_ms !== undefined) quiet = setTimeout(resolve, options.quiet_ms);
    },
    close: resolve,
  });
  const timer = setTimeout(resolve, options.timeout_ms ?? 30_000);
  wire.send(request);
  await over;
  clearTimeout(timer);
  clearTimeout(quiet);
  wire.cut();
  if (failure !== null) throw failure;
  if (reader.head === null) return null;
  const body = Buffer.concat(pieces);
  return { ...reader.head, body, text: body.toString("utf8"), whole: reader.done || reader.untilClose };
}

/** A request as bytes; `connection: close` unless given. Host and length are added when absent. */
export function requestBytes(
  method: string,
  target: string,
  headers: Record<string, string>,
  body: Uint8Array | string = "",
): Uint8Array {
  const bytes = typeof body === "string" ? Buffer.from(body) : body;
  const given = new Set(Object.keys(headers).map((name) => name.toLowerCase()));
  const lines = [`${method} ${target} HTTP/1.1`];
  if (!given.has("host")) lines.push("host: 127.0.0.1");
  if (!given.has("connection")) lines.push("connection: close");
  if (
    !given.has("content-length") &&
    !given.has("transfer-encoding") &&
    (bytes.byteLength > 0 || !["GET", "HEAD", "DELETE"].includes(method))
  )
    lines.push(`content-length: ${bytes.byteLength}`);
  for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`);
  return Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`), bytes]);
}
