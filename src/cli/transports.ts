/** The two ways to a door: over HTTP, and in this process. */
import { isLoopback } from "../config.ts";
import { Problem } from "../errors.ts";
import type { Transport } from "./client.ts";
import type { Door } from "./machine.ts";

/** A server over HTTP. Requests to this machine never go through a proxy of the environment: it would read the token. */
export function httpTransport(url: string): Transport {
  const direct = isLoopback(new URL(url).hostname.replace(/^\[(.*)\]$/, "$1"));
  return {
    via: "server",
    name: url,
    async fetch(path, outgoing, endless) {
      try {
        return await fetch(url + path, {
          ...outgoing,
          redirect: "error",
          ...(direct && { proxy: false as const }),
          ...(endless && { timeout: false }),
        });
      } catch (error) {
        if (outgoing.signal.aborted) throw error;
        throw new Problem("unreachable", `The server at ${url} cannot be reached.`, {
          hint: "Is it running? `synthetic status` tells.",
          cause: error,
        });
      }
    },
    close: () => Promise.resolve(),
  };
}

/** The directory itself, opened in this process: the same door without a network. `close` closes the directory. */
export function processTransport(door: Door, data_dir: string, close: () => Promise<void>): Transport {
  return {
    via: "process",
    name: data_dir,
    fetch: async (path, outgoing) =>
      door.fetch(
        new Request(`http://localhost${path}`, {
          ...outgoing,
          headers: { host: "localhost", ...outgoing.headers },
        }),
      ),
    close,
  };
}

const PROBE_MS = 2_000;

/** Whether something answers there at all. */
export async function answers(url: string, signal: AbortSignal): Promise<boolean> {
  try {
    const response = await fetch(`${url}/healthz`, {
      redirect: "error",
      proxy: false,
      signal: AbortSignal.any([signal, AbortSignal.timeout(PROBE_MS)]),
    });
    await response.body?.cancel();
    return true;
  } catch {
    return false;
  }
}
