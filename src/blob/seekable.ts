/**
 * The file of a compressed artifact: one independent zstd frame for each block of the text, then an index of them in a
 * skippable frame (RFC 8878 §3.1.2). Any zstd decoder gives the whole text; ours gives a part and decodes only that.
 *
 * The index, little endian: u32 0x184D2A57, u32 length of what follows; for each frame u32 stored bytes, u32 raw bytes,
 * u32 newlines, u32 CRC-32 of the raw bytes; then u32 number of frames, u32 CRC-32 of the index up to here, 7 bytes
 * "synzidx" and a u8 version. The last 16 bytes tell where it begins.
 */
import type { FileHandle } from "node:fs/promises";
import { promisify } from "node:util";
import { zstdDecompress } from "node:zlib";
import { Problem } from "../errors.ts";
import { limit } from "../limits.ts";
import { fileProblem, writeAll } from "./durable.ts";
import { countNewlines, type LineBlocks, storedLineIndex } from "./line-index.ts";

const SKIPPABLE_MAGIC = 0x184d2a57;
const FOOTER_MAGIC = new TextEncoder().encode("synzidx");
const VERSION = 1;
const HEADER_LENGTH = 8;
const ROW_LENGTH = 16;
const FOOTER_LENGTH = 16;

/** As the store compresses its frames: the higher levels cost several times as much for a few percent. */
const LEVEL = 3;
/** Enough to keep the thread pool busy while one frame is written; bounds the memory of compressing, too. */
const FRAMES_AT_ONCE = 4;
/** The least that node:zlib takes. */
const SMALLEST_CHUNK = 64;

interface SeekableFrame {
  stored_bytes: number;
  raw_bytes: number;
  newline_count: number;
  /** Of the raw bytes: zstd itself does not notice every flipped bit. */
  raw_crc32: number;
}

export interface SeekableIndex {
  raw_bytes: number;
  frame_count: number;
  /** Frames are its blocks. */
  lines: LineBlocks;
  /** `stored_start` is the offset in the file. */
  frame(number: number): SeekableFrame & { stored_start: number };
}

export interface CompressOptions {
  /** Raw bytes of a frame; `artifact_block_bytes` when it is not given. */
  block_bytes?: number;
  at_most_bytes?: number;
}

const decompress = promisify(zstdDecompress);

function damaged(detail: string, cause?: unknown): Problem {
  return new Problem("integrity_failed", `A stored artifact is damaged: ${detail}.`, { cause });
}

/** Fills `target` with the bytes at an offset. Errors: `integrity_failed` when the file ends before, `unavailable`. */
export async function readAt(file: FileHandle, offset: number, target: Uint8Array): Promise<Uint8Array> {
  for (let done = 0; done < target.byteLength;) {
    const { bytesRead } = await readSome(file, offset + done, target.subarray(done));
    if (bytesRead === 0) throw damaged("its file is too short");
    done += bytesRead;
  }
  return target;
}

async function readSome(
  file: FileHandle,
  offset: number,
  target: Uint8Array,
): Promise<{ bytesRead: number }> {
  try {
    return await file.read(target, 0, target.byteLength, offset);
  } catch (error) {
    throw fileProblem(error);
  }
}

// ------------------------------------------------------------------ writing

/**
 * Writes the bytes compressed into an empty file; null as soon as it would become longer than `at_most_bytes`, with a
 * part of it written. Nothing is synced. Holds about ten blocks at most. Errors: those of `read` and of the file system.
 */
export async function compressTo(
  read: AsyncIterable<Uint8Array>,
  target: FileHandle,
  options: CompressOptions = {},
): Promise<{ stored_bytes: number; raw_bytes: number } | null> {
  const { block_bytes = limit("artifact_block_bytes"), at_most_bytes = Number.POSITIVE_INFINITY } = options;
  const frames: SeekableFrame[] = [];
  const compressing: Promise<CompressedBlock>[] = [];
  let stored_bytes = 0;
  let raw_bytes = 0;

  /** False when the file would become too long. */
  async function writeOldest(): Promise<boolean> {
    const oldest = await compressing.shift();
    if (oldest === undefined) return true;
    const { data, frame } = oldest;
    frames.push(frame);
    if (stored_bytes + frame.stored_bytes + indexLength(frames.length) > at_most_bytes) return false;
    await writeAll(target, data, stored_bytes);
    stored_bytes += frame.stored_bytes;
    raw_bytes += frame.raw_bytes;
    return true;
  }

  try {
    for await (const block of cutBlocks(read, block_bytes)) {
      const compressed = compressBlock(block);
      // It is waited for below; until then its failure is nobody's surprise.
      compressed.catch(() => undefined);
      compressing.push(compressed);
      if (compressing.length >= FRAMES_AT_ONCE && !(await writeOldest())) return null;
    }
    while (compressing.length > 0) if (!(await writeOldest())) return null;
  } finally {
    await Promise.allSettled(compressing);
  }
  const index = encodeIndex(frames);
  if (stored_bytes + index.byteLength > at_most_bytes) return null;
  await writeAll(target, index, stored_bytes);
  return { stored_bytes: stored_bytes + index.byteLength, raw_bytes };
}

/** Blocks of exactly `block_bytes`, each in memory of its own; the last one may be shorter, none is empty. */
async function* cutBlocks(read: AsyncIterable<Uint8Array>, block_bytes: number): AsyncGenerator<Uint8Array> {
  let block = new Uint8Array(block_bytes);
  let filled = 0;
  for await (const chunk of read) {
    for (let at = 0; at < chunk.byteLength;) {
      const part = chunk.subarray(at, at + block_bytes - filled);
      block.set(part, filled);
      filled += part.byteLength;
      at += part.byteLength;
      if (filled < block_bytes) continue;
      yield block;
      block = new Uint8Array(block_bytes);
      filled = 0;
    }
  }
  if (filled > 0) yield block.subarray(0, filled);
}

interface CompressedBlock {
  data: Uint8Array;
  frame: SeekableFrame;
}

async function compressBlock(raw: Uint8Array): Promise<CompressedBlock> {
  const data = await Bun.zstdCompress(raw, { level: LEVEL });
  return {
    data,
    frame: {
      stored_bytes: data.byteLength,
      raw_bytes: raw.byteLength,
      newline_count: countNewlines(raw),
      raw_crc32: Bun.hash.crc32(raw),
    },
  };
}

function indexLength(frame_count: number): number {
  return HEADER_LENGTH + frame_count * ROW_LENGTH + FOOTER_LENGTH;
}

function encodeIndex(frames: readonly SeekableFrame[]): Uint8Array {
  const bytes = new Uint8Array(indexLength(frames.length));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, SKIPPABLE_MAGIC, true);
  view.setUint32(4, bytes.byteLength - HEADER_LENGTH, true);
  let at = HEADER_LENGTH;
  for (const frame of frames) {
    view.setUint32(at, frame.stored_bytes, true);
    view.setUint32(at + 4, frame.raw_bytes, true);
    view.setUint32(at + 8, frame.newline_count, true);
    view.setUint32(at + 12, frame.raw_crc32, true);
    at += ROW_LENGTH;
  }
  view.setUint32(at, frames.length, true);
  view.setUint32(at + 4, Bun.hash.crc32(bytes.subarray(0, at + 4)), true);
  bytes.set(FOOTER_MAGIC, at + 8);
  bytes[at + 15] = VERSION;
  return bytes;
}

// ------------------------------------------------------------------ reading

/** The index of a file of that length, 40 bytes in memory for each frame. Errors: `integrity_failed`, `unavailable`. */
export async function readIndex(file: FileHandle, stored_bytes: number): Promise<SeekableIndex> {
  if (stored_bytes < indexLength(0)) throw damaged("its file is too short");
  const footer = await readAt(file, stored_bytes - FOOTER_LENGTH, new Uint8Array(FOOTER_LENGTH));
  if (FOOTER_MAGIC.some((byte, index) => footer[8 + index] !== byte)) throw damaged("its index is missing");
  if (footer[15] !== VERSION) throw damaged("its index has an unknown version");
  const length = indexLength(viewOf(footer).getUint32(0, true));
  if (length > stored_bytes) throw damaged("its index is too long");
  // Before memory is taken for what the footer only says.
  const header = viewOf(await readAt(file, stored_bytes - length, new Uint8Array(HEADER_LENGTH)));
  if (header.getUint32(0, true) !== SKIPPABLE_MAGIC || header.getUint32(4, true) !== length - HEADER_LENGTH)
    throw damaged("its index has no beginning");
  return decodeIndex(await readAt(file, stored_bytes - length, new Uint8Array(length)), stored_bytes);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function decodeIndex(bytes: Uint8Array, stored_bytes: number): SeekableIndex {
  const view = viewOf(bytes);
  const rows_end = bytes.byteLength - FOOTER_LENGTH;
  if (Bun.hash.crc32(bytes.subarray(0, rows_end + 4)) !== view.getUint32(rows_end + 4, true))
    throw damaged("its index has the wrong checksum");
  const frame_count = (rows_end - HEADER_LENGTH) / ROW_LENGTH;
  const column = (number: number, at: number): number =>
    view.getUint32(HEADER_LENGTH + number * ROW_LENGTH + at, true);
  // Sums in arrays and no object for each frame: every opening reads all, and 10 GiB of text have 40,000.
  const stored_starts = new Float64Array(frame_count + 1);
  const raw_starts = new Float64Array(frame_count + 1);
  const newlines_before = new Float64Array(frame_count + 1);
  let [stored_end, raw_end, newline_end] = [0, 0, 0];
  for (let number = 0; number < frame_count; number += 1) {
    const [stored, raw, newline_count] = [column(number, 0), column(number, 4), column(number, 8)];
    if (stored === 0 || raw === 0 || newline_count > raw) throw damaged("its index has an impossible frame");
    stored_starts[number + 1] = stored_end += stored;
    raw_starts[number + 1] = raw_end += raw;
    newlines_before[number + 1] = newline_end += newline_count;
  }
  if (stored_end + bytes.byteLength !== stored_bytes) throw damaged("its index does not fit its file");
  return {
    raw_bytes: raw_end,
    frame_count,
    lines: storedLineIndex(raw_starts, newlines_before),
    frame: (number) => ({
      stored_start: stored_starts[number] ?? stored_end,
      stored_bytes: column(number, 0),
      raw_bytes: column(number, 4),
      newline_count: column(number, 8),
      raw_crc32: column(number, 12),
    }),
  };
}

/** The raw bytes of a frame, decoded on the thread pool and checked. Errors: `integrity_failed`, `unavailable`. */
export async function readFrame(file: FileHandle, index: SeekableIndex, number: number): Promise<Uint8Array> {
  const { stored_start, stored_bytes, raw_bytes, raw_crc32 } = index.frame(number);
  const raw = await decode(await readAt(file, stored_start, new Uint8Array(stored_bytes)), raw_bytes);
  if (raw.byteLength !== raw_bytes) throw damaged("a part has the wrong length");
  if (Bun.hash.crc32(raw) !== raw_crc32) throw damaged("a part has the wrong checksum");
  return raw;
}

async function decode(data: Uint8Array, raw_bytes: number): Promise<Uint8Array> {
  try {
    // One chunk of the right size spares node:zlib its growing and joining of 16 KiB chunks.
    return await decompress(data, {
      maxOutputLength: raw_bytes,
      chunkSize: Math.max(raw_bytes, SMALLEST_CHUNK),
    });
  } catch (error) {
    throw damaged("a part cannot be decoded", error);
  }
}
