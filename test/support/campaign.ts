/** What a campaign is, and the random numbers that make one repeatable. It knows no campaign. */

export interface CampaignOptions {
  seed: number;
  /** `short` rides with the tests; `full` is for `npm run campaign`. */
  size: "short" | "full";
  /** One line of progress. */
  log: (line: string) => void;
}

export interface CampaignResult {
  /** How many things were tried. None is a failure. */
  cases: number;
  failures: string[];
  /** Measurements and counts for the record. */
  notes: Record<string, string | number>;
}

/** Every file in test/campaign/ exports one as `run`. */
export type Campaign = (options: CampaignOptions) => Promise<CampaignResult>;

/** Anything but undefined. */
type Item = string | number | bigint | boolean | symbol | object | null;

export interface Random {
  /** At least 0 and below 1, 32 bits of it random. */
  next(): number;
  /** A whole number of at least 0 and below `bound`. */
  int(bound: number): number;
  /** One of the items; throws on an empty list. */
  pick<T extends Item>(items: readonly T[]): T;
  /** True in this share of the calls: never for 0, always for 1. */
  chance(share: number): boolean;
}

/** The same numbers for the same seed, on every machine: mulberry32, which is small and good enough for choices. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const int = (bound: number): number => Math.floor(next() * bound);
  const pick = <T extends Item>(items: readonly T[]): T => {
    const item = items[int(items.length)];
    if (item === undefined) throw new Error("there is nothing to pick from");
    return item;
  };
  return { next, int, pick, chance: (share) => next() < share };
}
