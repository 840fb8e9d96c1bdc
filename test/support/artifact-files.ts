/**
 * The folder of artifacts compared with their rows, from outside and by the documented layout: the rows are read from
 * the database, the files from the disk.
 */
import { Database } from "bun:sqlite";
import { existsSync, readdirSync } from "node:fs";
import { join, relative } from "node:path";

interface Row {
  id: string;
  construct_id: string;
  type: string;
  sha256: string | null;
}

/** The server may be running: this process opens the database by SQLite alone (facts 1). */
function readRows(data_dir: string): Row[] {
  const db = new Database(join(data_dir, "synthetic.db"), { readonly: true });
  try {
    return db
      .query<Row, []>(
        "SELECT a.id, c.id AS construct_id, a.type, a.sha256 FROM artifact a JOIN construct c ON c.pk = a.construct",
      )
      .all();
  } finally {
    db.close();
  }
}

/** Any of these names; one of them must be there. */
function namesOf({ id, construct_id, type, sha256 }: Row): string[] {
  const folder = join(construct_id.slice(-2), construct_id, type);
  const names = sha256 === null ? [`${id}.open`] : [sha256, `${sha256}.zst`];
  return names.map((name) => join(folder, name));
}

/** What is amiss after garbage was collected without grace: rows without a file or unknown, and files without a row. */
export function filesAgainstRows(data_dir: string, known: ReadonlySet<string>): string[] {
  const root = join(data_dir, "artifacts");
  const faults: string[] = [];
  const expected = new Set<string>();
  for (const row of readRows(data_dir)) {
    const names = namesOf(row);
    for (const name of names) expected.add(name);
    const there_count = names.filter((name) => existsSync(join(root, name))).length;
    if (there_count !== 1) faults.push(`row ${row.id} has ${there_count} files: ${names[0]}`);
    if (!known.has(row.id)) faults.push(`row ${row.id} is one that nobody knows of`);
  }
  for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
    const path = relative(root, join(entry.parentPath, entry.name));
    if (!entry.isDirectory() && !expected.has(path)) faults.push(`file ${path} is named by no row`);
  }
  return faults;
}
