/**
 * The bearer token: 32 random bytes in `<data>/token`, readable by its owner only. It is made once, never
 * overwritten by accident, and never printed except where a person asks for it.
 */
import { linkSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Problem } from "../errors.ts";
import { limit } from "../limits.ts";
import { makePrivateFolder, replacePrivateFile, syncFolder, systemCode } from "../lib/private-files.ts";

const TOKEN_BYTES = 32;
const TOKEN = /^[A-Za-z0-9._~+/=-]+$/;
const [LEAST, MOST] = [limit("token_min_characters"), limit("token_max_characters")];

export interface Token {
  token: string;
  source: "environment" | "file";
}

function tokenPath(data_dir: string): string {
  return join(data_dir, "token");
}

/** The token, if it can be one. Errors: `usage`. */
export function checkToken(token: string, where = "SYNTHETIC_TOKEN"): string {
  if (TOKEN.test(token) && token.length >= LEAST && token.length <= MOST) return token;
  throw new Problem(
    "usage",
    `${where} holds no usable token: ${LEAST} to ${MOST} letters, digits or . _ ~ + / = - are expected.`,
    {
      hint: "`openssl rand -hex 32` makes one; a spoilt file can be deleted, the next start makes another.",
    },
  );
}

/** What the file holds, or null when there is none. Errors: `usage` when it holds something else. */
export function readToken(data_dir: string): string | null {
  const path = tokenPath(data_dir);
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const code = systemCode(error);
    if (code === "ENOENT" || code === "ENOTDIR") return null;
    throw new Problem("usage", `${path} cannot be read (${code ?? "error"}).`, { cause: error });
  }
  return checkToken(text.trim(), path);
}

/** A token that cannot be guessed. */
export function newToken(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(TOKEN_BYTES))).toString("base64url");
}

/**
 * The token to serve with: SYNTHETIC_TOKEN when it is set, else the file's, which is made when there is none.
 * Two processes that make it at once end with the same one. Errors: `usage` when it is too weak or cannot be
 * read.
 */
export function loadToken(data_dir: string, from_environment: string | null): Token {
  if (from_environment !== null) return { token: checkToken(from_environment), source: "environment" };
  const present = readToken(data_dir);
  if (present !== null) return { token: present, source: "file" };
  makePrivateFolder(data_dir);
  const token = newToken();
  const own = `${tokenPath(data_dir)}.${process.pid}`;
  try {
    replacePrivateFile(own, `${token}\n`);
    // A link and not a rename: it fails when somebody else was first.
    linkSync(own, tokenPath(data_dir));
  } catch (error) {
    const first = readToken(data_dir);
    if (first !== null) return { token: first, source: "file" };
    if (systemCode(error) !== "EPERM" && systemCode(error) !== "ENOTSUP") throw error;
    // A filesystem without links.
    renameSync(own, tokenPath(data_dir));
  } finally {
    rmSync(own, { force: true });
  }
  syncFolder(data_dir);
  return { token, source: "file" };
}

/** Puts a new token in the place of the old one, which a server that runs goes on to accept. */
export function rotateToken(data_dir: string): string {
  makePrivateFolder(data_dir);
  const token = newToken();
  replacePrivateFile(tokenPath(data_dir), `${token}\n`);
  return token;
}
