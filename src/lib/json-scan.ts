/**
 * Finds where the values of a JSON text begin and end, so that they can be kept verbatim. It validates nothing: the
 * text must be known to be valid JSON (JSON.parse has accepted it), and then every step here is forced.
 */

/** Where a value stands in the text; outer white space is not part of it. */
export interface Span {
  start: number;
  end: number;
  /** How deep arrays and objects are nested in it: 0 for a string, 1 for `[]`, 2 for `[{}]`. */
  depth: number;
}

export interface MemberSpan extends Span {
  /** Decoded: `"b\u006fdy"` is `body`. */
  name: string;
}

const QUOTE = 34;
const BACKSLASH = 92;
const COMMA = 44;
const OPEN_BRACE = 123;
const CLOSE_BRACE = 125;
const OPEN_BRACKET = 91;
const CLOSE_BRACKET = 93;

/** A defect of the caller: without it a text that is not JSON could be scanned forever. */
function notJson(): Error {
  return new Error("assertion failed: the text is valid JSON");
}

/** The first place at or behind `at` that is not JSON white space. */
function skipSpace(text: string, at: number): number {
  for (let place = at; ; place += 1) {
    const code = text.charCodeAt(place);
    if (code !== 32 && code !== 10 && code !== 13 && code !== 9) return place;
  }
}

/** The place behind the string that begins at `start`. A quote ends it when an even number of backslashes precede. */
function stringEnd(text: string, start: number): number {
  for (let quote = text.indexOf('"', start + 1); ; quote = text.indexOf('"', quote + 1)) {
    if (quote === -1) throw notJson();
    let backslashes = 0;
    while (text.charCodeAt(quote - 1 - backslashes) === BACKSLASH) backslashes += 1;
    if (backslashes % 2 === 0) return quote + 1;
  }
}

function spanAt(text: string, start: number): Span {
  const first = text.charCodeAt(start);
  if (first === QUOTE) return { start, end: stringEnd(text, start), depth: 0 };
  let at = start;
  if (first !== OPEN_BRACE && first !== OPEN_BRACKET) {
    for (; at < text.length; at += 1) {
      const code = text.charCodeAt(at);
      if (code <= 32 || code === COMMA || code === CLOSE_BRACE || code === CLOSE_BRACKET) break;
    }
    if (at === start) throw notJson();
    return { start, end: at, depth: 0 };
  }
  let open = 0;
  let depth = 0;
  for (;;) {
    if (at >= text.length) throw notJson();
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      at = stringEnd(text, at);
      continue;
    }
    at += 1;
    if (code === OPEN_BRACE || code === OPEN_BRACKET) {
      open += 1;
      if (open > depth) depth = open;
    } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) {
      open -= 1;
      if (open === 0) return { start, end: at, depth };
    }
  }
}

/** The members of the object at or behind `from`, in order, one that is given twice included twice. */
export function memberSpans(text: string, from = 0): MemberSpan[] {
  const members: MemberSpan[] = [];
  let at = skipSpace(text, skipSpace(text, from) + 1);
  while (text.charCodeAt(at) !== CLOSE_BRACE) {
    if (text.charCodeAt(at) !== QUOTE) throw notJson();
    const name_end = stringEnd(text, at);
    const raw = text.slice(at + 1, name_end - 1);
    const name = raw.includes("\\") ? (JSON.parse(`"${raw}"`) as string) : raw;
    const colon = skipSpace(text, name_end);
    const span = spanAt(text, skipSpace(text, colon + 1));
    members.push({ name, ...span });
    at = skipSpace(text, span.end);
    if (text.charCodeAt(at) === COMMA) at = skipSpace(text, at + 1);
  }
  return members;
}

/** The elements of the array at or behind `from`, in order. */
export function elementSpans(text: string, from = 0): Span[] {
  const elements: Span[] = [];
  let at = skipSpace(text, skipSpace(text, from) + 1);
  while (text.charCodeAt(at) !== CLOSE_BRACKET) {
    if (at >= text.length) throw notJson();
    const span = spanAt(text, at);
    elements.push(span);
    at = skipSpace(text, span.end);
    if (text.charCodeAt(at) === COMMA) at = skipSpace(text, at + 1);
  }
  return elements;
}

/** The same JSON on one line. In valid JSON a raw line break can only stand between tokens. */
export function withoutLineBreaks(text: string): string {
  return text.includes("\n") || text.includes("\r") ? text.replaceAll(/[\r\n]/g, "") : text;
}
