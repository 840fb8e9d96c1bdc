/**
 * Whether the server lives, whether it can serve, and which one it is. Open to all: they tell nothing about
 * data.
 */
import { z } from "zod";
import type { Context } from "../core/context.ts";
import { errorText, type Log } from "../lib/log.ts";
import { jsonAnswer } from "./answer.ts";
import { json, type Operation, operation } from "./operation.ts";
import type { DoorState } from "./state.ts";

const Health = z.object({ status: z.literal("ok") }).meta({ id: "Health" });

const Readiness = z
  .object({
    status: z.enum(["ready", "unready"]),
    checks: z.object({
      store: z.enum(["ok", "failed"]).meta({
        description: "Whether the store takes writes; a full disk is told by the write itself (507)",
      }),
      server: z.enum(["ok", "stopping"]),
    }),
  })
  .meta({ id: "Readiness" });
type Readiness = z.infer<typeof Readiness>;

const Version = z
  .object({ version: z.string(), commit: z.string(), api: z.literal("v1"), bun: z.string() })
  .meta({ id: "Version" });

export interface HealthOptions {
  version: string;
  commit: string;
  log: Log;
}

/** The three open operations that watch the server. */
export function healthOperations(context: Context, state: DoorState, options: HealthOptions): Operation[] {
  return [
    operation(
      {
        method: "get",
        path: "/healthz",
        name: "getHealth",
        tag: "server",
        open: true,
        summary: "Whether the process answers",
        description: "Always 200, looks at nothing.",
        outcomes: [json(200, "It does", Health)],
      },
      () => new Response('{"status":"ok"}', { headers: { "Content-Type": "application/json" } }),
    ),
    operation(
      {
        method: "get",
        path: "/readyz",
        name: "getReadiness",
        tag: "server",
        open: true,
        summary: "Whether it can serve now",
        outcomes: [json(200, "It can", Readiness), json(503, "It cannot", Readiness)],
      },
      async (call) => {
        const store = await context.store.ready().then(
          () => "ok" as const,
          (error: unknown) => {
            options.log.warn("not_ready", { request_id: call.request_id, cause: errorText(error) });
            return "failed" as const;
          },
        );
        const ready = store === "ok" && !state.draining;
        const body: Readiness = {
          status: ready ? "ready" : "unready",
          checks: { store, server: state.draining ? "stopping" : "ok" },
        };
        return jsonAnswer(call, body, { status: ready ? 200 : 503 });
      },
    ),
    operation(
      {
        method: "get",
        path: "/version",
        name: "getVersion",
        tag: "server",
        open: true,
        summary: "Which program this is",
        outcomes: [json(200, "Version of program, API and runtime", Version)],
      },
      (call) =>
        jsonAnswer(call, {
          version: options.version,
          commit: options.commit,
          api: "v1",
          bun: Bun.version,
        } satisfies z.infer<typeof Version>),
    ),
  ];
}
