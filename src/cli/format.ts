/** Values as people read them: times, sizes, durations, short ids. Pure; the time comes in. */

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** Past this an instant is shown as its date. */
const RELATIVE_MS = 30 * DAY;
const SHORT_ID_CHARACTERS = 8;

/** `5m ago`, `in 2h`; older or later than 30 days the date. */
export function relativeTime(at_ms: number, now_ms: number): string {
  const distance = Math.abs(now_ms - at_ms);
  if (distance >= RELATIVE_MS) return new Date(at_ms).toISOString().slice(0, 10);
  if (distance < 2_000) return "now";
  const size =
    distance < MINUTE
      ? `${Math.floor(distance / 1_000)}s`
      : distance < HOUR
        ? `${Math.floor(distance / MINUTE)}m`
        : distance < DAY
          ? `${Math.floor(distance / HOUR)}h`
          : `${Math.floor(distance / DAY)}d`;
  return at_ms <= now_ms ? `${size} ago` : `in ${size}`;
}

/** The instant in UTC, to the second. */
export function instant(at_ms: number): string {
  return new Date(at_ms).toISOString().replace(/\.\d+Z$/, "Z");
}

/** `850ms`, `12.3s`, `4m 5s`, `3h 2m`, `5d 1h`. */
export function duration(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)}ms`;
  if (ms < MINUTE) return `${(ms / 1_000).toFixed(1)}s`;
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)}m ${Math.floor((ms % MINUTE) / 1_000)}s`;
  if (ms < DAY) return `${Math.floor(ms / HOUR)}h ${Math.floor((ms % HOUR) / MINUTE)}m`;
  return `${Math.floor(ms / DAY)}d ${Math.floor((ms % DAY) / HOUR)}h`;
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** `0 B`, `1.5 KiB`, `12 MiB`: three digits at most. */
export function bytes(count: number): string {
  let value = count;
  let unit = 0;
  // 1023.5 would be shown as 1024.
  while (value >= 1_023.5 && unit < UNITS.length - 1) {
    value /= 1_024;
    unit += 1;
  }
  return `${unit === 0 || value >= 9.95 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit] ?? ""}`;
}

/** `12,345` */
export function count(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** `1 entry`, `2,000 entries`. */
export function counted(value: number, one: string, many: string): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** The last 8 digits: a version 7 id begins with the time, so neighbours share their beginning. */
export function shortId(id: string): string {
  return id.slice(-SHORT_ID_CHARACTERS);
}

const SPANS: Record<string, number> = { s: 1_000, m: MINUTE, h: HOUR, d: DAY, w: 7 * DAY };

/**
 * An instant as a person gives it: `2h` (ago), a date or time of ISO 8601, or milliseconds. Null for anything
 * else.
 */
export function parseInstant(text: string, now_ms: number): number | null {
  const span = /^(\d{1,6})([smhdw])$/.exec(text);
  if (span !== null) return Math.max(0, now_ms - Number(span[1]) * (SPANS[span[2] ?? ""] ?? 0));
  if (/^\d{11,16}$/.test(text)) return Number(text);
  const at_ms = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(at_ms) || at_ms < 0 ? null : at_ms;
}
