/**
 * The rules of the house as a test: who may import whom, what stands only in one place, and what every file has.
 * Each rule is a function from text to the places that break it, and is first shown something that breaks it.
 */
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join, normalize } from "node:path";

const ROOT = join(import.meta.dir, "..");

interface Source {
  /** From the root of the repository, as `src/core/session.ts`. */
  path: string;
  text: string;
}

/** Gives one line for each place that breaks it: `path:line what is wrong`. */
type Rule = (source: Source) => string[];

function lineAt(text: string, index: number): number {
  return text.slice(0, index).split("\n").length;
}

function isComment(line: string): boolean {
  return /^\s*(?:\*|\/\*|\/\/)/.test(line);
}

// ------------------------------------------------------------------ who imports whom

interface Import {
  /** Names in braces; null when the module is taken whole (`* as`, `import()`, for its effect). */
  names: string[] | null;
  /** As it is written. */
  specifier: string;
  line: number;
}

const STATIC_IMPORT = /^(?:import|export)\s+([\w*{][^"';]*?)\s*from\s*["']([^"']+)["']/gm;
const WHOLE_IMPORT = /(?:^import\s*|\bimport\s*\(\s*|\bnew URL\(\s*)["']([^"']+)["']/gm;

function namesOf(clause: string): string[] | null {
  const braces = /\{([^}]*)\}/.exec(clause)?.[1];
  if (braces === undefined) return null;
  return braces
    .split(",")
    .map((part) =>
      (
        part
          .trim()
          .replace(/^type /, "")
          .split(" ")[0] ?? ""
      ).trim(),
    )
    .filter((name) => name !== "");
}

/** Imports by regular expression: the transpiler's scanner leaves out those of types (facts 33). */
function importsOf({ text }: Source): Import[] {
  const code = text.replaceAll(/^.*$/gm, (line) => (isComment(line) ? "" : line));
  const named = [...code.matchAll(STATIC_IMPORT)].map((found) => ({
    names: namesOf(found[1] ?? ""),
    specifier: found[2] ?? "",
    line: lineAt(code, found.index),
  }));
  const whole = [...code.matchAll(WHOLE_IMPORT)].map((found) => ({
    names: null,
    specifier: found[1] ?? "",
    line: lineAt(code, found.index),
  }));
  return [...named, ...whole];
}

/** The file that a relative import means, from the root; null for a package. */
function targetOf(source: Source, { specifier }: Import): string | null {
  return specifier.startsWith(".") ? normalize(join(dirname(source.path), specifier)) : null;
}

const WORDS = ["schema", "lib", "errors", "limits"];
const CONTRACTS = ["store/contract", "blob/contract"];
const DOOR = ["core", ...WORDS];

/** The table of architecture.md. `store/contract` is that one file, `store` all of it; own files are always allowed. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  limits: [],
  lib: ["errors", "limits"],
  schema: ["lib", "errors", "limits"],
  config: WORDS,
  store: WORDS,
  blob: WORDS,
  search: [...WORDS, "store/contract"],
  agents: WORDS,
  archive: [...WORDS, ...CONTRACTS],
  core: [...WORDS, ...CONTRACTS, "search/contract", "archive", "agents"],
  replica: [...WORDS, ...CONTRACTS],
  http: DOOR,
  mcp: DOOR,
  web: DOOR,
  cli: [...DOOR, "app", "config", "replica"],
  app: [...WORDS, "config", "store", "blob", "search", "archive", "agents", "core", "replica"],
};

/** Files outside src/ that become part of the binary, and the one place that takes them. */
const ASSETS: readonly [file: RegExp, taker: RegExp][] = [
  [/^migrations\/[\w]+\.sql$/, /^src\/store\/sqlite\/migrations\.ts$/],
  [/^litestream\.yml$/, /^src\/replica\//],
];

/** `core` for src/core/session.ts, `errors` for src/errors.ts. */
function layerOf(path: string): string {
  return (path.split("/")[1] ?? "").replace(/\.ts$/, "");
}

function mayImport(from: string, to: string): boolean {
  if (!to.startsWith("src/")) return ASSETS.some(([file, taker]) => file.test(to) && taker.test(from));
  const [own, target] = [layerOf(from), layerOf(to)];
  if (own === "main") return true;
  if (own === target) return basename(from) !== "contract.ts";
  const allowed = MAY_IMPORT[own] ?? [];
  return (
    allowed.includes(target) || (allowed.includes(`${target}/contract`) && to === `src/${target}/contract.ts`)
  );
}

const imports: Rule = (source) => {
  const unknown =
    layerOf(source.path) === "main" || Object.hasOwn(MAY_IMPORT, layerOf(source.path))
      ? []
      : [`${source.path}:1 has no place in the table of layers`];
  const wrong = importsOf(source).flatMap((each) => {
    const target = targetOf(source, each);
    return target === null || mayImport(source.path, target)
      ? []
      : [`${source.path}:${each.line} may not import ${target}`];
  });
  return [...unknown, ...wrong];
};

const OPENS_DATABASES = /^src\/(?:store\/sqlite\/|search\/|agents\/opencode)/;

const database: Rule = (source) =>
  importsOf(source)
    .filter(({ specifier }) => specifier === "bun:sqlite" && !OPENS_DATABASES.test(source.path))
    .map(({ line }) => `${source.path}:${line} opens databases`);

// ------------------------------------------------------------------ what stands only in one place

const transpiler = new Bun.Transpiler({ loader: "ts", deadCodeElimination: false });

/** A rule against a pattern in code (comments and types do not count) outside the files that may. */
function onlyIn(allowed: RegExp | null, pattern: RegExp, wrong: string): Rule {
  return ({ path, text }) => {
    if (allowed?.test(path) === true || !pattern.test(transpiler.transformSync(text))) return [];
    const lines = text
      .split("\n")
      .flatMap((line, index) => (!isComment(line) && pattern.test(line) ? [index + 1] : []));
    return (lines.length > 0 ? lines : [1]).map((line) => `${path}:${line} ${wrong}`);
  };
}

const sql = onlyIn(
  OPENS_DATABASES,
  /\bSELECT\s|\bINSERT INTO\b|\bUPDATE\s+\S+\s+SET\b|\bDELETE FROM\b/,
  "has SQL",
);
const environment = onlyIn(
  /^src\/config\.ts$/,
  /\b(?:process|Bun|import\.meta)\.env\b/,
  "reads the environment",
);
const clock = onlyIn(
  /^src\/lib\/(?:clock|ids)\.ts$/,
  /\bDate\.now\b|\bperformance\.now\b|\bnew Date\b(?!\(\s*[^)\s])|\brandomUUID|\bprocess\.hrtime\b|\bBun\.nanoseconds\b/,
  "asks the machine for the time or an id",
);
const console_only = onlyIn(/^src\/cli\//, /\bconsole\./, "writes to the console");
const exit = onlyIn(/^src\/main\.ts$/, /\bprocess\.exit\b/, "ends the process");
const transaction = onlyIn(/^src\/store\/sqlite\/writer\.ts$/, /\.transaction\(/, "begins a transaction");

// ------------------------------------------------------------------ what every file has, and has not

const docblock: Rule = ({ path, text }) =>
  text.startsWith("/**") ? [] : [`${path}:1 does not begin with what it is for`];

const todo: Rule = ({ path, text }) =>
  [...text.matchAll(/\b(?:TODO|FIXME|XXX)\b(?!\([^)\s][^)]*\))/g)].map(
    ({ index }) => `${path}:${lineAt(text, index)} leaves work without (a reason)`,
  );

const default_export: Rule = ({ path, text }) =>
  [...text.matchAll(/^\s*export (?:default\b|\{[^}]*\bas default\b)/gm)].map(
    ({ index }) => `${path}:${lineAt(text, index)} exports a default`,
  );

// ------------------------------------------------------------------ dead exports

interface Exported {
  name: string;
  is_type: boolean;
  line: number;
}

function exportsOf({ text }: Source): Exported[] {
  const declared = [
    ...text.matchAll(
      /^export (?:declare )?(?:async )?(function\*?|const|let|class|interface|type|enum) (\w+)/gm,
    ),
  ];
  const listed = [...text.matchAll(/^export (?:type )?\{([^}]*)\}/gm)];
  return [
    ...declared.map((found) => ({
      name: found[2] ?? "",
      is_type: ["interface", "type"].includes(found[1] ?? ""),
      line: lineAt(text, found.index),
    })),
    ...listed.flatMap((found) =>
      (found[1] ?? "").split(",").flatMap((part) => {
        const name = part.trim().split(" ").at(-1) ?? "";
        return name === "" ? [] : [{ name, is_type: false, line: lineAt(text, found.index) }];
      }),
    ),
  ];
}

function mentions(text: string, name: string): number {
  return [...text.matchAll(new RegExp(`\\b${name}\\b`, "g"))].length;
}

/**
 * Exported names that no other file takes. A type may be exported for what its own file says with it; a module that
 * is taken whole has the names in use that its taker mentions.
 */
function deadExports(sources: readonly Source[], users: readonly Source[]): string[] {
  const taken = new Set<string>();
  const takers = new Map<string, string[]>();
  for (const user of users) {
    for (const each of importsOf(user)) {
      const target = targetOf(user, each);
      if (target === null || target === user.path) continue;
      if (each.names === null) takers.set(target, [...(takers.get(target) ?? []), user.text]);
      for (const name of each.names ?? []) taken.add(`${target} ${name}`);
    }
  }
  const isDead = (source: Source, { name, is_type }: Exported): boolean =>
    !taken.has(`${source.path} ${name}`) &&
    !(takers.get(source.path) ?? []).some((text) => mentions(text, name) > 0) &&
    !(is_type && mentions(source.text, name) > 1);
  return sources.flatMap((source) =>
    exportsOf(source)
      .filter((each) => isDead(source, each))
      .map(({ name, line }) => `${source.path}:${line} exports ${name}, which nobody takes`),
  );
}

// ------------------------------------------------------------------ migrations

function unusedMigrations(files: readonly string[], list: string): string[] {
  return files
    .filter((file) => !new RegExp(`^import .*/migrations/${RegExp.escape(file)}"`, "m").test(list))
    .map((file) => `migrations/${file}:1 is not imported`);
}

const CONSTRAINT = /^(?:PRIMARY KEY|UNIQUE|FOREIGN KEY|CHECK|CONSTRAINT)\b/;

/** Columns whose definition, which may go over several lines, has no `--` comment. */
const column_comments: Rule = ({ path, text }) => {
  const wrong: string[] = [];
  let depth = 0;
  let column: { line: number; text: string } | null = null;
  for (const [index, line] of text.split("\n").entries()) {
    const code = line
      .replace(/--.*$/, "")
      .replaceAll(/'[^']*'/g, "''")
      .trimEnd();
    if (depth === 0 && !/^CREATE TABLE\b/.test(code)) continue;
    if (depth === 1 && column === null && /^\s+\w/.test(code) && !CONSTRAINT.test(code.trim()))
      column = { line: index + 1, text: "" };
    if (column !== null) column.text += line;
    depth += code.split("(").length - code.split(")").length;
    const is_over =
      depth === 0 ||
      (depth === 1 && (code.endsWith(",") || /^\s*\)/.test(text.split("\n")[index + 1] ?? "")));
    if (column === null || !is_over) continue;
    if (!column.text.includes("--")) wrong.push(`${path}:${column.line} has a column without a comment`);
    column = null;
  }
  return wrong;
};

// ------------------------------------------------------------------ the tree

function read(pattern: string): Source[] {
  return [...new Bun.Glob(pattern).scanSync({ cwd: ROOT })]
    .toSorted()
    .map((path) => ({ path, text: readFileSync(join(ROOT, path), "utf8") }));
}

const EVERY_FILE = read("src/**/*.ts");
const SOURCES = EVERY_FILE.filter(({ path }) => !path.endsWith(".d.ts"));
const MIGRATIONS = existsSync(join(ROOT, "migrations"))
  ? readdirSync(join(ROOT, "migrations"))
      .filter((file) => file.endsWith(".sql"))
      .toSorted()
  : [];

function planted(path: string, ...lines: string[]): Source {
  return { path, text: lines.join("\n") };
}

/** The rules on single files: what keeps them, what breaks them and how often. */
const RULES: readonly {
  title: string;
  rule: Rule;
  files: readonly Source[];
  good: readonly Source[];
  bad: readonly Source[];
}[] = [
  {
    title: "every file imports only what its layer may",
    rule: imports,
    files: SOURCES,
    good: [
      planted(
        "src/core/a.ts",
        'import { x } from "../store/contract.ts";',
        'import { y } from "./b.ts";',
        ' * import { z } from "../http/c.ts";',
      ),
      planted("src/main.ts", 'import { run } from "./cli/run.ts";', 'await import("./http/door.ts");'),
      planted(
        "src/store/sqlite/migrations.ts",
        'import one from "../../../migrations/0001_one.sql" with { type: "text" };',
      ),
    ],
    bad: [
      planted("src/core/a.ts", 'import { x } from "../store/sqlite/store.ts";'),
      planted("src/core/a.ts", "import {", "  type X,", "  y,", '} from "../http/door.ts";'),
      planted("src/lib/a.ts", 'export type { X } from "../schema/common.ts";'),
      planted("src/http/a.ts", 'const x = await import("../store/contract.ts");'),
      planted("src/cli/a.ts", 'import "../http/door.ts";'),
      planted("src/store/contract.ts", 'import type { X } from "./sqlite/store.ts";'),
      planted("src/app.ts", 'new Worker(new URL("./http/worker.ts", import.meta.url));'),
      planted("src/core/a.ts", 'import sql from "../../migrations/0001_store.sql" with { type: "text" };'),
      planted("src/helpers/a.ts", "export const x = 1;"),
    ],
  },
  {
    title: "databases are opened only in the store, the search and one reader",
    rule: database,
    files: SOURCES,
    good: [
      planted("src/store/sqlite/a.ts", 'import { Database } from "bun:sqlite";'),
      planted("src/agents/opencode.ts", 'import { Database } from "bun:sqlite";'),
    ],
    bad: [
      planted("src/core/a.ts", 'import type { Database } from "bun:sqlite";'),
      planted("src/store/contract.ts", 'import { Database } from "bun:sqlite";'),
    ],
  },
  {
    title: "SQL stands only in the store, the search and one reader",
    rule: sql,
    files: SOURCES,
    good: [
      planted("src/search/a.ts", 'const A = "SELECT 1";'),
      planted("src/core/a.ts", "// SELECT 1", 'const a = "select one";'),
    ],
    bad: [
      planted("src/core/a.ts", "const A = `", "  SELECT id", "  FROM session`;"),
      planted("src/http/a.ts", 'const A = "INSERT INTO event VALUES (1)";'),
      planted("src/cli/a.ts", "const A = `UPDATE session SET title = ''`;"),
      planted("src/app.ts", "const A = 'DELETE FROM entry';"),
    ],
  },
  {
    title: "the environment is read only in config.ts",
    rule: environment,
    files: SOURCES,
    good: [
      planted("src/config.ts", "const a = process.env;"),
      planted("src/core/a.ts", "/** Not process.env. */"),
    ],
    bad: [
      planted("src/app.ts", 'const a = process.env["HOME"];'),
      planted("src/app.ts", "const a = Bun.env;"),
    ],
  },
  {
    title: "the time and ids come only through lib/clock.ts and lib/ids.ts",
    rule: clock,
    files: SOURCES,
    good: [
      planted("src/lib/clock.ts", "const a = Date.now();"),
      planted("src/core/a.ts", "const a = new Date(clock.now_ms());"),
    ],
    bad: [
      "Date.now()",
      "performance.now()",
      "new Date()",
      "new Date",
      "crypto.randomUUID()",
      "Bun.randomUUIDv7()",
    ].map((code) => planted("src/core/a.ts", `const a = ${code};`)),
  },
  {
    title: "only the command line writes to the console",
    rule: console_only,
    files: SOURCES,
    good: [planted("src/cli/a.ts", 'console.log("x");')],
    bad: [planted("src/core/a.ts", 'console.error("x");')],
  },
  {
    title: "only main.ts ends the process",
    rule: exit,
    files: SOURCES,
    good: [planted("src/main.ts", "process.exit(0);"), planted("src/cli/a.ts", "process.exitCode = 1;")],
    bad: [planted("src/cli/a.ts", "process.exit(1);"), planted("src/app.ts", "const end = process.exit;")],
  },
  {
    title: "transactions begin only in the writer",
    rule: transaction,
    files: SOURCES,
    good: [planted("src/store/sqlite/writer.ts", "db.transaction(work);")],
    bad: [planted("src/store/sqlite/session.ts", "db.transaction(work);")],
  },
  {
    title: "every file begins with what it is for",
    rule: docblock,
    files: EVERY_FILE,
    good: [planted("src/a.ts", "/** One job. */")],
    bad: [
      planted("src/a.ts", "import x from 'y';", "/** Late. */"),
      planted("src/a.ts", "// Not a docblock."),
    ],
  },
  {
    title: "work that is left has a reason",
    rule: todo,
    files: EVERY_FILE,
    good: [planted("src/a.ts", "// TODO(waits for the upstream fix): simplify")],
    bad: [planted("src/a.ts", "// TODO: simplify"), planted("src/a.ts", "// FIXME()")],
  },
  {
    title: "nothing is exported as default",
    rule: default_export,
    files: SOURCES,
    good: [planted("src/a.ts", "export const a = 1;")],
    bad: [planted("src/a.ts", "export default 1;"), planted("src/a.ts", "export { a as default };")],
  },
  {
    title: "every column of a migration has a comment",
    rule: column_comments,
    files: read("migrations/*.sql"),
    good: [
      planted(
        "m.sql",
        "CREATE TABLE a (",
        "  b TEXT CHECK (b IN ('x,', --",
        "    'y')), -- either",
        "  c INTEGER, -- how many",
        "  PRIMARY KEY (b, c)",
        ") STRICT;",
      ),
      planted("m.sql", "CREATE INDEX a ON b (", "  c", ");"),
    ],
    bad: [
      planted("m.sql", "CREATE TABLE a (", "  b TEXT,", "  c TEXT -- said", ");"),
      planted("m.sql", "CREATE TABLE a (", "  b TEXT, -- said", "  c TEXT", ") STRICT;"),
      planted("m.sql", "CREATE TABLE a (", "  b TEXT CHECK (b IN ('x',", "    'y'))", ") STRICT;"),
    ],
  },
];

describe.each(RULES.map((each) => [each.title, each] as const))(
  "%s",
  (_title, { rule, files, good, bad }) => {
    test("the rule lets good code pass and finds what breaks it", () => {
      expect(good.flatMap(rule)).toEqual([]);
      expect(bad.filter((source) => rule(source).length !== 1)).toEqual([]);
    });
    test("the tree keeps it", () => {
      expect(files.flatMap(rule)).toEqual([]);
    });
  },
);

describe("what is exported is taken somewhere", () => {
  const module = planted(
    "src/lib/a.ts",
    "export const used = 1;",
    "export function dead() {}",
    "export interface Dead {}",
    "export type Said = 1;",
    "const x: Said = 1;",
    "export { x as listed };",
  );

  test("the rule finds what nobody takes", () => {
    const user = planted(
      "test/a.test.ts",
      "import {",
      "  used,",
      "  type Other,",
      '} from "../src/lib/a.ts";',
      "dead();",
    );
    expect(deadExports([module], [module, user])).toEqual([
      "src/lib/a.ts:2 exports dead, which nobody takes",
      "src/lib/a.ts:3 exports Dead, which nobody takes",
      "src/lib/a.ts:6 exports listed, which nobody takes",
    ]);
  });
  test("a module that is taken whole lends the names that are mentioned", () => {
    const user = planted(
      "src/core/a.ts",
      'const { used, dead } = await import("../lib/a.ts");',
      'type D = import("../lib/a.ts").Dead;',
    );
    expect(deadExports([module], [user])).toEqual(["src/lib/a.ts:6 exports listed, which nobody takes"]);
  });
  test("the tree keeps it", () => {
    expect(
      deadExports(SOURCES, [...EVERY_FILE, ...read("test/**/*.ts"), ...read("scripts/**/*.ts")]),
    ).toEqual([]);
  });
});

describe("every migration is part of the program", () => {
  test("the rule finds one that is not imported", () => {
    const list =
      '// import b from "../../../migrations/b.sql"\nimport a from "../../../migrations/a.sql" with { type: "text" };';
    expect(unusedMigrations(["a.sql", "b.sql"], list)).toEqual(["migrations/b.sql:1 is not imported"]);
  });
  test("the tree keeps it", () => {
    const list = SOURCES.find(({ path }) => path === "src/store/sqlite/migrations.ts")?.text ?? "";
    expect(unusedMigrations(MIGRATIONS, list)).toEqual([]);
  });
});
