/**
 * Who may speak to the server at all: the host name that was asked for, the page that asks, and the token. It
 * runs before routing, on every request, and tells nothing about what exists.
 */
import { timingSafeEqual } from "node:crypto";
import { Problem } from "../errors.ts";

/** Paths that hold no data and need no token (contract §2). */
const OPEN_PATHS: ReadonlySet<string> = new Set([
  "/healthz",
  "/readyz",
  "/version",
  "/openapi.json",
  "/docs",
]);

const LOOPBACK_NAMES = ["localhost", "127.0.0.1", "[::1]"];

export interface Guard {
  /** Errors: `misdirected` (421), `forbidden` (403), `unauthorized` (401), in this order. */
  check(headers: Headers, path: string): void;
}

function digestOf(text: string): Uint8Array {
  return Bun.SHA256.hash(text) as Uint8Array;
}

/**
 * A guard for one token and the loopback names plus `hosts`; a name is allowed with any port, or with the one
 * port that it was configured with. The whole Host header is compared: two of them arrive joined by a comma
 * and are refused.
 */
export function createGuard(token: string, hosts: readonly string[]): Guard {
  const allowed = new Set([...LOOPBACK_NAMES, ...hosts.map((host) => host.toLowerCase())]);
  const expected = digestOf(token);

  const checkHost = (host: string | null): void => {
    const name = host?.toLowerCase() ?? "";
    if (allowed.has(name) || allowed.has(name.replace(/:\d{1,5}$/, ""))) return;
    throw new Problem(
      "misdirected",
      host === null ? "The request has no Host header." : "This host name is not on the allow-list.",
    );
  };

  const checkOrigin = (headers: Headers): void => {
    const origin = headers.get("origin")?.toLowerCase();
    const host = headers.get("host")?.toLowerCase();
    if (origin !== undefined && origin !== `http://${host}` && origin !== `https://${host}`) {
      throw new Problem("forbidden", "Requests from pages of another origin are not allowed.");
    }
    const site = headers.get("sec-fetch-site");
    if (site !== null && site !== "same-origin" && site !== "none") {
      throw new Problem("forbidden", "Requests that another site starts are not allowed.");
    }
  };

  const checkToken = (authorization: string | null): void => {
    const given = authorization === null ? null : /^Bearer +(\S+) *$/i.exec(authorization);
    if (given === null) throw new Problem("unauthorized", "The request has no bearer token.");
    if (!timingSafeEqual(digestOf(given[1] ?? ""), expected))
      throw new Problem("unauthorized", "The token is not the one of this server.");
  };

  return {
    check(headers, path) {
      checkHost(headers.get("host"));
      checkOrigin(headers);
      if (!OPEN_PATHS.has(path)) checkToken(headers.get("authorization"));
    },
  };
}
