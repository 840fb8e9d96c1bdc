/** Range requests (RFC 9110 §14): one range of bytes, or the whole. */

export type Range = { start: number; end: number } | "whole" | "unsatisfiable";

/** The range that a request asks for of `size_bytes`, end exclusive. Several ranges and what cannot be read mean the whole. */
export function readRange(header: string | null, size_bytes: number): Range {
  const [, first, last] = /^bytes=[ \t]*(\d{0,15})-(\d{0,15})[ \t]*$/i.exec(header ?? "") ?? [];
  if (first === undefined || last === undefined || (first === "" && last === "")) return "whole";
  if (first === "") {
    const length = Math.min(Number(last), size_bytes);
    return length === 0 ? "unsatisfiable" : { start: size_bytes - length, end: size_bytes };
  }
  if (last !== "" && Number(last) < Number(first)) return "whole";
  if (Number(first) >= size_bytes) return "unsatisfiable";
  return { start: Number(first), end: last === "" ? size_bytes : Math.min(Number(last) + 1, size_bytes) };
}
