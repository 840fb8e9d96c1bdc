/** Digest fields of HTTP (RFC 9530), of which SHA-256 is read and sent. */
import { invalid } from "../errors.ts";

const SHA_256 = /(?:^|,)[ \t]*sha-256=:([A-Za-z0-9+/]{43}=):[ \t]*(?=,|$)/;

/** The SHA-256 that Content-Digest names, hexadecimal; null without the field or with other algorithms only. Errors: `invalid_request`. */
export function readContentDigest(request: Request): string | null {
  const field = request.headers.get("content-digest");
  if (field === null) return null;
  const found = SHA_256.exec(field)?.[1];
  if (found !== undefined) return Buffer.from(found, "base64").toString("hex");
  if (/(?:^|,)[ \t]*sha-256\b/i.test(field))
    throw invalid("Content-Digest", "sha-256=:BASE64: with 32 bytes is expected.");
  return null;
}

export function digestField(sha256: string): string {
  return `sha-256=:${Buffer.from(sha256, "hex").toString("base64")}:`;
}
