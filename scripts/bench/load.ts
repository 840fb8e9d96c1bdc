/**
 * A load of HTTP requests over raw keep-alive connections, one request at a time on each, as 64 clients would send
 * them. Cheaper than fetch, so that two cores measure the server and not the client.
 */

export interface Target {
  host: string;
  port: number;
  token: string;
}

export interface LoadResult {
  rate: number;
  /** Milliseconds of each request. */
  latencies: number[];
}

const encoder = new TextEncoder();

/** A whole request as it goes over the wire. */
export function requestBytes(
  target: Target,
  method: string,
  path: string,
  body?: string,
  type = "application/json",
): Uint8Array {
  const length =
    body === undefined ? "" : `Content-Type: ${type}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n`;
  return encoder.encode(
    `${method} ${path} HTTP/1.1\r\nHost: ${target.host}:${target.port}\r\nAuthorization: Bearer ${target.token}\r\n${length}\r\n${body ?? ""}`,
  );
}

interface Lane {
  began: number;
  answer: string;
  rest: Uint8Array;
}

/** Whether an answer is whole: its head has come, and as much body as it announces. */
function isWhole(answer: string): boolean {
  const end = answer.indexOf("\r\n\r\n");
  if (end === -1) return false;
  const length = /content-length: (\d+)/i.exec(answer.slice(0, end));
  return answer.length - end - 4 >= Number(length?.[1] ?? 0);
}

/**
 * Sends `count` requests over `clients` connections. `next` gives the bytes of request i. Every answer must have
 * the expected status: anything else ends the run with the answer as the error.
 */
export function load(
  target: Target,
  clients: number,
  count: number,
  status: number,
  next: (index: number) => Uint8Array,
): Promise<LoadResult> {
  const latencies: number[] = [];
  let sent = 0;
  let done = 0;
  const began = performance.now();
  return new Promise((resolve, reject) => {
    const send = (socket: Bun.Socket<Lane>): void => {
      if (sent >= count) {
        socket.end();
        return;
      }
      const bytes = next(sent);
      sent += 1;
      socket.data.began = performance.now();
      socket.data.answer = "";
      socket.data.rest = bytes.subarray(Math.max(0, socket.write(bytes)));
    };
    const receive = (socket: Bun.Socket<Lane>, data: Buffer): void => {
      socket.data.answer += data.toString("latin1");
      if (!isWhole(socket.data.answer)) return;
      if (!socket.data.answer.startsWith(`HTTP/1.1 ${status}`)) {
        reject(new Error(socket.data.answer.slice(0, 600)));
        return;
      }
      latencies.push(performance.now() - socket.data.began);
      done += 1;
      if (done === count) resolve({ rate: (count / (performance.now() - began)) * 1_000, latencies });
      send(socket);
    };
    for (let client = 0; client < clients; client += 1) {
      void Bun.connect<Lane>({
        hostname: target.host,
        port: target.port,
        data: { began: 0, answer: "", rest: new Uint8Array() },
        socket: {
          open: send,
          data: receive,
          drain(socket) {
            if (socket.data.rest.byteLength > 0)
              socket.data.rest = socket.data.rest.subarray(Math.max(0, socket.write(socket.data.rest)));
          },
          error: (_socket, error) => reject(error),
        },
      }).catch(reject);
    }
  });
}
