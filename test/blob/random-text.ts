/** Seeded texts for the tests of blobs: the same seed gives the same texts. */

/** Whole numbers from 0 to below `bound`. */
export type Random = (bound: number) => number;

/** Mulberry32: small, and good enough to choose test data. */
export function createRandom(seed: number): Random {
  let state = seed;
  return (bound) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * bound);
  };
}

const ENCODER = new TextEncoder();
const PIECES = [
  "\n",
  "\n",
  "\n\n\n",
  "\r\n",
  "a",
  "word ",
  "é",
  "界",
  "\u{1f600}",
  "\u001b[0m",
  "\r",
  "0123456789",
];

/** About that many bytes of lines: empty and long ones, with and without a newline at the end. */
export function randomText(random: Random, size_bytes: number): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  // Some texts have few newlines, and some none, so that lines go over many blocks.
  const pieces = PIECES.slice([0, 0, 0, 3, 4][random(5)]);
  for (let left = size_bytes; left > 0;) {
    const part = ENCODER.encode(pieces[random(pieces.length)]!.repeat(1 + random(3)));
    parts.push(part);
    left -= part.byteLength;
  }
  return new Uint8Array(Buffer.concat(parts));
}
