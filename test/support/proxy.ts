/**
 * A TCP proxy that loses, delays and doubles what goes through it. Each connection carries one request, which names
 * its fault in a header, so that a seeded client decides what happens to it. It keeps every answer of the server,
 * also those that the client never saw.
 */
import { type Answer, AnswerReader, connect, listen, type Wire } from "./wire.ts";

/** What happens to one request. Fractions are of the length, from 0 to 1. */
export type Fault =
  | { fault: "none" }
  /** A part of the request goes through, then both sides are cut. */
  | { fault: "cut_request"; fraction: number }
  /** The whole request goes through; the answer is read and never given. */
  | { fault: "drop_answer" }
  /** The whole request goes through; a part of the answer is given. */
  | { fault: "cut_answer"; fraction: number }
  /** The whole request goes through, and both sides are cut without waiting. */
  | { fault: "abandon" }
  /** The request goes through twice, together or one after the other; the first answer is given. */
  | { fault: "twice"; together: boolean };

export interface Faulty {
  fault: Fault;
  /** Before the request goes on, and before the answer does. */
  delay_ms: [request: number, answer: number];
  /** What the client calls the request; all its attempts have the same name. */
  name: string;
}

export const FAULT_HEADER = "x-fault";

export interface Proxy {
  port: number;
  /** Whole answers of the server by the name of the request, in the order they came. */
  answers: ReadonlyMap<string, Answer[]>;
  counts: Record<Fault["fault"], number>;
  /** Waits until nothing is under way. */
  quiet(): Promise<void>;
  stop(): void;
}

const NO_FAULT: Faulty = { fault: { fault: "none" }, delay_ms: [0, 0], name: "" };

/** Length of the whole request once its head is there. */
function requestLength(bytes: Buffer): number | null {
  const end = bytes.indexOf("\r\n\r\n");
  if (end === -1) return null;
  const length = /\r\ncontent-length: *(\d+)/i.exec(bytes.subarray(0, end).toString("latin1"))?.[1] ?? "0";
  return end + 4 + Number(length);
}

function readFault(bytes: Buffer): Faulty {
  const head = bytes.subarray(0, bytes.indexOf("\r\n\r\n")).toString("latin1");
  const text = new RegExp(`\r\n${FAULT_HEADER}: *([^\r]*)`, "i").exec(head)?.[1];
  return text === undefined ? NO_FAULT : (JSON.parse(text) as Faulty);
}

/** The server's answer as raw bytes and read; null when it is cut by the server. */
async function ask(port: number, request: Uint8Array): Promise<{ raw: Buffer; answer: Answer } | null> {
  const reader = new AnswerReader();
  const raw: Uint8Array[] = [];
  const body: Uint8Array[] = [];
  const { promise: over, resolve } = Promise.withResolvers<void>();
  const wire = await connect(port, {
    data(bytes) {
      const own = bytes.slice();
      raw.push(own);
      body.push(...reader.push(own));
      if (reader.done) resolve();
    },
    close: resolve,
  });
  wire.send(request);
  await over;
  wire.cut();
  if (reader.head === null || !(reader.done || reader.untilClose)) return null;
  const bytes = Buffer.concat(body);
  return {
    raw: Buffer.concat(raw),
    answer: { ...reader.head, body: bytes, text: bytes.toString("utf8"), whole: true },
  };
}

/** Sends without waiting for an answer. Cutting right after the last byte could take it back, so a moment passes. */
async function throwAt(port: number, request: Uint8Array): Promise<void> {
  const wire = await connect(port, { data: () => undefined });
  wire.send(request);
  await Bun.sleep(2);
  wire.cut();
}

export function startProxy(upstream_port: number): Proxy {
  const answers = new Map<string, Answer[]>();
  const counts: Proxy["counts"] = {
    none: 0,
    cut_request: 0,
    drop_answer: 0,
    cut_answer: 0,
    abandon: 0,
    twice: 0,
  };
  const under_way = new Set<Promise<void>>();

  async function askOnce(request: Uint8Array, name: string): Promise<Buffer | null> {
    const found = await ask(upstream_port, request).catch(() => null);
    if (found === null) return null;
    const list = answers.get(name) ?? [];
    answers.set(name, list);
    list.push(found.answer);
    return found.raw;
  }

  async function carry(client: Wire, request: Buffer): Promise<void> {
    const { fault, delay_ms, name } = readFault(request);
    counts[fault.fault] += 1;
    if (delay_ms[0] > 0) await Bun.sleep(delay_ms[0]);
    if (fault.fault === "cut_request") {
      await throwAt(
        upstream_port,
        request.subarray(
          0,
          Math.min(request.byteLength - 1, Math.floor(request.byteLength * fault.fraction)),
        ),
      );
      return client.cut();
    }
    if (fault.fault === "abandon") {
      await throwAt(upstream_port, request);
      return client.cut();
    }
    const first = askOnce(request, name);
    const second =
      fault.fault !== "twice"
        ? null
        : fault.together
          ? askOnce(request, name)
          : first.then(() => askOnce(request, name));
    const raw = await first;
    await second;
    if (delay_ms[1] > 0) await Bun.sleep(delay_ms[1]);
    if (raw === null || fault.fault === "drop_answer") return client.cut();
    if (fault.fault === "cut_answer") {
      client.send(raw.subarray(0, Math.min(raw.byteLength - 1, Math.floor(raw.byteLength * fault.fraction))));
      await Bun.sleep(1);
      return client.cut();
    }
    client.send(raw);
    client.end();
  }

  const listening = listen((client) => {
    const parts: Uint8Array[] = [];
    let bytes = 0;
    let length: number | null = null;
    return {
      data(part) {
        parts.push(part.slice());
        bytes += part.byteLength;
        length ??= requestLength(Buffer.concat(parts));
        if (length === null || bytes < length) return;
        length = Number.POSITIVE_INFINITY;
        const carried = carry(client, Buffer.concat(parts)).catch(() => client.cut());
        const tracked: Promise<void> = carried.finally(() => under_way.delete(tracked));
        under_way.add(tracked);
      },
    };
  });

  return {
    port: listening.port,
    answers,
    counts,
    async quiet() {
      while (under_way.size > 0) await Promise.all(under_way);
    },
    stop: listening.stop,
  };
}
