/** `synthetic artifact` and `synthetic gc` of the compiled binary: with a server, without one, and with one that is cut off. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { shownText } from "../../src/cli/artifact-cat.ts";
import { fileName } from "../../src/cli/artifact-get.ts";
import { groupBytes } from "../../src/cli/artifact-groups.ts";
import { ARTIFACT_SORTS } from "../../src/cli/artifact-noun.ts";
import { limit } from "../../src/limits.ts";
import { ARTIFACT_SORTS as SCHEMA_SORTS } from "../../src/schema/artifact.ts";
import { type Server, startServer } from "../support/server.ts";
import { newPlace, type Place, until } from "./binary.ts";

setDefaultTimeout(60_000);

const NOBODY = "01940000-0000-7000-8000-000000000000";
const ESCAPE = "\u001b";
const MIB = 1024 * 1024;

interface Shown {
  id: string;
  name: string;
  type: string;
  state: string;
  sha256: string | null;
  size_bytes: number;
  session_id: string | null;
  entry_seq: number | null;
  media_type: string;
  metadata: Record<string, string>;
}

let place: Place;
let construct: string;
beforeAll(async () => {
  place = newPlace();
  construct = await place.output(["construct", "create", "with artifacts"]);
});
afterAll(() => place.remove());

const sha256 = (bytes: string | Uint8Array): string =>
  new Bun.CryptoHasher("sha256").update(bytes).digest("hex");

/** Bytes that do not compress and differ everywhere. */
function noise(size_bytes: number): Uint8Array {
  const bytes = new Uint8Array(size_bytes);
  for (let at = 0; at < size_bytes; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  return bytes;
}

/** A folder of its own, so that what a command leaves can be counted. */
function newFolder(): string {
  return mkdtempSync(join(place.cwd, "folder-"));
}

async function put(bytes: string | Uint8Array, ...words: string[]): Promise<string> {
  return place.output(["artifact", "put", "-", "--construct", construct, ...words], { stdin: bytes });
}

const show = (id: string): Promise<Shown> => place.json<Shown>(["artifact", "show", id]);

/** The bytes that a command writes. */
async function bytesOf(words: readonly string[]): Promise<Uint8Array> {
  const child = place.start(words);
  void child.stdin.end();
  const [bytes, code] = await Promise.all([new Response(child.stdout).bytes(), child.exited]);
  expect(code).toBe(0);
  return bytes;
}

describe.each(["a server", "the directory itself"])("through %s", (way) => {
  let server: Server | null = null;
  beforeAll(async () => {
    if (way === "a server") server = await startServer({ data_dir: place.data_dir });
  });
  afterAll(async () => {
    await server?.stop();
  });

  test("a file goes in and comes out byte for byte, with what was said of it", async () => {
    const session = await place.output(["session", "create", construct]);
    await place.output(["append", session, "--text"], { stdin: "an entry\n" });
    const cwd = newFolder();
    const bytes = noise(3 * MIB + 17);
    writeFileSync(join(cwd, "data.bin"), bytes);
    const words = ["data.bin", "--construct", construct.slice(-12), "--session", session, "--entry-seq", "1"];
    const about = [
      "--type",
      "image",
      "--media-type",
      "image/png",
      "--metadata",
      "a b=c=d&e",
      "--metadata",
      "k=",
    ];
    const put_it = await place.run(["artifact", "put", ...words, ...about], { cwd });
    expect(put_it).toMatchObject({ code: 0, stderr: expect.stringContaining("created") as string });
    const id = put_it.stdout.trimEnd();
    expect(await show(id.slice(-10))).toMatchObject({
      id,
      name: "data.bin",
      type: "image",
      state: "sealed",
      sha256: sha256(bytes),
      size_bytes: bytes.byteLength,
      session_id: session,
      entry_seq: 1,
      media_type: "image/png",
      metadata: { "a b": "c=d&e", k: "" },
    });
    expect(sha256(await bytesOf(["artifact", "cat", id]))).toBe(sha256(bytes));
    expect(sha256(await bytesOf(["artifact", "get", id, "-o", "-"]))).toBe(sha256(bytes));
  });

  test("what comes from a pipe has the type file and its id for a name; nothing at all is something", async () => {
    const id = await put("");
    expect(await show(id)).toMatchObject({ name: id, type: "file", size_bytes: 0, sha256: sha256("") });
    expect(await place.output(["artifact", "cat", id])).toBe("");
    expect(await place.output(["artifact", "tail", id])).toBe("");
    const cwd = newFolder();
    expect(await place.output(["artifact", "get", id, "-o", "empty"], { cwd })).toBe("empty");
    expect(statSync(join(cwd, "empty")).size).toBe(0);
  });

  test("a put with an id can be repeated, with other bytes it conflicts", async () => {
    const id = crypto.randomUUID();
    expect(await put("same", "--id", id, "--name", "n")).toBe(id);
    const words = ["artifact", "put", "-", "--construct", construct, "--id", id, "--name", "n"];
    expect(await place.run(words, { stdin: "same" })).toMatchObject({
      code: 0,
      stdout: `${id}\n`,
      stderr: expect.stringContaining("was there already") as string,
    });
    expect(await place.run(words, { stdin: "other" })).toMatchObject({ code: 1, stdout: "" });
  });

  test("get saves under the artifact's name and replaces nothing unasked", async () => {
    const cwd = newFolder();
    const id = await put("new", "--name", "some/folder/report.md");
    expect(await place.output(["artifact", "get", id], { cwd })).toBe("report.md");
    expect(readFileSync(join(cwd, "report.md"), "utf8")).toBe("new");
    writeFileSync(join(cwd, "report.md"), "mine");
    const refused = await place.run(["artifact", "get", id], { cwd });
    expect(refused).toMatchObject({
      code: 2,
      stdout: "",
      stderr: expect.stringContaining("--force") as string,
    });
    expect(readFileSync(join(cwd, "report.md"), "utf8")).toBe("mine");
    expect(await place.json<object>(["artifact", "get", id, "--force"], { cwd })).toEqual({
      id,
      path: "report.md",
      size_bytes: 3,
      sha256: sha256("new"),
    });
    expect(readFileSync(join(cwd, "report.md"), "utf8")).toBe("new");
    symlinkSync("report.md", join(cwd, "link"));
    mkdirSync(join(cwd, "directory"));
    for (const output of ["link", "directory", "no/such/folder"])
      expect((await place.run(["artifact", "get", id, "-o", output, "--force"], { cwd })).code).toBe(2);
    expect(readdirSync(cwd).toSorted()).toEqual(["directory", "link", "report.md"]);
  });

  test("a hostile name neither leaves the directory nor reaches the terminal", async () => {
    const names = [
      "../../x",
      "/etc/x",
      "..",
      `${ESCAPE}[2J${ESCAPE}]0;owned\u0007.txt`,
      "-rf",
      ".bashrc",
      "a\\..\\x",
    ];
    const files = ["x", "x", "artifact", "[2J]0;owned.txt", "rf", "bashrc", "x"];
    for (const [index, name] of names.entries()) {
      const id = await put(name, `--name=${name}`);
      expect((await show(id)).name).toBe(name);
      const cwd = newFolder();
      expect(await place.output(["artifact", "get", id], { cwd })).toBe(files[index] ?? "");
      expect(readdirSync(cwd)).toEqual([files[index] ?? ""]);
    }
    const id = await put("x", "--name", names[3] ?? "");
    for (const words of [
      ["artifact", "list", "--all"],
      ["artifact", "show", id],
      ["artifact", "seal", id],
    ]) {
      const { stdout, stderr } = await place.run(words);
      expect(stdout + stderr).toContain("owned");
      expect(stdout + stderr).not.toMatch(/(?!\n)\p{Cc}/u);
    }
    expect((await put("x", "--name", names[3] ?? "")).length).toBe(36);
    expect(existsSync(join(place.cwd, "x"))).toBe(false);
  });

  test("lists filter, sort and end where they are told to", async () => {
    const other = await place.output(["construct", "create", "other"]);
    const session = await place.output(["session", "create", other]);
    const sizes = [30, 10, 20];
    for (const [index, size] of sizes.entries())
      await place.output(
        [
          "artifact",
          "put",
          "-",
          "--construct",
          other,
          "--name",
          `n${index}`,
          "--type",
          index === 0 ? "log" : "diff",
          "--session",
          session,
        ],
        { stdin: "x".repeat(size) },
      );
    const names = async (...words: string[]): Promise<string> => {
      const { stdout } = await place.run(["artifact", "list", "--construct", other, ...words, "--json"]);
      const lines = stdout.split("\n").filter((line) => line !== "");
      return lines.map((line) => (JSON.parse(line) as Shown).name).join(" ");
    };
    expect(await names()).toBe("n2 n1 n0");
    expect(await names("--sort", "size", "--order", "asc")).toBe("n1 n2 n0");
    expect(await names("--sort", "name", "--order", "asc", "--all")).toBe("n0 n1 n2");
    expect(await names("--type", "log")).toBe("n0");
    expect(await names("--type", "log", "--type", "diff", "--session", session)).toBe("n2 n1 n0");
    expect(await names("--name-prefix", "n1")).toBe("n1");
    expect(await names("--limit", "1")).toBe("n2");
    const table = await place.output([
      "artifact",
      "list",
      "--construct",
      other,
      "--construct",
      construct.slice(-12),
    ]);
    expect(table.split("\n")[0]).toMatch(/^id +type +name +size +stored +state +created$/);
    expect(table).toMatch(/ log +n0 +30 B +30 B +sealed +(?:now|\ds ago)$/m);
  });

  test("one that is open grows, shows its end, and is sealed", async () => {
    const id = await put("one\n", "--open", "--name", "build.log", "--type", "log");
    expect(await show(id)).toMatchObject({ state: "open", sha256: null, size_bytes: 4 });
    expect(await place.json<object>(["artifact", "append", id], { stdin: "two\nthree\n" })).toEqual({
      id,
      appended_bytes: 10,
      size_bytes: 14,
    });
    const file = join(place.cwd, "more");
    const more = Array.from({ length: 700 }, (_, index) => `line ${index}\n`).join("");
    writeFileSync(file, more);
    expect(await place.output(["artifact", "append", id, file])).toContain("appended");
    expect((await place.run(["artifact", "append", id], { stdin: "" })).stderr).toContain(
      "nothing to append",
    );
    expect((await place.output(["artifact", "tail", id])).split("\n")).toEqual(
      Array.from({ length: 10 }, (_, index) => `line ${690 + index}`),
    );
    expect(await place.output(["artifact", "tail", id, "-n", "0"])).toBe("");
    expect(`${await place.output(["artifact", "tail", id, "-n", "100000"])}\n`).toBe(
      `one\ntwo\nthree\n${more}`,
    );
    expect(await place.output(["artifact", "tail", id, "-n", "1", "--json"])).toBe(
      '{"line":703,"text":"line 699"}',
    );
    expect(`${await place.output(["artifact", "cat", id])}\n`).toBe(`one\ntwo\nthree\n${more}`);
    const sealed = await place.json<Shown>(["artifact", "seal", id]);
    expect(sealed).toMatchObject({ state: "sealed", sha256: sha256(`one\ntwo\nthree\n${more}`) });
    expect(await place.json<Shown>(["artifact", "seal", id])).toMatchObject({ sha256: sealed.sha256 });
    expect(await place.run(["artifact", "append", id], { stdin: "late" })).toMatchObject({
      code: 1,
      stdout: "",
    });
    expect(`${await place.output(["artifact", "tail", id, "-f", "-n", "2"])}\n`).toBe("line 698\nline 699\n");
    expect(`${await place.output(["artifact", "cat", id])}\n`).toBe(`one\ntwo\nthree\n${more}`);
  });

  test("a pipe larger than a request is appended whole, each request acknowledged", async () => {
    const id = await put("", "--open");
    const bytes = noise(2 * limit("cli_append_request_bytes") + 5);
    expect(await place.json<object>(["artifact", "append", id, "-"], { stdin: bytes })).toMatchObject({
      appended_bytes: bytes.byteLength,
    });
    await place.output(["artifact", "seal", id]);
    expect(await show(id)).toMatchObject({ sha256: sha256(bytes) });
  });

  test("lines of a pipe are stored while it is still open, and stay after Ctrl-C", async () => {
    const id = await put("", "--open");
    const child = place.start(["artifact", "append", id]);
    void child.stdin.write("first\n");
    void child.stdin.flush();
    if (way === "a server") await until(async () => (await show(id)).size_bytes === 6, "the first line");
    else await Bun.sleep(1_000);
    child.kill("SIGINT");
    expect(await child.exited).toBe(130);
    expect(await show(id)).toMatchObject({ size_bytes: 6 });
  });

  test("a put that is interrupted leaves nothing", async () => {
    const before = (await place.output(["artifact", "list", "--all", "--json"])).split("\n").length;
    const child = place.start(["artifact", "put", "-", "--construct", construct]);
    void child.stdin.write(noise(MIB));
    void child.stdin.flush();
    await Bun.sleep(700);
    child.kill("SIGINT");
    expect(await child.exited).toBe(130);
    expect((await place.output(["artifact", "list", "--all", "--json"])).split("\n")).toHaveLength(before);
    expect(
      (await place.json<{ temporary_files: string[] }>(["gc", "--dry-run", "--grace", "0"])).temporary_files,
    ).toEqual([]);
  });

  test("a long line is cut by tail, which says so", async () => {
    const id = await put(`${"x".repeat(limit("text_line_bytes") + 1)}\nshort\n`);
    const tailed = await place.run(["artifact", "tail", id]);
    expect(tailed.stdout).toBe(`${"x".repeat(limit("text_line_bytes"))}\nshort\n`);
    expect(tailed.stderr).toContain("cut");
  });

  test("a reader that leaves ends the command quietly", async () => {
    const id = await put("some words that fill a pipe\n".repeat(200_000));
    for (const words of [
      ["artifact", "cat", id],
      ["artifact", "tail", id, "-n", "200000"],
    ]) {
      const child = place.start(words);
      const reader = child.stdout.getReader();
      await reader.read();
      await reader.cancel();
      expect([words, await child.exited]).toEqual([words, 0]);
      expect(await new Response(child.stderr).text()).toBe("");
    }
  });

  test("what is not there is 3, what cannot be is 2", async () => {
    for (const words of [
      ["show", NOBODY],
      ["get", NOBODY],
      ["cat", NOBODY],
      ["tail", NOBODY],
      ["tail", NOBODY, "-f"],
      ["append", NOBODY],
      ["seal", NOBODY],
      ["delete", NOBODY],
      ["put", "-", "--construct", NOBODY],
      ["put", "-", "--construct", construct, "--session", NOBODY],
    ]) {
      const { code, stdout, stderr } = await place.run(["artifact", ...words, "--json"]);
      expect([words, code, stdout]).toEqual([words, 3, ""]);
      expect(JSON.parse(stderr)).toMatchObject({ code: "not_found" });
    }
    for (const words of [
      ["put", "/no/such/file", "--construct", construct],
      ["put", place.cwd, "--construct", construct],
      ["put", "-"],
      ["put", "-", "--construct", construct, "--metadata", "alone"],
      ["put", "-", "--construct", construct, "--type", "Two Words"],
      ["put", "-", "--construct", construct, "--entry-seq", "0"],
      ["append", NOBODY, "/no/such/file"],
      ["show", "not an id"],
      ["list", "--sort", "colour"],
    ]) {
      const { code, stdout } = await place.run(["artifact", ...words]);
      expect([words, code, stdout]).toEqual([words, 2, ""]);
    }
    expect((await place.run(["gc", "--grace", "soon"])).code).toBe(2);
  });

  test("what was deleted is gone, and its file with it after the grace", async () => {
    const bytes = noise(5_000);
    const id = await put(bytes, "--type", "doomed");
    expect(await place.json<object>(["artifact", "delete", id])).toEqual({ id, deleted: true });
    expect((await place.run(["artifact", "cat", id])).code).toBe(3);
    const file = (): boolean =>
      [...new Bun.Glob(`artifacts/**/${sha256(bytes)}*`).scanSync({ cwd: place.data_dir })].length > 0;
    await place.output(["gc"]);
    expect(file()).toBe(true);
    const report = await place.json<{ unreferenced_files: string[] }>(["gc", "--dry-run", "--grace", "0"]);
    expect(report).toMatchObject({ dry_run: true });
    expect(file()).toBe(true);
    // A row without a grace goes only when the clock has moved on.
    await Bun.sleep(5);
    expect(await place.output(["gc", "--grace", "0"])).toMatch(/^freed +\d/m);
    expect(file()).toBe(false);
  });

  test("gc names the artifacts whose file is missing, and ends with 5", async () => {
    const bytes = noise(5_000);
    const id = await put(bytes, "--name", `lost${ESCAPE}[2J`);
    const [path = ""] = new Bun.Glob(`artifacts/**/${sha256(bytes)}*`).scanSync({ cwd: place.data_dir });
    rmSync(join(place.data_dir, path));
    const told = await place.run(["gc"]);
    expect(told.code).toBe(5);
    expect(told.stdout).toContain(`${id}  lost`);
    expect(told.stdout).not.toContain(ESCAPE);
    const { code, stdout } = await place.run(["gc", "--dry-run", "--json"]);
    expect(code).toBe(5);
    expect(JSON.parse(stdout)).toMatchObject({ missing: [{ artifact_id: id }] });
    const cwd = newFolder();
    expect(await place.run(["artifact", "get", id, "-o", "f"], { cwd })).toMatchObject({
      code: 5,
      stdout: "",
    });
    expect(readdirSync(cwd)).toEqual([]);
    expect(await place.output(["artifact", "list", "--limit", "1"])).toContain("missing");
    await place.output(["artifact", "delete", id]);
    await Bun.sleep(5);
    expect((await place.run(["gc", "--grace", "0"])).code).toBe(0);
  });

  test("bytes that are not the artifact's are not saved: 5", async () => {
    const bytes = noise(5_000);
    const id = await put(bytes);
    const [path = ""] = new Bun.Glob(`artifacts/**/${sha256(bytes)}`).scanSync({ cwd: place.data_dir });
    bytes[7] = (bytes[7] ?? 0) ^ 1;
    writeFileSync(join(place.data_dir, path), bytes);
    const cwd = newFolder();
    expect(await place.run(["artifact", "get", id, "-o", "f"], { cwd })).toMatchObject({
      code: 5,
      stdout: "",
    });
    expect(readdirSync(cwd)).toEqual([]);
    expect((await place.run(["artifact", "cat", id])).code).toBe(5);
  });

  test("a terminal gets text without escapes, and nothing that is not text", async () => {
    const text = await put(`plain ${ESCAPE}[31mred${ESCAPE}]0;owned\u0007\r\nend\n`);
    for (const verb of ["cat", "tail"]) {
      const terminal = place.onTerminal(["artifact", verb, text], 100);
      expect(await terminal.ended).toBe(0);
      expect(terminal.text()).toContain("owned");
      expect(terminal.text().replaceAll("\r\n", "\n")).not.toMatch(/(?!\n)\p{Cc}/u);
    }
    const binary = await put(noise(1_000));
    const refused = place.onTerminal(["artifact", "cat", binary], 200);
    expect(await refused.ended).toBe(2);
    expect(refused.text()).toContain("not text");
    expect(refused.text()).toContain(`synthetic artifact get ${binary}`);
  });
});

describe("a log that is followed", () => {
  test("comes line by line until it is sealed", async () => {
    const server = await startServer({ data_dir: place.data_dir });
    const id = await put("zero\none\n", "--open");
    const child = place.start(["artifact", "tail", id, "-f", "-n", "1", "--json"]);
    let text = "";
    const read = (async () => {
      for await (const piece of child.stdout) text += new TextDecoder().decode(piece);
    })();
    await until(() => text !== "", "the line before");
    await place.output(["artifact", "append", id], { stdin: "two\nthr" });
    await until(() => text.includes("two"), "the next line");
    expect(text).not.toContain("thr");
    await place.output(["artifact", "append", id], { stdin: "ee\nfour" });
    await place.output(["artifact", "seal", id]);
    expect(await child.exited).toBe(0);
    await read;
    expect(
      text
        .trimEnd()
        .split("\n")
        .map((line) => (JSON.parse(line) as { text: string }).text),
    ).toEqual(["one", "two", "three", "four"]);
    await server.stop();
  });

  test("is followed no longer when it is deleted: 3", async () => {
    const server = await startServer({ data_dir: place.data_dir });
    const id = await put("one\n", "--open");
    const child = place.start(["artifact", "tail", id, "-f"]);
    void child.stdin.end();
    await child.stdout.getReader().read();
    await place.output(["artifact", "delete", id]);
    expect(await child.exited).toBe(3);
    await server.stop();
  });

  test("without a server ends where it ends, and says why", async () => {
    const id = await put("one\n", "--open");
    const tailed = await place.run(["artifact", "tail", id, "-f"]);
    expect(tailed).toMatchObject({
      code: 0,
      stdout: "one\n",
      stderr: expect.stringContaining("No server runs") as string,
    });
  });
});

describe("a connection that is cut", () => {
  let server: Server;
  beforeAll(async () => {
    server = await startServer({ data_dir: place.data_dir });
  });
  afterAll(async () => {
    await server.stop();
  });

  /** Passes bytes on, and cuts the connection each time one direction has carried so many. */
  function cuttingProxy(cut: { up_bytes?: number; down_bytes?: number }) {
    const port = Number(new URL(server.url).port);
    let cuts = 0;
    const pairs = new Map<Bun.Socket, { upstream: Promise<Bun.Socket>; up: number }>();
    const send = (socket: Bun.Socket, queue: Uint8Array[]): void => {
      for (let first = queue[0]; first !== undefined; first = queue[0]) {
        const taken = socket.write(first);
        if (taken < first.byteLength) {
          queue[0] = first.subarray(Math.max(0, taken));
          return;
        }
        void queue.shift();
      }
    };
    const queues = new WeakMap<Bun.Socket, Uint8Array[]>();
    const pass = (socket: Bun.Socket, data: Uint8Array): void => {
      const queue = queues.get(socket) ?? [];
      queues.set(socket, queue);
      queue.push(Uint8Array.from(data));
      if (queue.length === 1) send(socket, queue);
    };
    const end = (socket: Bun.Socket): void => {
      const pair = pairs.get(socket);
      pairs.delete(socket);
      socket.terminate();
      void pair?.upstream.then((upstream) => upstream.terminate());
    };
    const listener = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        open(socket) {
          let down = 0;
          const upstream = Bun.connect({
            hostname: "127.0.0.1",
            port,
            socket: {
              data(_, data) {
                down += data.byteLength;
                pass(socket, data);
                if (down < (cut.down_bytes ?? Infinity) || cuts >= 3) return;
                cuts += 1;
                end(socket);
              },
              drain: (self) => send(self, queues.get(self) ?? []),
              close: () => void socket.end(),
            },
          });
          pairs.set(socket, { upstream, up: 0 });
        },
        data(socket, data) {
          const pair = pairs.get(socket);
          if (pair === undefined) return;
          pair.up += data.byteLength;
          const copy = Uint8Array.from(data);
          void pair.upstream.then((upstream) => pass(upstream, copy));
          if (pair.up < (cut.up_bytes ?? Infinity) || cuts >= 3) return;
          cuts += 1;
          end(socket);
        },
        drain: (socket) => send(socket, queues.get(socket) ?? []),
        close: (socket) => void pairs.get(socket)?.upstream.then((upstream) => upstream.end()),
      },
    });
    return {
      env: { SYNTHETIC_URL: `http://127.0.0.1:${listener.port}`, SYNTHETIC_TOKEN: server.token },
      cuts: () => cuts,
      stop: () => listener.stop(true),
    };
  }

  test("append asks how far it came and sends the rest, each byte once", async () => {
    const id = await put("before", "--open");
    const bytes = noise(9 * MIB);
    const proxy = cuttingProxy({ up_bytes: 2 * MIB });
    const appended = await place.run(["artifact", "append", id, "--json"], { stdin: bytes, env: proxy.env });
    proxy.stop();
    expect(appended).toMatchObject({ code: 0, stderr: expect.stringContaining("Trying again") as string });
    expect(JSON.parse(appended.stdout)).toMatchObject({ appended_bytes: bytes.byteLength });
    expect(proxy.cuts()).toBe(3);
    await place.output(["artifact", "seal", id]);
    expect(await show(id)).toMatchObject({ sha256: sha256(Buffer.concat([Buffer.from("before"), bytes])) });
  });

  test("get goes on where it was", async () => {
    const bytes = noise(9 * MIB);
    const id = await put(bytes, "--name", "large");
    const proxy = cuttingProxy({ down_bytes: 2 * MIB });
    const cwd = newFolder();
    expect(await place.run(["artifact", "get", id], { cwd, env: proxy.env })).toMatchObject({
      code: 0,
      stdout: "large\n",
    });
    proxy.stop();
    expect(proxy.cuts()).toBe(3);
    expect(sha256(readFileSync(join(cwd, "large")))).toBe(sha256(bytes));
  });

  test("tail goes on behind the last line", async () => {
    const lines = Array.from({ length: 5_000 }, (_, index) => `line ${index} ${"x".repeat(100)}\n`).join("");
    const id = await put(lines, "--open");
    const proxy = cuttingProxy({ down_bytes: 100_000 });
    const child = place.start(["artifact", "tail", id, "-f", "-n", "5000"], { env: proxy.env });
    const text = new Response(child.stdout).text();
    await until(() => proxy.cuts() === 3, "three cuts");
    await place.output(["artifact", "append", id], { stdin: "last\n" });
    await place.output(["artifact", "seal", id]);
    expect(await child.exited).toBe(0);
    proxy.stop();
    expect(await text).toBe(`${lines}last\n`);
  });

  test("two writers at once lose nothing", async () => {
    const id = await put("", "--open");
    await Promise.all(
      ["a", "b"].map((letter) =>
        place.output(["artifact", "append", id], { stdin: letter.repeat(20 * MIB) }),
      ),
    );
    const text = Buffer.from(await bytesOf(["artifact", "cat", id])).toString();
    expect(text.length).toBe(40 * MIB);
    expect(text.replaceAll("a", "").length).toBe(20 * MIB);
  });

  test("a put that cannot reach the server is 6", async () => {
    const env = { SYNTHETIC_TOKEN: "t".repeat(32), SYNTHETIC_URL: "http://127.0.0.1:1" };
    expect((await place.run(["artifact", "put", "-", "--construct", construct], { env })).code).toBe(6);
  });
});

describe("the pieces of it", () => {
  async function* pieces(...parts: (string | Uint8Array)[]): AsyncGenerator<Uint8Array> {
    for (const part of parts) yield Buffer.from(part);
  }

  test("the sorts are those of the schema", () => {
    expect<readonly string[]>(ARTIFACT_SORTS).toEqual(SCHEMA_SORTS);
  });

  test("a file name has cli_file_name_bytes at most, in whole characters", () => {
    const most = limit("cli_file_name_bytes");
    expect(fileName("x".repeat(most))).toBe("x".repeat(most));
    expect(fileName("x".repeat(most + 1))).toBe("x".repeat(most));
    expect(fileName(`${"x".repeat(most - 1)}é`)).toBe("x".repeat(most - 1));
    expect(fileName("\u202egnp.exe")).toBe("gnp.exe");
    expect(fileName(" \u0007/ ..")).toBe("artifact");
  });

  test("text is the same however it is cut, and characters stay whole", async () => {
    const bytes = Buffer.from(`é\r\n${ESCAPE}[1m\r😀\r`);
    const shown = async (size: number): Promise<string> => {
      const parts: Uint8Array[] = [Buffer.from("-".repeat(limit("text_sample_bytes")))];
      for (let at = 0; at < bytes.byteLength; at += size) parts.push(bytes.subarray(at, at + size));
      return (await Array.fromAsync(shownText(pieces(...parts), NOBODY))).join("").replaceAll("-", "");
    };
    for (const size of [1, 2, 3, 100]) expect(await shown(size)).toBe("é\n␛[1m␍😀␍");
  });

  test("what begins as no text is refused before anything is given", async () => {
    for (const part of [Uint8Array.of(0x61, 0), Uint8Array.of(0xff, 0x61)])
      expect(async () => Array.fromAsync(shownText(pieces(part), NOBODY))).toThrow("not text");
    expect(await Array.fromAsync(shownText(pieces(Uint8Array.of(0x61, 0xc3)), NOBODY))).toContain("a");
  });

  test("groups are full, or end when it is quiet", async () => {
    const never = new AbortController().signal;
    const options = { group_bytes: 4, idle_ms: 20 };
    const sizes = async (source: AsyncIterable<Uint8Array>): Promise<number[]> =>
      (await Array.fromAsync(groupBytes(source, options, never))).map((group) => group.byteLength);
    expect(await sizes(pieces("abcdefghi", "j"))).toEqual([4, 4, 2]);
    expect(await sizes(pieces())).toEqual([]);
    async function* slow(): AsyncGenerator<Uint8Array> {
      yield Buffer.from("ab");
      await Bun.sleep(100);
      yield Buffer.from("c");
    }
    expect(await sizes(slow())).toEqual([2, 1]);
  });
});
