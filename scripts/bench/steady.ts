/**
 * A load that does not wait for answers: so many requests a second are due, whatever the server does. Latency counts from
 * the moment at which a request was due, so that a server that stalls cannot hide it.
 */
import type { Target } from "./load.ts";

export interface SteadyResult {
  /** Share of the due requests that were answered by the end. */
  delivered: number;
  /** Milliseconds from due to answered. */
  latencies: number[];
}

interface Lane {
  due_ms: number;
  answer: string;
  rest: Uint8Array;
}

const TICK_MS = 2;

function isWhole(answer: string): boolean {
  const end = answer.indexOf("\r\n\r\n");
  const length = /content-length: (\d+)/i.exec(answer);
  return end !== -1 && length !== null && answer.length - end - 4 >= Number(length[1]);
}

/** Sends `rate` requests a second for `duration_ms` over `connections`; `next` gives the bytes of request i. */
export async function steadyLoad(
  target: Target,
  { rate, duration_ms, connections }: { rate: number; duration_ms: number; connections: number },
  next: (index: number) => Uint8Array,
): Promise<SteadyResult> {
  const latencies: number[] = [];
  const idle: Bun.Socket<Lane>[] = [];
  const due: number[] = [];
  let sent = 0;
  let over = false;

  const send = (): void => {
    while (due.length > 0) {
      const socket = idle.pop();
      if (socket === undefined) return;
      const bytes = next(sent);
      sent += 1;
      socket.data.due_ms = due.shift() ?? 0;
      socket.data.answer = "";
      socket.data.rest = bytes.subarray(Math.max(0, socket.write(bytes)));
    }
  };
  const all = await Promise.all(
    Array.from({ length: connections }, () =>
      Bun.connect<Lane>({
        hostname: target.host,
        port: target.port,
        data: { due_ms: 0, answer: "", rest: new Uint8Array() },
        socket: {
          open: (socket) => void idle.push(socket),
          data(socket, bytes) {
            socket.data.answer += bytes.toString("latin1");
            if (!isWhole(socket.data.answer)) return;
            if (!socket.data.answer.startsWith("HTTP/1.1 201"))
              throw new Error(socket.data.answer.slice(0, 400));
            if (!over) latencies.push(performance.now() - socket.data.due_ms);
            idle.push(socket);
            send();
          },
          drain(socket) {
            if (socket.data.rest.byteLength > 0)
              socket.data.rest = socket.data.rest.subarray(Math.max(0, socket.write(socket.data.rest)));
          },
        },
      }),
    ),
  );
  const began = performance.now();
  let scheduled = 0;
  while (performance.now() - began < duration_ms) {
    const wanted = ((performance.now() - began) / 1_000) * rate;
    for (; scheduled < wanted; scheduled += 1) due.push(began + (scheduled / rate) * 1_000);
    send();
    await Bun.sleep(TICK_MS);
  }
  over = true;
  for (const socket of all) socket.terminate();
  return { delivered: latencies.length / scheduled, latencies };
}
