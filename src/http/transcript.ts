/** The route that streams a whole transcript, as lines or as the frames that are stored. */
import type { Context } from "../core/context.ts";
import { streamTranscript } from "../core/entry.ts";
import { Entry } from "../schema/entry.ts";
import { gzipped } from "./answer.ts";
import { idOf } from "./call.ts";
import { streamCoding } from "./negotiate.ts";
import { NDJSON, type Operation, operation } from "./operation.ts";
import { linesAnswer, type StreamOptions } from "./stream.ts";

const DESCRIPTION = [
  "NDJSON, one entry a line. With `Accept-Encoding: zstd` the stored frames are passed on untouched, which is many",
  "times faster; the body is then several zstd frames in a row.",
].join(" ");

/** The whole of a session. */
export function transcriptOperation(context: Context, options: StreamOptions): Operation {
  return operation(
    {
      method: "get",
      path: "/v1/sessions/{id}/transcript",
      name: "getTranscript",
      tag: "entries",
      summary: "Stream the whole transcript as it stands now",
      description: DESCRIPTION,
      headers: ["Accept-Encoding"],
      outcomes: [
        {
          status: 200,
          description: "The entries",
          content: { [NDJSON]: Entry },
          headers: ["Vary", "Content-Encoding"],
        },
      ],
      problems: ["not_found", "gone"],
    },
    async (call) => {
      const coding = streamCoding(call.request);
      const pieces = await streamTranscript(context, idOf(call), coding === "zstd" ? coding : "identity");
      const headers = {
        Vary: "Accept-Encoding",
        ...(coding !== "identity" && { "Content-Encoding": coding }),
      };
      return linesAnswer(call, coding === "gzip" ? gzipped(pieces) : pieces, headers, options);
    },
  );
}
