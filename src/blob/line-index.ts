/**
 * Where newlines are, roughly: how many lie before each block of a text. Finding a line costs a binary search here and
 * a look at one block. It holds numbers only; whoever has the bytes looks into the block.
 */

export const NEWLINE = 0x0a;

/** Blocks are numbered from 0, lines from 1. */
export interface LineBlocks {
  /** Bytes from the beginning whose newlines are counted. */
  readonly scanned_bytes: number;
  /** In the scanned bytes. */
  readonly newline_count: number;
  /** Offset at which a block begins, which is where the one before it ends. */
  blockStart(block: number): number;
  /** The block in which the byte at an offset lies. */
  blockAt(offset: number): number;
  /** Newlines before a block that begins within the scanned bytes or at their end. */
  newlinesBefore(block: number): number;
  /**
   * The block with the newline before that line, so that the line begins in it or right behind it; the first block for
   * line 1. Only for lines that begin within the scanned bytes or at their end.
   */
  blockOfLine(number: number): number;
}

/** Grows with its text. One number a block: 32 bytes for a MiB of text with blocks of 256 KiB. */
export interface LineIndex extends LineBlocks {
  /**
   * Counts the next bytes, or with `offset` those of them that are not counted yet; bytes that do not reach what is
   * counted are left for later. So whoever has bytes may bring them, in any order and more than once.
   */
  extend(bytes: Uint8Array, offset?: number): void;
}

export function createLineIndex(block_bytes: number): LineIndex {
  /** Newlines before each block that has begun. */
  const before = [0];
  let scanned_bytes = 0;
  let newline_count = 0;

  return {
    get scanned_bytes() {
      return scanned_bytes;
    },
    get newline_count() {
      return newline_count;
    },
    blockStart: (block) => block * block_bytes,
    blockAt: (offset) => Math.floor(offset / block_bytes),
    newlinesBefore: (block) => before[block] ?? newline_count,
    blockOfLine: (number) => blockOfLine(before, number),
    extend(bytes, offset = scanned_bytes) {
      if (offset > scanned_bytes) return;
      for (let at = scanned_bytes - offset; at < bytes.byteLength;) {
        const end = Math.min(bytes.byteLength, before.length * block_bytes - offset);
        newline_count += countNewlines(bytes.subarray(at, end));
        scanned_bytes = offset + end;
        if (scanned_bytes === before.length * block_bytes) before.push(newline_count);
        at = end;
      }
    },
  };
}

/**
 * The finished index of a text whose blocks have any lengths but 0: for each block where it begins and how many newlines
 * lie before it, and behind them the same of the end.
 */
export function storedLineIndex(starts: Float64Array, before: Float64Array): LineBlocks {
  const scanned_bytes = starts.at(-1) ?? 0;
  const newline_count = before.at(-1) ?? 0;
  return {
    scanned_bytes,
    newline_count,
    blockStart: (block) => starts[block] ?? scanned_bytes,
    blockAt: (offset) => lastAtMost(starts, offset),
    newlinesBefore: (block) => before[block] ?? newline_count,
    blockOfLine: (number) => blockOfLine(before, number),
  };
}

/** Byte by byte: 0.2 ms for 256 KiB of anything; `indexOf` takes 0.06 ms for a log and 4 ms for empty lines. */
export function countNewlines(bytes: Uint8Array): number {
  const { byteLength } = bytes;
  let count = 0;
  for (let index = 0; index < byteLength; index += 1) if (bytes[index] === NEWLINE) count += 1;
  return count;
}

/** The block that has fewer newlines before it than the line has, while the next one has as many. */
function blockOfLine(before: ArrayLike<number>, number: number): number {
  return number <= 1 ? 0 : lastAtMost(before, number - 2);
}

/** The last place in an ascending list that begins with 0 at which a value is at most `most`. */
function lastAtMost(ascending: ArrayLike<number>, most: number): number {
  let low = 0;
  let high = ascending.length;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if ((ascending[middle] ?? Number.POSITIVE_INFINITY) <= most) low = middle;
    else high = middle;
  }
  return low;
}
