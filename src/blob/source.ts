/**
 * Bytes of an open file by range and by line, the same for both encodings. A text is a row of blocks: what is asked for
 * is found by the index of newlines, and only the blocks in which it lies are read and decoded.
 */
import type { FileHandle } from "node:fs/promises";
import { Problem } from "../errors.ts";
import { limit } from "../limits.ts";
import type { Blob, LinesRange, TextLine, TextLines } from "./contract.ts";
import { countNewlines, createLineIndex, type LineBlocks, type LineIndex, NEWLINE } from "./line-index.ts";
import { readAt, readFrame, readIndex } from "./seekable.ts";

interface Text {
  size_bytes: number;
  index: LineBlocks;
  /** Resolves when the index covers all bytes; it may cover more of them, when others look at a longer file. */
  scan(): Promise<void>;
  /** Bytes [start, end), not empty and within one block. */
  load(start: number, end: number): Promise<Uint8Array>;
}

interface Span {
  start: number;
  end: number;
}

/** A file as it is, of which the first `size_bytes` are seen. `index` may be shared with others who look at that file. */
export function openIdentity(file: FileHandle, path: string, size_bytes: number, index: LineIndex): Blob {
  const load = (start: number, end: number): Promise<Uint8Array> =>
    readAt(file, start, new Uint8Array(end - start));
  const text: Text = { size_bytes, index, scan: () => scanTo(file, size_bytes, index), load };
  return openText(text, storedIn(file), path, { stored_bytes: size_bytes, encoding: "identity" });
}

/**
 * A compressed file. The handle belongs to the result, and is closed when there is none. Errors: `integrity_failed`,
 * `unavailable`.
 */
export async function openSeekable(file: FileHandle, path: string, stored_bytes: number): Promise<Blob> {
  const seekable = await readIndex(file, stored_bytes).catch(async (error: unknown) => {
    await file.close();
    throw error;
  });
  const index = seekable.lines;
  const text: Text = {
    size_bytes: seekable.raw_bytes,
    index,
    scan: () => Promise.resolve(),
    async load(start, end) {
      const block = index.blockAt(start);
      const begin = index.blockStart(block);
      return (await readFrame(file, seekable, block)).subarray(start - begin, end - begin);
    },
  };
  return openText(text, storedIn(file), path, { stored_bytes, encoding: "zstd" });
}

/** A whole file that is in memory. */
export function openBytes(bytes: Uint8Array, path: string): Blob {
  let index: LineIndex | null = null;
  const load = async (start: number, end: number): Promise<Uint8Array> => bytes.subarray(start, end);
  const text: Text & { index: LineIndex } = {
    size_bytes: bytes.byteLength,
    get index() {
      return (index ??= createLineIndex(limit("artifact_block_bytes")));
    },
    scan: async () => text.index.extend(bytes, 0),
    load,
  };
  const stored: Stored = { load, close: async () => undefined };
  return { ...openText(text, stored, path, { stored_bytes: bytes.byteLength, encoding: "identity" }), bytes };
}

interface Stored {
  load(start: number, end: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

function storedIn(file: FileHandle): Stored {
  return {
    load: (start, end) => readAt(file, start, new Uint8Array(end - start)),
    close: () => file.close(),
  };
}

function openText(
  text: Text,
  stored: Stored,
  path: string,
  { stored_bytes, encoding }: Pick<Blob, "stored_bytes" | "encoding">,
): Blob {
  let counts: Counts | null = null;
  return {
    size_bytes: text.size_bytes,
    stored_bytes,
    encoding,
    path,
    read: (start, end) => readAhead(spansOf(text, start, end), (span) => text.load(span.start, span.end)),
    stored: () =>
      readAhead(cut(0, stored_bytes, limit("artifact_block_bytes")), ({ start, end }) =>
        stored.load(start, end),
      ),
    async lines(range) {
      const block = keepBlocks(text);
      counts ??= await countLines(text, block);
      const lines: Lines = { ...counts, text, block };
      return range.tail === undefined ? linesFrom(lines, range) : linesBefore(lines, range, range.tail);
    },
    close: () => stored.close(),
  };
}

// ------------------------------------------------------------------ pieces

/** What is asked for in the order of its blocks, clamped to the text. */
function* spansOf(text: Text, start: number, end: number): Generator<Span> {
  const last = Math.min(end, text.size_bytes);
  for (let at = Math.max(0, start); at < last;) {
    const next = Math.min(last, text.index.blockStart(text.index.blockAt(at) + 1));
    yield { start: at, end: next };
    at = next;
  }
}

function* cut(start: number, end: number, piece_bytes: number): Generator<Span> {
  for (let at = start; at < end; at += piece_bytes) yield { start: at, end: Math.min(end, at + piece_bytes) };
}

/** Loads one piece ahead of its reader. What is under way when the reader leaves has ended before the generator has. */
async function* readAhead(
  spans: Iterable<Span>,
  load: (span: Span) => Promise<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const loading: Promise<Uint8Array>[] = [];
  try {
    for (const span of spans) {
      const next = load(span);
      // It is waited for below; until then its failure is nobody's surprise.
      next.catch(() => undefined);
      loading.push(next);
      const [first, second] = loading;
      if (first === undefined || second === undefined) continue;
      const piece = await first;
      void loading.shift();
      yield piece;
    }
    for (const rest of loading) yield await rest;
  } finally {
    await Promise.allSettled(loading);
  }
}

// ------------------------------------------------------------------ counting

/** The scan under way for an index, or the last one: one after the other, so that none does the work of another. */
const scans = new WeakMap<LineIndex, Promise<void>>();

function scanTo(file: FileHandle, size_bytes: number, index: LineIndex): Promise<void> {
  if (index.scanned_bytes >= size_bytes) return Promise.resolve();
  const scan = (scans.get(index) ?? Promise.resolve())
    // A failure there, as of a file that was closed, is not ours.
    .catch(() => undefined)
    .then(async () => {
      const buffer = new Uint8Array(limit("artifact_block_bytes"));
      while (index.scanned_bytes < size_bytes) {
        const offset = index.scanned_bytes;
        const bytes = buffer.subarray(0, size_bytes - offset);
        index.extend(await readAt(file, offset, bytes), offset);
      }
    });
  scans.set(index, scan);
  return scan;
}

interface Counts {
  newline_count: number;
  total_count: number;
}

interface Lines extends Counts {
  text: Text;
  /** All bytes of a block as far as the text goes. */
  block(number: number): Promise<Uint8Array>;
}

/** Remembers the last two blocks: lines that follow each other lie in one, or across two. */
function keepBlocks({ size_bytes, index, load }: Text): Lines["block"] {
  const kept = new Map<number, Promise<Uint8Array>>();
  return (number) => {
    const found = kept.get(number);
    if (found !== undefined) return found;
    const loading = load(index.blockStart(number), Math.min(index.blockStart(number + 1), size_bytes));
    for (const [oldest] of kept) if (kept.size >= 2) kept.delete(oldest);
    kept.set(number, loading);
    return loading;
  };
}

async function countLines(text: Text, block: Lines["block"]): Promise<Counts> {
  const { size_bytes, index } = text;
  if (size_bytes === 0) return { newline_count: 0, total_count: 0 };
  await text.scan();
  const last = index.blockAt(size_bytes - 1);
  // Before the wait below, in which others may extend the index.
  const is_exact = index.scanned_bytes === size_bytes;
  const exact_count = index.newline_count;
  const bytes = await block(last);
  const newline_count = is_exact ? exact_count : index.newlinesBefore(last) + countNewlines(bytes);
  return { newline_count, total_count: newline_count + (bytes.at(-1) === NEWLINE ? 0 : 1) };
}

// ------------------------------------------------------------------ lines

/** What is collected so far; `add` refuses a line that does not fit any more, but never the first. */
function collect(
  { text, block }: Lines,
  count: number,
  max_bytes: number,
): {
  lines: TextLine[];
  add(number: number, start: number, end: number): Promise<boolean>;
} {
  const lines: TextLine[] = [];
  let sum_bytes = 0;
  return {
    lines,
    async add(number, start, end) {
      const given_bytes = Math.min(end - start, limit("text_line_bytes"));
      if (lines.length >= count || (lines.length > 0 && sum_bytes + given_bytes > max_bytes)) return false;
      const bytes = new Uint8Array(given_bytes);
      for (const span of spansOf(text, start, start + given_bytes)) {
        const at = text.index.blockAt(span.start);
        const begin = text.index.blockStart(at);
        bytes.set((await block(at)).subarray(span.start - begin, span.end - begin), span.start - start);
      }
      lines.push({ number, bytes, line_bytes: end - start });
      sum_bytes += given_bytes;
      return true;
    },
  };
}

async function linesFrom(lines: Lines, { from = 1, count, max_bytes }: LinesRange): Promise<TextLines> {
  const { text, total_count } = lines;
  const collected = collect(lines, count, max_bytes);
  let number = Math.max(1, from);
  let start = number > total_count ? text.size_bytes : await startOfLine(lines, number);
  while (number <= total_count && collected.lines.length < count) {
    const end = await endOfLine(lines, number, start);
    if (!(await collected.add(number, start, end))) break;
    start = Math.min(end + 1, text.size_bytes);
    number += 1;
  }
  return {
    lines: collected.lines,
    total_count,
    next_offset: start,
    next_line: number <= total_count ? number : null,
  };
}

/** The last lines, collected from the end: when not all fit, the first ones are missing. */
async function linesBefore(lines: Lines, { count, max_bytes }: LinesRange, tail: number): Promise<TextLines> {
  const { text, newline_count, total_count } = lines;
  const collected = collect(lines, Math.min(tail, count), max_bytes);
  let end = newline_count === total_count ? text.size_bytes - 1 : text.size_bytes;
  for (let number = total_count; number >= 1 && collected.lines.length < Math.min(tail, count); number -= 1) {
    const start = await startBefore(lines, number, end);
    if (!(await collected.add(number, start, end))) break;
    end = start - 1;
  }
  return { lines: collected.lines.toReversed(), total_count, next_offset: text.size_bytes, next_line: null };
}

/** The block with the newline before a line, and where that block begins. */
async function blockBefore(
  { text, block }: Lines,
  number: number,
): Promise<{ bytes: Uint8Array; begin: number; newlines_before: number }> {
  const found = text.index.blockOfLine(number);
  const begin = text.index.blockStart(found);
  // Asked before the wait: the numbers of a block never change, but they come from one look.
  const newlines_before = text.index.newlinesBefore(found);
  return { bytes: await block(found), begin, newlines_before };
}

/** Where a line begins, by counting newlines in one block. */
async function startOfLine(lines: Lines, number: number): Promise<number> {
  if (number === 1) return 0;
  const { bytes, begin, newlines_before } = await blockBefore(lines, number);
  let found = -1;
  for (let left = number - 1 - newlines_before; left > 0; left -= 1)
    found = there(bytes.indexOf(NEWLINE, found + 1));
  return begin + found + 1;
}

/** Where a line begins whose end is known. */
async function startBefore(lines: Lines, number: number, end: number): Promise<number> {
  if (number === 1) return 0;
  const { bytes, begin } = await blockBefore(lines, number);
  return begin + there(bytes.subarray(0, Math.max(0, end - begin)).lastIndexOf(NEWLINE)) + 1;
}

/** Where the newline of a line is whose beginning is known, or the end of the text; what lies between is not read. */
async function endOfLine(lines: Lines, number: number, start: number): Promise<number> {
  if (number > lines.newline_count) return lines.text.size_bytes;
  const { bytes, begin } = await blockBefore(lines, number + 1);
  return begin + there(bytes.indexOf(NEWLINE, Math.max(0, start - begin)));
}

/** A newline that the index has and the text has not is damage. */
function there(found: number): number {
  if (found < 0)
    throw new Problem("integrity_failed", "A stored artifact has other lines than its index says.");
  return found;
}
