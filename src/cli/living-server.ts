/** The server of a data directory, as far as it is known without asking it. */
import { isThatProcess, readServerRecord, type ServerRecord } from "../lib/server-record.ts";

/** The record of the server, when that very process lives; else null. */
export function livingServer(data_dir: string): ServerRecord | null {
  const record = readServerRecord(data_dir);
  return record !== null && isThatProcess(record) ? record : null;
}
