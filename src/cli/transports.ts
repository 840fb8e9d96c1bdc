/** The two ways to a door: over HTTP, and in this process. */
import { isLoopback } from "../config.ts";
import { Problem } from "../errors.ts";
import { limit } from "../limits.ts";
import type { Transport } from "./client.ts";
import type { Door } from "./machine.ts";

/**
 * Whether a server is of this machine: then its requests never go through a proxy of the environment, which
 * would read the token.
 */
function isLocal(url: string): boolean {
  return isLoopback(new URL(url).hostname);
}

/**
 * A server over HTTP. When it cannot be reached, `relocate` may tell where it is by now, for the next
 * request.
 */
export function httpTransport(url: string, relocate: () => string | null = () => null): Transport {
  let place = url;
  return {
    via: "server",
    name: url,
    async fetch(path, outgoing, endless) {
      const asked = place;
      try {
        return await fetch(asked + path, {
          ...outgoing,
          redirect: "error",
          ...(isLocal(asked) && { proxy: false as const }),
          ...(endless && { timeout: false }),
        });
      } catch (error) {
        if (outgoing.signal.aborted) throw error;
        place = relocate() ?? asked;
        const hint = "Is it running? `synthetic status` tells.";
        throw new Problem("unreachable", `The server at ${asked} cannot be reached.`, { hint, cause: error });
      }
    },
    close: () => Promise.resolve(),
  };
}

/**
 * The directory itself, opened in this process: the same door without a network. `close` closes the
 * directory.
 */
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

/** Whether something answers there at all. */
export async function answers(url: string, signal: AbortSignal): Promise<boolean> {
  try {
    const response = await fetch(`${url}/healthz`, {
      redirect: "error",
      proxy: false,
      signal: AbortSignal.any([signal, AbortSignal.timeout(limit("cli_probe_ms"))]),
    });
    await response.body?.cancel();
    return true;
  } catch {
    return false;
  }
}
