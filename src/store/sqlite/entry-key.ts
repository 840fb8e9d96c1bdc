/** Keys of entries: a narrow table of hashes that gives candidates; the entry itself says whether it holds the key. */
import type { Database } from "bun:sqlite";
import type { AppendOptions, NewEntry } from "../contract.ts";
import { all, run } from "./statement.ts";

export const ENTRY_KEY_SQL = {
  insert: "INSERT INTO entry_key (session, hash, seq) VALUES ($session, $hash, $seq)",
  /** Entries that may hold a key; primary key; one row, more only when hashes collide. */
  candidates: "SELECT seq FROM entry_key WHERE session = $session AND hash = $hash ORDER BY seq",
};

/** The first 8 bytes of the key's SHA-256 as SQLite's signed integer. */
function hashOf(key: string): bigint {
  return new Bun.CryptoHasher("sha256").update(key).digest().readBigInt64BE(0);
}

export function insertKey(db: Database, session: number, key: string, seq: number): void {
  run(db, ENTRY_KEY_SQL.insert, { session, hash: hashOf(key), seq });
}

/** For each entry whose key may be there already: the seqs that the caller has not looked at yet. */
export function unknownKeys(
  db: Database,
  session: number,
  entries: readonly NewEntry[],
  known: AppendOptions["known"],
): Map<number, number[]> {
  const candidates = new Map<number, number[]>();
  for (const [index, entry] of entries.entries()) {
    if (entry.key === undefined) continue;
    const looked_at = known?.get(index)?.looked_at ?? [];
    const seqs = all<{ seq: number }>(db, ENTRY_KEY_SQL.candidates, { session, hash: hashOf(entry.key) }).map(
      ({ seq }) => seq,
    );
    const fresh = seqs.filter((seq) => !looked_at.includes(seq));
    if (fresh.length > 0) candidates.set(index, fresh);
  }
  return candidates;
}
