/**
 * Every operation of the OpenAPI document, with requests that it describes and with hostile ones. No answer is a 5xx,
 * each has a documented status and type, its body is what the document says, and errors tell nothing of the inside.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CampaignOptions, type CampaignResult, type Random, createRandom } from "../support/campaign.ts";
import { spoilRequest } from "../support/hostile-requests.ts";
import { PARSED_METHODS, answerFault, decoded, parse } from "../support/openapi-answers.ts";
import {
  type Document,
  Fuzz,
  type Operation,
  type Request,
  bytesOf,
  collectionOf,
  describedRequest,
  shown,
} from "../support/openapi-requests.ts";
import type { Schema } from "../support/schema-values.ts";
import { type Server, json, startServer } from "../support/server.ts";
import { type Answer, exchange } from "../support/wire.ts";

/** Ids that are kept of each noun; the oldest make room. */
const POOL_SIZE = 40;

function noteMade(fuzz: Fuzz, request: Request, answer: Answer): void {
  if (answer.status !== 201 || (request.method !== "POST" && request.method !== "PUT")) return;
  const made = parse(Buffer.from(decoded(answer)).toString("utf8")) as
    { id?: string; state?: string } | undefined;
  const id = made?.id;
  const pool = fuzz.pools.get(collectionOf(request.operation.path));
  if (id === undefined || pool === undefined || !/^\/v1\/\w+(\/\{id\})?$/.test(request.operation.path))
    return;
  pool.push(id);
  if (made?.state === "open") fuzz.pools.get("open artifacts")?.push(id);
  // Never the first, which for workspaces is the default one.
  if (pool.length > POOL_SIZE) pool.splice(1, 1);
}

async function sendOne(fuzz: Fuzz, random: Random, operation: Operation, hostile: boolean): Promise<void> {
  const request = describedRequest(fuzz, random, operation);
  // HEAD is there wherever GET is.
  if (request.method === "GET" && random.chance(0.06)) request.method = "HEAD";
  if (hostile) spoilRequest(fuzz, random, request);
  const is_stream = /\/(tail|stream|lines)$/.test(operation.path);
  fuzz.requests += 1;
  let fault: string | null;
  let status = 0;
  try {
    const answer = await exchange(fuzz.port, bytesOf(request), {
      timeout_ms: request.broken ? 400 : 15_000,
      is_head: request.method === "HEAD",
      ...(is_stream && { quiet_ms: 60 }),
    });
    status = answer?.status ?? 0;
    fault =
      answer === null
        ? request.broken || !PARSED_METHODS.has(request.method)
          ? null
          : "no answer at all"
        : answerFault(fuzz, request, answer);
    if (answer !== null) noteMade(fuzz, request, answer);
  } catch (error) {
    fault = `an answer that cannot be read: ${String(error)}`;
  }
  const key = `${status}`;
  fuzz.statuses.set(key, (fuzz.statuses.get(key) ?? 0) + 1);
  if (status >= 200 && status < 400 && request.documented) fuzz.succeeded.add(operation.doc.operationId);
  if (fault !== null && fuzz.failures.length < 60)
    fuzz.failures.push(
      `${operation.doc.operationId} (${request.steps.join("+") || "as described"}): ${status} ${fault}\n  ${shown(request)}`,
    );
}

async function fuzzServer(
  { seed, size, log }: CampaignOptions,
  requests: number,
  tamper: (document: Document) => void = () => undefined,
): Promise<CampaignResult> {
  const began = performance.now();
  const data_dir = mkdtempSync(join(tmpdir(), "synthetic-openapi-"));
  let server: Server | null = null;
  try {
    server = await startServer({ data_dir, env: { SYNTHETIC_LOG_LEVEL: "warn" } });
    const document = await json<Document>(server.call("GET", "/openapi.json"), 200);
    tamper(document);
    const fuzz = new Fuzz(server, document);
    const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, doc]): Operation => ({ method, path, doc })),
    );
    // Creates come first, so that there is something to ask for.
    operations.sort((a, b) => Number(b.method === "post") - Number(a.method === "post"));
    const beginning = createRandom(seed);
    for (const noun of ["workspaces", "constructs", "sessions"]) {
      const create = operations.find(({ method, path }) => method === "post" && path === `/v1/${noun}`);
      for (let count = 0; create !== undefined && count < 12; count += 1)
        await sendOne(fuzz, beginning, create, false);
    }
    const worker = async (number: number): Promise<void> => {
      const random = createRandom(seed * 100 + number);
      for (let turn = number; fuzz.requests < requests && fuzz.failures.length < 60; turn += 1) {
        const operation = operations[turn % operations.length]!;
        await sendOne(fuzz, random, operation, random.chance(0.62));
        if (number === 0 && turn % 500 === 499) log(`openapi: ${fuzz.requests} of ${requests} requests`);
      }
    };
    await Promise.all(Array.from({ length: 6 }, (_, number) => worker(number)));

    const health = await server.call("GET", "/healthz").catch(() => null);
    if (health?.status !== 200)
      fuzz.failures.push(`the server does not live any more: ${server.log().slice(-800)}`);
    const missing = operations.map(({ doc }) => doc.operationId).filter((id) => !fuzz.succeeded.has(id));
    if (missing.length > 0 && size === "full")
      fuzz.failures.push(`never answered with success, so hardly tried: ${missing.join(", ")}`);
    const logged = [...server.log().matchAll(/"event":"(request_failed|stream_failed)"[^\n]*/g)].map(
      ([line]) => line,
    );
    for (const line of logged.slice(0, 10)) fuzz.failures.push(`in the log: ${line.slice(0, 500)}`);
    return {
      cases: fuzz.requests,
      failures: fuzz.failures,
      notes: {
        seed,
        operations: operations.length,
        never_succeeded: missing.join(" "),
        ...Object.fromEntries(
          [...fuzz.statuses].sort().map(([status, count]) => [`status_${status}`, count]),
        ),
        seconds: Number(((performance.now() - began) / 1_000).toFixed(1)),
      },
    };
  } finally {
    await server?.stop("SIGKILL");
    rmSync(data_dir, { recursive: true, force: true });
  }
}

/** 20,000 requests in full size, 600 in short. */
export function run(options: CampaignOptions): Promise<CampaignResult> {
  return fuzzServer(options, options.size === "full" ? 20_000 : 600);
}

/** A document that is wrong in two places: a fuzz that does not notice is blind. */
export function control(options: CampaignOptions): Promise<CampaignResult> {
  return fuzzServer(options, 300, (document) => {
    for (const methods of Object.values(document.paths))
      for (const doc of Object.values(methods)) delete doc.responses["422"];
    const construct = document.components.schemas["Construct"] as { properties: Record<string, Schema> };
    construct.properties["revision"] = { type: "string" };
  });
}
