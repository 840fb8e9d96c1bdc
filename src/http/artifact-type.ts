/**
 * What a browser is told that an artifact is. Types come from this list and nowhere else: whatever could run is bytes
 * to be saved. The uploader's word chooses in it, and the ending of the name where that says nothing.
 */

const TEXT = "text/plain; charset=utf-8";
const BYTES = "application/octet-stream";

/** Shown in place; everything else is saved. */
const INLINE = new Set([TEXT, "image/png", "image/jpeg", "image/gif", "image/webp"]);

/** Types that are served as they are, and text types that are served as plain text. */
const SERVED = new Map<string, string>([
  ...["image/png", "image/jpeg", "image/gif", "image/webp", "application/json", "application/x-ndjson"].map(
    (type): [string, string] => [type, type],
  ),
  ...["application/pdf", "application/zip", "application/gzip", "application/zstd", "application/x-tar"].map(
    (type): [string, string] => [type, type],
  ),
  ...["text/plain", "text/markdown", "text/x-diff", "text/x-patch", "text/csv", "text/x-log"].map(
    (type): [string, string] => [type, TEXT],
  ),
]);

const BY_ENDING = new Map<string, string>([
  ...["txt", "log", "diff", "patch", "md", "csv"].map((ending): [string, string] => [ending, TEXT]),
  ...["png", "gif", "webp"].map((ending): [string, string] => [ending, `image/${ending}`]),
  ["jpg", "image/jpeg"],
  ["jpeg", "image/jpeg"],
  ["json", "application/json"],
  ["jsonl", "application/x-ndjson"],
  ["ndjson", "application/x-ndjson"],
  ["pdf", "application/pdf"],
  ["zip", "application/zip"],
  ["gz", "application/gzip"],
  ["zst", "application/zstd"],
  ["tar", "application/x-tar"],
]);

export function servedType({ media_type, name }: { media_type: string; name: string }): string {
  const essence = media_type.split(";")[0]?.trim().toLowerCase() ?? "";
  if (essence !== BYTES) return SERVED.get(essence) ?? BYTES;
  const ending = /\.([A-Za-z0-9]{1,8})$/.exec(name)?.[1]?.toLowerCase();
  return (ending === undefined ? undefined : BY_ENDING.get(ending)) ?? BYTES;
}

/** Characters that `filename*` need not escape (RFC 8187 §3.2.1). */
const escaped = (name: string): string =>
  encodeURIComponent(name).replace(
    /['()*!]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );

/** A name that says the same in both forms. */
const PLAIN = /^\w[\w.-]{0,150}$/;

/** How it is shown and what a saved file is called: the last part of the name, without what could mislead. */
export function disposition(name: string, type: string): string {
  const how = INLINE.has(type) ? "inline" : "attachment";
  if (PLAIN.test(name)) return `${how}; filename="${name}"; filename*=UTF-8''${name}`;
  const last = (name.split(/[/\\]/).at(-1) ?? "").replace(/[\p{Cc}\p{Cf}]/gu, "").replace(/^\.+/, "");
  const shown = last.slice(0, 200).toWellFormed() || "artifact";
  const plain = shown.replace(/[^\x20-\x7e]|["\\%]/g, "_");
  return `${how}; filename="${plain}"; filename*=UTF-8''${escaped(shown)}`;
}
