/**
 * A thread that hashes and writes what is uploaded, so that the event loop only has to receive it. It answers each
 * message once, in order, is told to close and ends by itself (facts 12).
 */
import { writeSync } from "node:fs";
import { systemCode } from "../lib/private-files.ts";

declare const self: Worker;

/** Bytes of a file that the sender keeps open until every message was answered. */
interface IntakeBatch {
  upload: number;
  descriptor: number;
  position: number;
  /** One after the other. */
  pieces: Uint8Array[];
}

/** The last message of an upload; its answer is the digest of everything before it. */
interface IntakeEnd {
  upload: number;
  end: true;
}

export type IntakeRequest = IntakeBatch | IntakeEnd | { close: true };
export type IntakeAnswer = { done: true } | { sha256: string } | { error: string; code: string | null };

const hashers = new Map<number, Bun.CryptoHasher>();

function hasherOf(upload: number): Bun.CryptoHasher {
  const found = hashers.get(upload) ?? new Bun.CryptoHasher("sha256");
  hashers.set(upload, found);
  return found;
}

function write({ upload, descriptor, position, pieces }: IntakeBatch): IntakeAnswer {
  const hasher = hasherOf(upload);
  let at = position;
  for (const piece of pieces) {
    hasher.update(piece);
    for (let done = 0; done < piece.byteLength;)
      done += writeSync(descriptor, piece, done, piece.byteLength - done, at + done);
    at += piece.byteLength;
  }
  return { done: true };
}

function answer(request: IntakeBatch | IntakeEnd): IntakeAnswer {
  try {
    if (!("end" in request)) return write(request);
    const sha256 = hasherOf(request.upload).digest("hex");
    hashers.delete(request.upload);
    return { sha256 };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error), code: systemCode(error) };
  }
}

self.addEventListener("message", ({ data }: MessageEvent<IntakeRequest>): void => {
  if ("close" in data) self.terminate();
  else self.postMessage(answer(data));
});
