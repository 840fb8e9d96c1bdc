/**
 * The body scanner against JSON.parse, on seeded texts: whatever JSON.parse accepts, the scanner must cut into the
 * same values; and whatever is sent as a request, broken or whole, must give the bodies verbatim or a typed refusal.
 */
import { Problem } from "../../src/errors.ts";
import { parseAppendJson, parseAppendNdjson } from "../../src/http/append-body.ts";
import { elementSpans, memberSpans, withoutLineBreaks } from "../../src/lib/json-scan.ts";
import { type CampaignOptions, type CampaignResult, createRandom, type Random } from "../support/campaign.ts";

const TEXTS = { short: 5_000, full: 100_000 };
const SPACES = ["", "", "", " ", "\n", "\t", "\r\n", "  "];
const STRINGS = [
  '""',
  '"a"',
  '"\\""',
  '"\\\\"',
  '"\\\\\\""',
  '"{[,:]}"',
  '"\\u0000"',
  '"\\ud800"',
  '"é修🙂"',
  '"\\n\\/"',
  '"b\\u006fdy"',
  '"\u2028"',
];
const NUMBERS = ["0", "-0", "1e3", "1E+30", "-12.50", "0.1", "123456789012345678901234567890"];
const NAMES = ['"a"', '"b"', '"a"', '"b\\u006fdy"', '"body"', '""', '"\\""', '"}"', '"__proto__"'];

/** The functions under test, so that a broken one can be put in their place. */
export interface Scanner {
  memberSpans: typeof memberSpans;
  elementSpans: typeof elementSpans;
}

function value(random: Random, depth: number): string {
  const space = (): string => random.pick(SPACES);
  const kind = random.int(depth > 5 ? 3 : 5);
  if (kind === 0) return random.pick(STRINGS);
  if (kind === 1) return random.pick(NUMBERS);
  if (kind === 2) return random.pick(["true", "false", "null"]);
  const count = random.int(4);
  const items = Array.from({ length: count }, () => {
    const item = value(random, depth + 1);
    return kind === 3
      ? `${space()}${item}${space()}`
      : `${space()}${random.pick(NAMES)}${space()}:${space()}${item}${space()}`;
  });
  return kind === 3
    ? `[${count === 0 ? space() : items.join(",")}]`
    : `{${count === 0 ? space() : items.join(",")}}`;
}

/** What is wrong with how the scanner cuts a valid text, at every level of it. */
function faultOf(text: string, scanner: Scanner): string | null {
  const parsed = JSON.parse(text) as unknown;
  if (Array.isArray(parsed)) {
    const spans = scanner.elementSpans(text);
    if (spans.length !== parsed.length) return `${spans.length} elements instead of ${parsed.length}`;
    for (const [index, { start, end }] of spans.entries()) {
      const part = text.slice(start, end);
      if (!Bun.deepEquals(JSON.parse(part), parsed[index])) return `element ${index}`;
      const inner = faultOf(part, scanner);
      if (inner !== null) return inner;
    }
    return null;
  }
  if (typeof parsed !== "object" || parsed === null) return null;
  const spans = scanner.memberSpans(text);
  const last = new Map(spans.map((span) => [span.name, span]));
  if (!Bun.deepEquals([...last.keys()].sort(), Object.keys(parsed).sort())) return "other names";
  for (const [name, { start, end }] of last) {
    const part = text.slice(start, end);
    if (!Bun.deepEquals(JSON.parse(part), (parsed as Record<string, unknown>)[name])) return `member ${name}`;
    const inner = faultOf(part, scanner);
    if (inner !== null) return inner;
  }
  return null;
}

/** True when a broken text makes the scanner fail in its own way: it may only be asked about valid ones. */
function faultOfText(text: string, scanner: Scanner): string | null {
  try {
    return faultOf(text, scanner);
  } catch (error) {
    return `threw ${String(error)}`;
  }
}

const encoder = new TextEncoder();

function mutated(random: Random, text: string): Uint8Array {
  const bytes = encoder.encode(text);
  for (let count = 1 + random.int(3); count > 0 && bytes.length > 0; count -= 1)
    bytes[random.int(bytes.length)] = random.int(256);
  return random.chance(0.2) ? bytes.subarray(0, random.int(bytes.length)) : bytes;
}

async function* inPieces(random: Random, bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let from = 0; from < bytes.length;) {
    const to = Math.min(bytes.length, from + 1 + random.int(40));
    yield bytes.subarray(from, to);
    from = to;
  }
}

/** A request out of bodies, whole and broken, through both parsers. */
async function requestFault(random: Random, bodies: readonly string[]): Promise<string | null> {
  const json = `{"entries":[${bodies.map((body) => `{"kind":"note","body":${body}}`).join(",")}]}`;
  const ndjson = bodies.map((body) => `{"kind":"note","body":${withoutLineBreaks(body)}}`).join("\n");
  const expected = bodies.map(withoutLineBreaks);
  const whole_json = parseAppendJson(encoder.encode(json)).map(({ body }) => body);
  const whole_ndjson = (await parseAppendNdjson(inPieces(random, encoder.encode(ndjson)))).map(
    ({ body }) => body,
  );
  if (!Bun.deepEquals(whole_json, expected)) return "JSON bodies are not verbatim";
  if (!Bun.deepEquals(whole_ndjson, expected)) return "NDJSON bodies are not verbatim";
  for (const parse of [
    () => parseAppendJson(mutated(random, json)),
    () => parseAppendNdjson(inPieces(random, mutated(random, ndjson))),
  ]) {
    try {
      for (const { body } of await parse()) JSON.parse(body);
    } catch (error) {
      if (!(error instanceof Problem)) return `a broken request gave ${String(error)}`;
    }
  }
  return null;
}

export async function run(
  { seed, size, log }: CampaignOptions,
  scanner: Scanner = { memberSpans, elementSpans },
): Promise<CampaignResult> {
  const random = createRandom(seed);
  const failures: string[] = [];
  const count = TEXTS[size];
  for (let index = 0; index < count; index += 1) {
    const text = `${random.pick(SPACES)}${value(random, 0)}${random.pick(SPACES)}`;
    const fault =
      faultOfText(text, scanner) ??
      (index % 5 === 0 ? await requestFault(random, [text.trim(), value(random, 2)]) : null);
    if (fault !== null) failures.push(`${fault}: ${text.slice(0, 200)}`);
    if (index % 20_000 === 19_999) log(`${index + 1} of ${count} texts, ${failures.length} failures`);
  }
  return { cases: count, failures: failures.slice(0, 20), notes: { failed: failures.length } };
}
