/** The two operations that describe the API: the OpenAPI document and the page made from it. */
import { z } from "zod";
import { bodyAnswer, notModified } from "./answer.ts";
import { docsPage } from "./docs-page.ts";
import { openApiDocument } from "./openapi.ts";
import { empty, json, type Operation, operation } from "./operation.ts";

// The page loads nothing and runs nothing; its own style is the only thing that is let in.
const SECURITY_POLICY =
  "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

interface Documents {
  json: string;
  html: string;
  /** The base of their entity tags: a digest of the document. */
  tag: string;
}

/**
 * `/openapi.json` and `/docs`, which describe `others` and themselves; made once, when they are first asked
 * for.
 */
export function docsOperations(others: readonly Operation[], version: string): Operation[] {
  let made: Documents | null = null;
  const documents = (): Documents => (made ??= makeDocuments([...others, ...own], version));
  const own: Operation[] = [
    operation(
      {
        method: "get",
        path: "/openapi.json",
        name: "getOpenApi",
        tag: "server",
        open: true,
        summary: "This document",
        headers: ["If-None-Match"],
        outcomes: [
          json(200, "OpenAPI 3.1", z.looseObject({ openapi: z.string() }), ["ETag"]),
          empty(304, "Not changed", ["ETag"]),
        ],
      },
      (call) => {
        const { json, tag } = documents();
        return notModified(call, tag) ?? bodyAnswer(call, json, { tag });
      },
    ),
    operation(
      {
        method: "get",
        path: "/docs",
        name: "getDocs",
        tag: "server",
        open: true,
        summary: "This document as a page",
        headers: ["If-None-Match"],
        outcomes: [
          {
            status: 200,
            description: "HTML",
            content: { "text/html": { type: "string" } },
            headers: ["ETag", "Vary", "Content-Encoding"],
          },
          empty(304, "Not changed", ["ETag"]),
        ],
      },
      (call) => {
        const { html, tag } = documents();
        const headers = {
          "Content-Type": "text/html; charset=utf-8",
          "Content-Security-Policy": SECURITY_POLICY,
          "Referrer-Policy": "no-referrer",
        };
        return notModified(call, tag) ?? bodyAnswer(call, html, { tag, headers });
      },
    ),
  ];
  return own;
}

function makeDocuments(operations: readonly Operation[], version: string): Documents {
  const document = openApiDocument(operations, version);
  const json = JSON.stringify(document);
  return {
    json,
    html: docsPage(document),
    tag: new Bun.CryptoHasher("sha256").update(json).digest("hex").slice(0, 16),
  };
}
