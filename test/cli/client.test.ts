import { describe, expect, test } from "bun:test";
import { createClient, queryText, type Transport } from "../../src/cli/client.ts";
import { choose, type Places } from "../../src/cli/open-client.ts";
import { problemOf } from "../../src/cli/problem.ts";
import { httpTransport } from "../../src/cli/transports.ts";
import { Problem } from "../../src/errors.ts";

const never = new AbortController().signal;
const directory = { via: "process", name: "d" } as Transport;

function places(given: Partial<Places>): Places {
  return {
    server: () => null,
    answers: () => Promise.resolve(true),
    openDirectory: () => Promise.resolve(directory),
    ...given,
  };
}

async function refusal(attempt: Promise<unknown>): Promise<Problem> {
  const error = await attempt.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(Problem);
  return error as Problem;
}

describe("which door is taken", () => {
  test("the server of the directory when it lives and answers", async () => {
    expect(await choose(places({ server: () => "http://s" }), 0, never)).toEqual({ url: "http://s" });
  });

  test("the directory itself when no server lives", async () => {
    expect(await choose(places({}), 0, never)).toEqual({ transport: directory });
  });

  test("a server that lives and never answers is unreachable, and the directory is left alone", async () => {
    let opened = 0;
    const given = places({
      server: () => "http://s",
      answers: () => Promise.resolve(false),
      openDirectory: () => Promise.resolve(((opened += 1), directory)),
    });
    expect((await refusal(choose(given, 120, never))).code).toBe("unreachable");
    expect(opened).toBe(0);
  });

  test("a lock without a server is locked, after the wait", async () => {
    const began = performance.now();
    const given = places({ openDirectory: () => Promise.reject(new Problem("locked", "held")) });
    expect((await refusal(choose(given, 120, never))).code).toBe("locked");
    expect(performance.now() - began).toBeGreaterThanOrEqual(100);
  });

  test("a server that is just starting is found", async () => {
    let asked = 0;
    const given = places({
      server: () => ((asked += 1), asked > 2 ? "http://s" : null),
      openDirectory: () => Promise.reject(new Problem("locked", "held")),
    });
    expect(await choose(given, 2_000, never)).toEqual({ url: "http://s" });
  });

  test("a server that is just stopping is waited for", async () => {
    let tried = 0;
    const given = places({
      openDirectory: () => (
        (tried += 1),
        tried > 2 ? Promise.resolve(directory) : Promise.reject(new Problem("locked", "held"))
      ),
    });
    expect(await choose(given, 2_000, never)).toEqual({ transport: directory });
  });

  test("any other failure of opening is told at once", async () => {
    const given = places({ openDirectory: () => Promise.reject(new Problem("refused_store", "newer")) });
    expect((await refusal(choose(given, 5_000, never))).code).toBe("refused_store");
  });

  test("a signal ends the wait", async () => {
    const given = places({ openDirectory: () => Promise.reject(new Problem("locked", "held")) });
    const began = performance.now();
    await refusal(choose(given, 60_000, AbortSignal.timeout(50)));
    expect(performance.now() - began).toBeLessThan(5_000);
  });
});

describe("the client", () => {
  test("follows the cursors of a list up to the bound", async () => {
    const asked: string[] = [];
    const pages: Record<string, { items: number[]; next_cursor: string | null }> = {
      "/v1/x?a=1&limit=3": { items: [1, 2], next_cursor: "c1" },
      "/v1/x?a=1&limit=1&cursor=c1": { items: [3], next_cursor: "c2" },
    };
    const transport = {
      fetch: (path: string) => (asked.push(path), Promise.resolve(Response.json(pages[path]))),
    } as unknown as Transport;
    const found = await Array.fromAsync(
      createClient(transport, "t", never).pages<number>("/v1/x", { a: 1 }, 3),
    );
    expect(found).toEqual([
      { items: [1, 2], left: true },
      { items: [3], left: true },
    ]);
    expect(asked).toEqual(Object.keys(pages));
  });

  test("repeats a filter for each of its values and leaves out what is absent", () => {
    expect(queryText({ status: ["a", "b"], q: "x y&z", none: undefined, nothing: null, flag: false })).toBe(
      "?status=a&status=b&q=x+y%26z&flag=false",
    );
    expect(queryText({})).toBe("");
  });

  test("a loopback server is never asked through a proxy, which would read the token", async () => {
    const seen: string[] = [];
    const proxy = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: (request) => (seen.push(request.headers.get("authorization") ?? ""), new Response("proxied")),
    });
    const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("direct") });
    const script = `
      const { httpTransport } = await import(${JSON.stringify(import.meta.resolve("../../src/cli/transports.ts"))});
      const transport = httpTransport(${JSON.stringify(server.url.origin)});
      const response = await transport.fetch("/", { headers: { authorization: "Bearer secret" }, signal: new AbortController().signal }, false);
      process.stdout.write(await response.text());`;
    const env = {
      ...process.env,
      HTTP_PROXY: proxy.url.href,
      http_proxy: proxy.url.href,
      NO_PROXY: "",
      no_proxy: "",
    };
    const child = Bun.spawn([process.execPath, "-e", script], { env, stderr: "inherit" });
    expect(await new Response(child.stdout).text()).toBe("direct");
    // The control: without our care Bun would have asked the proxy.
    const control = Bun.spawn(
      [
        process.execPath,
        "-e",
        `process.stdout.write(await (await fetch(${JSON.stringify(server.url.href)})).text())`,
      ],
      { env },
    );
    expect(await new Response(control.stdout).text()).toBe("proxied");
    expect(seen).toEqual([""]);
    await server.stop(true);
    await proxy.stop(true);
  });

  test("nobody there is unreachable", async () => {
    const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
    const { origin } = server.url;
    await server.stop(true);
    expect(
      (await refusal(httpTransport(origin).fetch("/", { method: "GET", headers: {}, signal: never }, false)))
        .code,
    ).toBe("unreachable");
  });

  test("a server that moved is found at its new address by the next request", async () => {
    const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("moved") });
    const transport = httpTransport("http://127.0.0.1:1", () => server.url.origin);
    const outgoing = { method: "GET", headers: {}, signal: never };
    expect((await refusal(transport.fetch("/", outgoing, false))).code).toBe("unreachable");
    expect(await (await transport.fetch("/", outgoing, false)).text()).toBe("moved");
    await server.stop(true);
  });

  test("a redirect is not followed with the token", async () => {
    const server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: () => Response.redirect("http://127.0.0.1:1/"),
    });
    expect(
      (
        await refusal(
          httpTransport(server.url.origin).fetch("/", { method: "GET", headers: {}, signal: never }, false),
        )
      ).code,
    ).toBe("unreachable");
    await server.stop(true);
  });
});

function answer(body: unknown, status: number, headers: Record<string, string> = {}): Response {
  return new Response(typeof body === "string" ? body : JSON.stringify(body), {
    status,
    headers: { "content-type": "application/problem+json", ...headers },
  });
}

describe("problem documents", () => {
  test("keep code, words and members", async () => {
    const problem = await problemOf(
      answer(
        { code: "conflict", status: 409, detail: "d", hint: "h", last_seq: 4, head: "00", type: "t" },
        409,
      ),
    );
    expect(problem).toMatchObject({
      code: "conflict",
      message: "d",
      extra: { hint: "h", members: { last_seq: 4, head: "00" } },
    });
  });

  test("keep the places of a body and the time to wait", async () => {
    const errors = [{ pointer: "/title", detail: "too long" }];
    expect(
      (await problemOf(answer({ code: "invalid_request", detail: "d", errors }, 422))).extra.errors,
    ).toEqual(errors);
    expect(
      (await problemOf(answer({ code: "busy", detail: "d" }, 503, { "retry-after": "7" }))).extra
        .retry_after_s,
    ).toBe(7);
  });

  test.each([
    [404, "not_found"],
    [401, "unauthorized"],
    [502, "unreachable"],
    [504, "unreachable"],
    [418, "internal"],
  ])("what is no document goes by its status: %d is %s", async (status, code) => {
    expect((await problemOf(new Response("<html>", { status }))).code).toBe(code as Problem["code"]);
    expect((await problemOf(answer("{", status))).code).toBe(code as Problem["code"]);
    expect((await problemOf(answer({ code: "toString" }, status))).code).toBe(code as Problem["code"]);
  });
});
