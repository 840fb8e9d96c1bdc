/** The route that removes what is left over. */
import type { Context } from "../core/context.ts";
import { collectGarbage } from "../core/gc.ts";
import { limit } from "../limits.ts";
import { GarbageReport } from "../schema/gc.ts";
import { jsonAnswer } from "./answer.ts";
import { json, type Operation, operation } from "./operation.ts";
import { flag, whole, withDefault } from "./parameter.ts";

export function gcOperation(context: Context): Operation {
  return operation(
    {
      method: "post",
      path: "/v1/gc",
      name: "collectGarbage",
      tag: "server",
      summary: "Remove files that nobody names any more",
      description:
        "Also the rows of artifacts that were deleted longer ago than the grace period. Files of rows that are missing are told and nothing is removed for them. It runs by itself once a day. No body is read.",
      query: {
        dry_run: withDefault(flag("Only tell"), false),
        grace_ms: withDefault(
          whole("How long a file that nobody names stays", 0, limit("artifact_grace_ms") * 365),
          limit("artifact_grace_ms"),
        ),
      },
      outcomes: [json(200, "What was found", GarbageReport)],
    },
    async (call, { dry_run, grace_ms }) =>
      jsonAnswer(call, await collectGarbage(context, { dry_run, grace_ms })),
  );
}
