/** What a request says about media types and codings (RFC 9110 §8 and §12), read the same way everywhere. */
import { Problem } from "../errors.ts";

export type Coding = "identity" | "zstd" | "gzip";

/**
 * The names of a header like Accept or Accept-Encoding, each with its weight from 0 to 1; malformed weights
 * count as 0.
 */
function weights(header: string): Map<string, number> {
  const found = new Map<string, number>();
  for (const part of header.split(",")) {
    const [name = "", ...parameters] = part.split(";").map((piece) => piece.trim().toLowerCase());
    if (name === "") continue;
    const weight = parameters.find((parameter) => parameter.startsWith("q="))?.slice(2);
    found.set(
      name,
      weight === undefined ? 1 : /^(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/.test(weight) ? Number(weight) : 0,
    );
  }
  return found;
}

/**
 * The coding for a compressible answer: the one with the highest weight, zstd before gzip, identity when none
 * is named.
 */
export function acceptedCoding(request: Request): Coding {
  const header = request.headers.get("accept-encoding");
  if (header === null) return "identity";
  const given = weights(header);
  const others = given.get("*") ?? 0;
  const zstd = given.get("zstd") ?? others;
  const gzip = given.get("gzip") ?? given.get("x-gzip") ?? others;
  const identity = given.get("identity") ?? 0;
  if (Math.max(zstd, gzip) <= 0 || identity > Math.max(zstd, gzip)) return "identity";
  return zstd >= gzip ? "zstd" : "gzip";
}

/**
 * The coding for a stream: zstd wherever it is named, because frames are stored in it, else gzip if that is named;
 * `*` is not a name.
 */
export function streamCoding(request: Request): Coding {
  const given = weights(request.headers.get("accept-encoding") ?? "");
  return (["zstd", "gzip"] as const).find((coding) => (given.get(coding) ?? 0) > 0) ?? "identity";
}

/** Whether NDJSON is asked for, and not less than JSON. */
export function prefersNdjson(request: Request): boolean {
  const header = request.headers.get("accept");
  if (header === null || !/ndjson/i.test(header)) return false;
  const given = weights(header);
  const ndjson = given.get("application/x-ndjson") ?? 0;
  return ndjson > 0 && ndjson >= (given.get("application/json") ?? 0);
}

/**
 * The media type of the body, which is one of `allowed`. Errors: `unsupported_media_type` also for a missing
 * type, a charset other than UTF-8 and a compressed body.
 */
export function bodyType<T extends string>(request: Request, allowed: readonly T[]): T {
  const coding = request.headers.get("content-encoding");
  if (coding !== null && coding.toLowerCase() !== "identity") {
    throw new Problem("unsupported_media_type", "Compressed request bodies are not read.", {
      hint: "Send the body without Content-Encoding.",
    });
  }
  const header = request.headers.get("content-type") ?? "";
  // Nearly all requests: the name alone, in lower case.
  const plain = allowed.find((candidate) => candidate === header);
  if (plain !== undefined) return plain;
  const [name = "", ...parameters] = header.split(";").map((piece) => piece.trim().toLowerCase());
  const type = allowed.find((candidate) => candidate === name);
  const is_utf8 = parameters.every((parameter) => parameter === "" || /^charset="?utf-?8"?$/.test(parameter));
  if (type !== undefined && is_utf8) return type;
  throw new Problem("unsupported_media_type", `The body must be ${allowed.join(" or ")}, in UTF-8.`, {
    hint: `Set Content-Type to ${allowed.join(" or ")}.`,
  });
}
