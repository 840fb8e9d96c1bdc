/** Rows of the activity timeline. */
import type { Database } from "bun:sqlite";
import type { Event, NewEvent } from "../../schema/event.ts";
import { all, run } from "./statement.ts";

export const EVENT_SQL = {
  /** One event; its place in the order is the row's number. */
  insert: `INSERT INTO event (id, type, at_ms, actor, workspace_id, construct_id, session_id, data)
           VALUES ($id, $type, $at_ms, $actor, $workspace_id, $construct_id, $session_id, $data)`,
  /** Events in commit order; primary key; at most $limit rows. */
  list: `SELECT seq, id, type, at_ms, actor, workspace_id, construct_id, session_id, data
         FROM event WHERE seq > $after ORDER BY seq LIMIT $limit`,
  /** Events of one construct in commit order; event_by_construct; at most $limit rows. */
  listOfConstruct: `SELECT seq, id, type, at_ms, actor, workspace_id, construct_id, session_id, data
                    FROM event WHERE construct_id = $construct_id AND seq > $after ORDER BY seq LIMIT $limit`,
};

/** Writes events in the transaction that is open. */
export function insertEvents(db: Database, events: readonly NewEvent[]): void {
  for (const event of events) {
    run(db, EVENT_SQL.insert, {
      id: event.id,
      type: event.type,
      at_ms: event.at_ms,
      actor: event.actor,
      workspace_id: event.workspace_id,
      construct_id: event.construct_id,
      session_id: event.session_id,
      data: JSON.stringify(event.data),
    });
  }
}

export function listEvents(
  db: Database,
  query: { after: number; limit: number; construct_id?: string },
): Event[] {
  const { after, construct_id } = query;
  const rows =
    construct_id === undefined
      ? all<Omit<Event, "data"> & { data: string }>(db, EVENT_SQL.list, { after, limit: query.limit })
      : all<Omit<Event, "data"> & { data: string }>(db, EVENT_SQL.listOfConstruct, {
          construct_id,
          after,
          limit: query.limit,
        });
  return rows.map((row) => ({ ...row, data: JSON.parse(row.data) as Event["data"] }));
}
