/**
 * The body scanner against JSON.parse, on seeded texts: whatever JSON.parse accepts, the scanner must cut into the
 * same values, and the pieces must join to the text again. Whatever is sent as a request, whole, spoiled on purpose or
 * with broken bytes, must give what an oracle of its own finds in it, or a typed refusal that the oracle shares.
 */
import { isUtf8 } from "node:buffer";
import { Problem } from "../../src/errors.ts";
import { parseAppendJson, parseAppendNdjson } from "../../src/http/append-body.ts";
import { elementSpans, memberSpans, type Span, withoutLineBreaks } from "../../src/lib/json-scan.ts";
import { AppendBody, type SentEntry } from "../../src/schema/entry.ts";
import { type CampaignOptions, type CampaignResult, createRandom, type Random } from "../support/campaign.ts";

const TEXTS = { short: 5_000, full: 100_000 };
const LOG_EVERY = 20_000;
const FAILURES_MAX = 20;
/** One text in so many is sent as a request as well. */
const REQUEST_EVERY = 5;
/** A whole one, a spoiled one and a broken one, in both forms. */
const REQUESTS_DRAWN = 6;
const DEEPEST = 6;
const CHAIN_DEPTH = 150;

/** The functions under test, so that a broken one can be put in their place. */
export interface Scanner {
  memberSpans: typeof memberSpans;
  elementSpans: typeof elementSpans;
}

// ------------------------------------------------------------------ texts

const SPACES = ["", "", "", "", " ", "\n", "\t", "\r", "\r\n", " \n\t "] as const;
const LITERALS = ["true", "false", "null"] as const;
const ESCAPES = ['\\"', "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t"] as const;
const PLAIN = [
  "a",
  "body",
  "{",
  "}",
  "[",
  "]",
  ",",
  ":",
  " ",
  "\u007f",
  "\u2028",
  "é",
  "修",
  "\u{1f642}",
] as const;
const NAMES = [
  '"a"',
  '"a"',
  '"\\u0061"',
  '"b\\u006fdy"',
  '"body"',
  '""',
  '"\\""',
  '"}"',
  '"__proto__"',
] as const;

function stringText(random: Random): string {
  const parts = Array.from({ length: random.int(6) }, () => {
    if (random.chance(0.3)) return random.pick(ESCAPES);
    // Any code unit, so that lone surrogates and NUL are among them.
    if (random.chance(0.2)) return `\\u${random.int(0x1_0000).toString(16).padStart(4, "0")}`;
    return random.chance(0.1) ? "\\\\".repeat(random.int(8)) : random.pick(PLAIN);
  });
  return `"${parts.join("")}"`;
}

function numberText(random: Random): string {
  const digits = (): string => Array.from({ length: 1 + random.int(25) }, () => random.int(10)).join("");
  const whole = random.chance(0.4) ? "0" : `${1 + random.int(9)}${random.chance(0.5) ? digits() : ""}`;
  const fraction = random.chance(0.3) ? `.${digits()}` : "";
  const exponent = random.chance(0.3)
    ? `${random.pick(["e", "E"])}${random.pick(["", "+", "-"])}${random.int(400)}`
    : "";
  return `${random.chance(0.3) ? "-" : ""}${whole}${fraction}${exponent}`;
}

function chainText(random: Random): string {
  const openings = Array.from({ length: random.int(CHAIN_DEPTH) }, () =>
    random.pick(["[", '{"a":', "[ ", '[{"[":']),
  );
  const closing = (opening: string): string => ({ "[": "]", "[ ": "]", '[{"[":': "}]" })[opening] ?? "}";
  return `${openings.join("")}0${openings.toReversed().map(closing).join("")}`;
}

function valueText(random: Random, depth: number): string {
  const space = (): string => random.pick(SPACES);
  const kind = random.int(depth > DEEPEST ? 3 : 6);
  if (kind === 0) return stringText(random);
  if (kind === 1) return numberText(random);
  if (kind === 2) return random.pick(LITERALS);
  if (random.chance(0.02)) return chainText(random);
  const is_list = kind === 3;
  const items = Array.from({ length: random.int(4) }, () => {
    const name = random.chance(0.6) ? random.pick(NAMES) : stringText(random);
    const before = is_list ? "" : `${space()}${name}${space()}:`;
    return `${before}${space()}${valueText(random, depth + 1)}${space()}`;
  });
  const inner = items.length === 0 ? space() : items.join(",");
  return is_list ? `[${inner}]` : `{${inner}}`;
}

// ------------------------------------------------------------------ the scanner alone

const LIST_GAPS = {
  first: /^[ \t\r\n]*\[[ \t\r\n]*$/,
  between: /^[ \t\r\n]*,[ \t\r\n]*$/,
  last: /^[ \t\r\n]*\][ \t\r\n]*$/,
};
const NAME = '[ \\t\\r\\n]*("(?:[^"\\\\]|\\\\.)*")[ \\t\\r\\n]*:[ \\t\\r\\n]*$';
const OBJECT_GAPS = {
  first: new RegExp(`^[ \\t\\r\\n]*\\{${NAME}`),
  between: new RegExp(`^[ \\t\\r\\n]*,${NAME}`),
  last: /^[ \t\r\n]*\}[ \t\r\n]*$/,
};
const EMPTY = /^[ \t\r\n]*(?:\[[ \t\r\n]*\]|\{[ \t\r\n]*\})[ \t\r\n]*$/;

/** What stands before each value and behind the last: with the values themselves it is the whole text. */
function gapsOf(text: string, spans: readonly Span[]): string[] {
  const gaps = spans.map(({ start }, index) => text.slice(spans[index - 1]?.end ?? 0, start));
  return [...gaps, text.slice(spans.at(-1)?.end ?? 0)];
}

/** What is wrong between the values: each name, comma and bracket has to stand there, and nothing else. */
function gapFault(text: string, spans: readonly (Span & { name?: string })[]): string | null {
  const gaps = gapsOf(text, spans);
  if (spans.length === 0) return EMPTY.test(text) ? null : "values were left out";
  const patterns = spans[0]?.name === undefined ? LIST_GAPS : OBJECT_GAPS;
  for (const [index, { name }] of spans.entries()) {
    const found = (index === 0 ? patterns.first : patterns.between).exec(gaps[index] ?? "");
    if (found === null) return `something else stands before value ${index}`;
    if (name !== undefined && JSON.parse(found[1] ?? "") !== name) return `value ${index} has another name`;
  }
  return patterns.last.test(gaps.at(-1) ?? "") ? null : "something else stands behind the last value";
}

/**
 * What is wrong with how the scanner cuts a valid text, at every level of it; without a fault, how deep the text is
 * nested. Where a name is given twice JSON.parse keeps the last, the others have to be JSON by themselves.
 */
function faultOf(text: string, scanner: Scanner): string | number {
  const parsed = JSON.parse(text) as unknown;
  if (typeof parsed !== "object" || parsed === null) return 0;
  const is_list = Array.isArray(parsed);
  const spans: (Span & { name?: string })[] = is_list
    ? scanner.elementSpans(text)
    : scanner.memberSpans(text);
  const gap_fault = gapFault(text, spans);
  if (gap_fault !== null) return gap_fault;
  if (is_list && spans.length !== parsed.length)
    return `${spans.length} elements instead of ${parsed.length}`;
  const last = new Map(spans.map(({ name }, index) => [name, index]));
  if (!is_list && last.size !== Object.keys(parsed).length) return "other names";
  let deepest = 0;
  for (const [index, { name, start, end, depth }] of spans.entries()) {
    const part = text.slice(start, end);
    // JSON.parse would not mind, and neither do the gaps.
    if (part !== part.trim()) return `white space belongs to value ${index}`;
    const expected = is_list ? parsed[index] : (parsed as Record<string, unknown>)[name ?? ""];
    const own = JSON.parse(part) as unknown;
    if ((is_list || last.get(name) === index) && !Bun.deepEquals(own, expected, true))
      return `value ${index} is another`;
    const inner = faultOf(part, scanner);
    if (typeof inner === "string") return inner;
    if (depth !== inner) return `value ${index} is ${inner} deep and not ${depth}`;
    deepest = Math.max(deepest, inner);
  }
  return deepest + 1;
}

/** A scanner that throws on a valid text is at fault as well. */
function textFault(text: string, scanner: Scanner): string | null {
  try {
    const found = faultOf(text, scanner);
    return typeof found === "string" ? found : null;
  } catch (error) {
    return `threw ${String(error)}`;
  }
}

// ------------------------------------------------------------------ requests

interface Drawn {
  /** The entry's text. */
  text: string;
  expected: SentEntry;
}

const TWICE = "This member is given twice.";
const MEMBERS = ["kind", "actor", "at_ms", "key"] as const;

/** A name as it may be written: some of its characters as escapes. */
function written(random: Random, name: string): string {
  const escape = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return `"${name.replaceAll(/./g, (character) => (random.chance(0.05) ? escape(character) : character))}"`;
}

/** An entry, its members in any order, with white space and `\r` between tokens, and what has to come of it. */
function drawEntry(random: Random, body: string): Drawn {
  const space = (): string => random.pick(SPACES).replaceAll("\n", "");
  const expected: SentEntry = {
    kind: random.pick(["note", "message", "tool_result"]),
    body: withoutBreaks(body),
  };
  if (random.chance(0.5)) expected.actor = random.pick(["user", "agent", "system", "tool"]);
  if (random.chance(0.5)) expected.at_ms = random.int(2 ** 31);
  if (random.chance(0.3)) expected.key = `k/${random.int(1_000)} é"\\`;
  const members = MEMBERS.filter((name) => expected[name] !== undefined).map(
    (name) =>
      `${space()}${written(random, name)}${space()}:${space()}${JSON.stringify(expected[name])}${space()}`,
  );
  members.splice(
    random.int(members.length + 1),
    0,
    `${space()}${written(random, "body")}:${space()}${body}${space()}`,
  );
  return { text: `{${members.join(",")}}`, expected };
}

/** As the contract says it, in other words than the program. */
function withoutBreaks(text: string): string {
  return text.split("\r").join("").split("\n").join("");
}

const encoder = new TextEncoder();

async function* inPieces(random: Random, bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let from = 0; from < bytes.length;) {
    const to = Math.min(bytes.length, from + 1 + random.int(60));
    yield bytes.subarray(from, to);
    from = to;
  }
}

/** A request in one of the two forms, and how it is parsed. */
interface Form {
  name: string;
  join(entries: readonly string[]): string;
  /** The entries that JSON.parse sees in the request; throws when it is not valid. */
  look(text: string): unknown;
  parse(random: Random, bytes: Uint8Array): Promise<SentEntry[]>;
}

const isBlankLine = (line: string): boolean => /^[ \t\r]*$/.test(line);

const FORMS: readonly Form[] = [
  {
    name: "JSON",
    join: (entries) => `{ "entries" :\n[${entries.join("\n,")}]}`,
    look: (text) => JSON.parse(text) as unknown,
    parse: async (_, bytes) => parseAppendJson(bytes),
  },
  {
    name: "NDJSON",
    join: (entries) => entries.map((entry) => `${entry.replaceAll("\n", "")}\r\n`).join("\n"),
    look: (text) => ({
      entries: text
        .split("\n")
        .filter((line) => !isBlankLine(line))
        .map((line) => JSON.parse(line) as unknown),
    }),
    parse: (random, bytes) => parseAppendNdjson(inPieces(random, bytes)),
  },
];

/** The entries, or the Problem; anything else that is thrown goes on. */
async function outcomeOf(parsing: Promise<SentEntry[]>): Promise<SentEntry[] | Problem> {
  try {
    return await parsing;
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
}

const BYTES_THAT_MATTER = Buffer.from('"\\{}[],:0u\n\r \u00e9');

function mutated(random: Random, text: string): Uint8Array {
  let bytes: Uint8Array = Buffer.from(text);
  for (let count = 1 + random.int(3); count > 0 && bytes.length > 0; count -= 1) {
    const at = random.int(bytes.length);
    const value = random.chance(0.5)
      ? random.int(256)
      : (BYTES_THAT_MATTER[random.int(BYTES_THAT_MATTER.length)] ?? 0);
    const piece = bytes.subarray(at, at + random.int(30));
    const change = random.int(5);
    if (change === 0) bytes[at] = value;
    else if (change === 1)
      bytes = Buffer.concat([bytes.subarray(0, at), Uint8Array.of(value), bytes.subarray(at)]);
    else if (change === 2)
      bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + random.int(3))]);
    else if (change === 3) bytes = Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at)]);
    else bytes = random.chance(0.3) ? bytes.subarray(0, at) : bytes;
  }
  return bytes;
}

/** What the oracle finds: the entries that the schema takes, or the code of the refusal. */
function oracle(form: Form, bytes: Uint8Array): { entries: unknown[]; text: string } | string {
  if (!isUtf8(bytes)) return "malformed_body";
  const text = Buffer.from(bytes).toString("utf8");
  let seen: unknown;
  try {
    seen = form.look(text);
  } catch {
    return "malformed_body";
  }
  const checked = AppendBody.safeParse(seen);
  return checked.success ? { entries: checked.data.entries, text } : "invalid_request";
}

/** What is wrong with what was accepted, beside what the oracle sees. */
function unfaithful(sent: readonly SentEntry[], entries: readonly unknown[], text: string): string | null {
  if (sent.length !== entries.length) return `${sent.length} entries instead of ${entries.length}`;
  const flat = withoutBreaks(text);
  for (const [index, { body, ...members }] of sent.entries()) {
    const { body: expected, ...others } = entries[index] as SentEntry;
    if (!Bun.deepEquals(members, others)) return `the members of entry ${index} are others`;
    if (!Bun.deepEquals(JSON.parse(body), expected, true)) return `the body of entry ${index} is another`;
    if (!flat.includes(body)) return `the body of entry ${index} is not verbatim`;
  }
  return null;
}

/** How often broken requests were answered so: a campaign in which none is accepted would say little. */
type Tally = Record<string, number>;

/** Whether any bytes at all are answered as the oracle would. */
async function brokenFault(
  random: Random,
  form: Form,
  bytes: Uint8Array,
  tally: Tally,
): Promise<string | null> {
  const outcome = await outcomeOf(form.parse(random, bytes));
  const answer = `broken_${outcome instanceof Problem ? outcome.code : "accepted"}`;
  tally[answer] = (tally[answer] ?? 0) + 1;
  const expected = oracle(form, bytes);
  if (outcome instanceof Problem) {
    if (outcome.code === expected) return null;
    // JSON.parse keeps the last of two members, so the oracle does not see this one; the drawn requests check it.
    if (outcome.extra.errors?.[0]?.detail === TWICE) return null;
    // Lines are refused one by one: one that is not valid may stand before one that is no JSON.
    if (form.name === "NDJSON" && outcome.code === "invalid_request" && expected === "malformed_body")
      return null;
    return `refused as ${outcome.code}, the oracle says ${typeof expected === "string" ? expected : "valid"}`;
  }
  if (typeof expected === "string") return `accepted, the oracle says ${expected}`;
  return unfaithful(outcome, expected.entries, expected.text);
}

/** The entry with one more member, and the pointer that the refusal has to name. */
function spoiled(
  random: Random,
  { text, expected }: Drawn,
): { text: string; pointer: string; detail: string } {
  const present = ["body", ...MEMBERS.filter((name) => expected[name] !== undefined)];
  const [name, detail] = random.chance(0.5)
    ? [random.pick(present), TWICE]
    : [random.pick(["Kind", "kond", "__proto__", "constructor", "bodyy", "a/~b"]), "Unknown field."];
  const member = `${written(random, name)}:${valueText(random, DEEPEST)}`;
  const where = random.chance(0.5)
    ? text.replace("{", () => `{${member},`)
    : `${text.slice(0, -1)},${member}}`;
  return { text: where, pointer: `/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`, detail };
}

async function spoiledFault(random: Random, form: Form, drawn: readonly Drawn[]): Promise<string | null> {
  const at = random.int(drawn.length);
  const [target] = drawn.slice(at);
  if (target === undefined) return null;
  const { text, pointer, detail } = spoiled(random, target);
  const request = form.join(drawn.map((each, index) => (index === at ? text : each.text)));
  const outcome = await outcomeOf(form.parse(random, encoder.encode(request)));
  const error = outcome instanceof Problem ? outcome.extra.errors?.[0] : undefined;
  // Every second line of NDJSON is blank here.
  const expected = form.name === "JSON" ? `/entries/${at}${pointer}` : `line ${2 * at + 1}: ${pointer}`;
  if (error?.pointer === expected && error.detail === detail) return null;
  return `${expected} (${detail}) was answered with ${JSON.stringify(error ?? outcome)}`;
}

/** Requests out of these bodies, whole, spoiled and broken, in both forms. */
async function requestFault(random: Random, bodies: readonly string[], tally: Tally): Promise<string | null> {
  const drawn = bodies.map((body) => drawEntry(random, body));
  for (const form of FORMS) {
    const request = form.join(drawn.map(({ text }) => text));
    try {
      const sent = await form.parse(random, encoder.encode(request));
      const expected = drawn.map((each) => each.expected);
      if (!Bun.deepEquals(sent, expected)) return `${form.name}: the entries are not verbatim`;
      const fault =
        (await spoiledFault(random, form, drawn)) ??
        (await brokenFault(random, form, mutated(random, request), tally));
      if (fault !== null) return `${form.name}: ${fault}`;
    } catch (error) {
      return `${form.name}: threw ${String(error)}`;
    }
  }
  return null;
}

/** Stops at so many failures, each with the text that shows it; `scanner` is for controls. */
export async function run(
  { seed, size, log }: CampaignOptions,
  scanner: Scanner = { memberSpans, elementSpans },
): Promise<CampaignResult> {
  const random = createRandom(seed);
  const failures: string[] = [];
  const count = TEXTS[size];
  const tally: Tally = {};
  let [cases, requests] = [0, 0];
  for (; cases < count && failures.length < FAILURES_MAX; cases += 1) {
    const value = valueText(random, 0);
    const text = `${random.pick(SPACES)}${value}${random.pick(SPACES)}`;
    let fault = textFault(text, scanner);
    if (withoutLineBreaks(text) !== withoutBreaks(text)) fault ??= "line breaks were left";
    if (fault === null && cases % REQUEST_EVERY === 0) {
      fault = await requestFault(random, [value, valueText(random, 2)], tally);
      requests += REQUESTS_DRAWN;
    }
    if (fault !== null) failures.push(`${fault}: ${text.slice(0, 300)}`);
    if (cases % LOG_EVERY === LOG_EVERY - 1)
      log(`${cases + 1} of ${count} texts, ${failures.length} failures`);
  }
  return { cases, failures, notes: { requests, ...tally } };
}
