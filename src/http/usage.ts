/** The route that tells how much is stored. */
import type { Context } from "../core/context.ts";
import { getUsage } from "../core/usage.ts";
import { invalid } from "../errors.ts";
import { Id } from "../schema/common.ts";
import { Usage } from "../schema/usage.ts";
import { jsonAnswer } from "./answer.ts";
import { json, type Operation, operation } from "./operation.ts";
import { one } from "./parameter.ts";

const ALL = { all: true } as const;

export function usageOperation(context: Context): Operation {
  return operation(
    {
      method: "get",
      path: "/v1/usage",
      name: "getUsage",
      tag: "server",
      summary: "How much is stored",
      description: "Logical and stored bytes by class: of all, of a workspace, or of a construct.",
      query: {
        workspace_id: one(Id, "Of this workspace"),
        construct_id: one(Id, "Of this construct"),
      },
      outcomes: [json(200, "The bytes", Usage)],
      problems: ["not_found"],
    },
    async (call, { workspace_id, construct_id }) => {
      if (workspace_id !== undefined && construct_id !== undefined)
        throw invalid("construct_id", "Either workspace_id or construct_id may be given.");
      const scope =
        construct_id !== undefined ? { construct_id } : workspace_id !== undefined ? { workspace_id } : ALL;
      return jsonAnswer(call, await getUsage(context, scope));
    },
  );
}
