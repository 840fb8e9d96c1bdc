/** Rounds, medians, percentiles, and the row that a measurement becomes. */

export interface Row {
  measure: string;
  /** The figure that the floor is about: a ratio, or the unit it names. */
  value: number;
  unit: string;
  floor: { at_least: number } | { at_most: number };
  /** The sides of the ratio and percentiles, for a reader. */
  detail: string;
}

export function holds({ value, floor }: Row): boolean {
  return "at_least" in floor ? value >= floor.at_least : value <= floor.at_most;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** Runs the arms one after the other, again and again, so that noise of the machine falls on all of them alike. */
export async function interleave<Name extends string>(
  rounds: number,
  arms: Record<Name, () => Promise<number>>,
): Promise<Record<Name, number[]>> {
  const names = Object.keys(arms) as Name[];
  const found = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Name, number[]>;
  for (let round = 0; round < rounds; round += 1) {
    const order = round % 2 === 0 ? names : names.toReversed();
    for (const name of order) {
      // No arm pays for the garbage of the one before it.
      Bun.gc(true);
      found[name].push(await arms[name]());
    }
  }
  return found;
}

/** The median of the ratios of each round. */
export function ratio(above: readonly number[], below: readonly number[]): number {
  return median(above.map((value, index) => value / (below[index] ?? Number.NaN)));
}

export const rounded = (value: number, digits = 2): string => value.toFixed(digits);
