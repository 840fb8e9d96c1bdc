/** A real browser before the door: the page of the API, and pages of other sites that try to reach a local server. */
import { afterAll, beforeAll, expect } from "bun:test";
import { type Browser, chromium, type Page } from "playwright-core";
import { listen, type Listener } from "../../src/http/listen.ts";
import { skipWithout, tool } from "../support/tools.ts";
import { type OpenDoor, openDoor, silent_log } from "./open-door.ts";

const { describe, test } = skipWithout(["chromium"], "what a real browser does with the server");

const QUIET = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

describe("a browser", () => {
  let open: OpenDoor;
  let listener: Listener;
  let hostile: Bun.Server<undefined>;
  let browser: Browser;

  beforeAll(async () => {
    open = openDoor();
    listener = listen(open.door, { host: "127.0.0.1", port: 0, log: silent_log });
    hostile = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: () => new Response("<title>hostile</title>", { headers: { "content-type": "text/html" } }),
    });
    browser = await chromium.launch({
      executablePath: tool("chromium") ?? "",
      headless: true,
      // playwright makes a new empty profile of its own.
      args: [...QUIET, "--host-resolver-rules=MAP rebound.test 127.0.0.1"],
    });
  }, 60_000);

  afterAll(async () => {
    await browser.close();
    await hostile.stop(true);
    await listener.stop(0);
  });

  async function newPage(): Promise<{ page: Page; requested: string[]; complaints: string[] }> {
    const page = await browser.newPage();
    const requested: string[] = [];
    const complaints: string[] = [];
    page.on("request", (request) => requested.push(request.url()));
    page.on("console", (message) => complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(error.message));
    return { page, requested, complaints };
  }

  test("shows the page of the API, and loads nothing else for it", async () => {
    const { page, requested, complaints } = await newPage();
    await page.goto(`${listener.url}/docs`);
    expect(await page.title()).toContain("synthetic");
    expect(await page.locator("body").innerText()).toContain("/v1/sessions/{id}/entries");
    expect(requested.filter((url) => !url.endsWith("/favicon.ico"))).toEqual([`${listener.url}/docs`]);
    expect(complaints.filter((text) => !text.includes("favicon"))).toEqual([]);
    const keep = process.env["SYNTHETIC_SCREENSHOT"];
    if (keep !== undefined) await page.screenshot({ path: keep });
    await page.close();
  });

  interface Attack {
    method?: string;
    mode?: "no-cors";
    body?: string;
    headers?: Record<string, string>;
  }

  /** What a script of the page gets when it calls the API. */
  async function attack(page: Page, url: string, init: Attack): Promise<string> {
    return page.evaluate(
      async ([target, options]) => {
        try {
          const answer = await fetch(target, options);
          return `${answer.type} ${answer.status}`;
        } catch {
          return "refused";
        }
      },
      [url, init] as [string, Attack],
    );
  }

  test("keeps a page of another site from writing and from reading, even with the token", async () => {
    const { page } = await newPage();
    await page.goto(`http://127.0.0.1:${hostile.port}/`);
    const body = JSON.stringify({ title: "planted" });
    expect(
      await attack(page, `${listener.url}/v1/constructs`, {
        method: "POST",
        mode: "no-cors",
        body,
        headers: { "content-type": "text/plain" },
      }),
    ).toBe("opaque 0");
    const headers = { authorization: `Bearer 0123456789abcdef0123456789abcdef0123456789a` };
    expect(await attack(page, `${listener.url}/v1/constructs`, { headers })).toBe("refused");
    expect(await attack(page, `${listener.url}/version`, {})).toBe("refused");
    const { items } = await open.json<{ items: unknown[] }>(200, "GET", "/v1/constructs");
    expect(items).toEqual([]);
    await page.close();
  });

  test("is not answered under a name that was rebound to this machine", async () => {
    const { page } = await newPage();
    const answer = await page.goto(`http://rebound.test:${listener.port}/version`);
    expect(answer?.status()).toBe(421);
    await page.close();
  });
});
