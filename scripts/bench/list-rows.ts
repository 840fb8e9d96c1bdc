/** Lists over 100,000 constructs: deep pages by key beside the same pages by OFFSET; and what a cache of rows would save. */
import { openReader } from "../../src/store/sqlite/connection.ts";
import { constructListSql, constructPage, findConstruct } from "../../src/store/sqlite/construct.ts";
import { all, finalizeStatements } from "../../src/store/sqlite/statement.ts";
import type { ConstructQuery, ListPosition } from "../../src/store/contract.ts";
import { openStore } from "./arms.ts";
import { interleave, median, ratio, type Row, rounded } from "./measure.ts";

const COUNT = 100_000;
const PAGES = 40;
/** The quick side does its pages several times, so that both are measured for about as long. */
const KEYSET_TIMES = 8;
const QUERY: ConstructQuery = { deleted: false, sort: "updated", order: "desc", limit: 50 };

/** Rows made by SQL, because a hundred thousand creates are not what is measured; each was changed some time after it was made. */
const FILL = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${COUNT})
  INSERT INTO construct (id, workspace, title, brief, type, status, status_since_at_ms, pinned, create_digest, revision, created_at_ms, updated_at_ms)
  SELECT printf('%08x-0000-7000-8000-%012x', i, i), 1, 'construct ' || i, '', 'task', 'active', i, 0, '', 1, i, i + (i * 7919) % 500 FROM n`;

export async function listRows(rounds: number, say: (line: string) => void): Promise<Row[]> {
  const store = await openStore();
  store.db.run(FILL);
  const reader = openReader(store.path);
  const { sql, parameters } = constructListSql(QUERY);
  const first_page = await store.context.store.constructs.list({ ...QUERY, limit: 1 });
  const deep: ListPosition[] = [];
  for (let page = 1; page <= PAGES; page += 1) {
    const [row] = all<{ id: string; updated_at_ms: number }>(
      store.db,
      `SELECT id, updated_at_ms FROM construct WHERE deleted_at_ms IS NULL ORDER BY updated_at_ms DESC, pk DESC LIMIT 1 OFFSET ${(COUNT / PAGES) * page - 60}`,
    );
    if (row !== undefined) deep.push({ value: row.updated_at_ms, id: row.id });
  }
  const keyset = async (): Promise<number> => {
    const began = performance.now();
    for (let time = 0; time < KEYSET_TIMES; time += 1)
      for (const position of deep) {
        const query = { ...QUERY, position };
        const built = constructListSql(query);
        constructPage(all(reader, built.sql, built.parameters), query);
      }
    return (performance.now() - began) / KEYSET_TIMES;
  };
  const offset = async (): Promise<number> => {
    const began = performance.now();
    for (let page = 1; page <= PAGES; page += 1)
      constructPage(all(reader, `${sql} OFFSET ${(COUNT / PAGES) * page - 60}`, parameters), QUERY);
    return performance.now() - began;
  };
  const id = first_page.items[0]?.id ?? "";
  const kept = new Map([[id, findConstruct(reader, id)]]);
  const reads = async (read: () => unknown): Promise<number> => {
    const began = performance.now();
    for (let index = 0; index < 20_000; index += 1) read();
    return performance.now() - began;
  };
  // A server has served pages before.
  await keyset();
  await offset();
  const found = await interleave(rounds, {
    keyset,
    offset,
    cached: () => reads(() => structuredClone(kept.get(id))),
    prepared: () => reads(() => findConstruct(reader, id)),
  });
  finalizeStatements(reader);
  reader.close();
  await store.close();
  const rows: Row[] = [
    {
      measure: "list of 100,000 constructs: OFFSET / keyset, time",
      value: ratio(found.offset, found.keyset),
      unit: "ratio",
      floor: { at_least: 8 },
      detail: `${rounded(median(found.offset) / PAGES)} / ${rounded(median(found.keyset) / PAGES)} ms a page`,
    },
  ];
  for (const row of rows) say(`${row.measure}: ${rounded(row.value)} (${row.detail})`);
  say(
    `a construct by id: prepared read ${rounded((median(found.prepared) / 20_000) * 1_000)} us, copied out of a map ${rounded((median(found.cached) / 20_000) * 1_000)} us`,
  );
  return rows;
}
