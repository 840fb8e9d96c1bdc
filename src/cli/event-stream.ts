/** Server-sent events (WHATWG HTML §9.2) out of pieces of bytes. */
import { limit } from "../limits.ts";
import { readLines } from "./lines.ts";

export interface ServerEvent {
  /** The last id that was given, also by earlier events. */
  id: string;
  event: string;
  data: string;
}

/**
 * Events as they become whole; comments and events without data are passed over, an unfinished one at the end
 * is dropped.
 */
export async function* readEvents(source: AsyncIterable<Uint8Array>): AsyncGenerator<ServerEvent> {
  const decoder = new TextDecoder();
  let id = "";
  let event = "";
  let data: string[] = [];
  for await (const lines of readLines(source, limit("cli_event_line_bytes"))) {
    for (const bytes of lines) {
      const line = decoder.decode(bytes).replace(/\r$/, "");
      if (line === "") {
        if (data.length > 0) yield { id, event: event || "message", data: data.join("\n") };
        event = "";
        data = [];
        continue;
      }
      const at = line.indexOf(":");
      if (at === 0) continue;
      const name = at === -1 ? line : line.slice(0, at);
      const value = at === -1 ? "" : line.slice(at + 1).replace(/^ /, "");
      if (name === "data") data.push(value);
      else if (name === "event") event = value;
      else if (name === "id" && !value.includes("\0")) id = value;
    }
  }
}
