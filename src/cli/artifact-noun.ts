/** What an artifact is on the command line: its fields, its columns, its facts. */
import { system_clock } from "../lib/clock.ts";
import type { Artifact, ArtifactSort } from "../schema/artifact.ts";
import { idColumn, metadataFact, textFact, timeFact } from "./columns.ts";
import type { Field } from "./fields.ts";
import { bytes, count, relativeTime } from "./format.ts";
import { type Noun, resolveId } from "./resource.ts";

/** Needed before the schema is loaded; a test compares them with it. */
export const ARTIFACT_SORTS = ["created", "name", "size"] as const satisfies readonly ArtifactSort[];

const MISSING = "missing";

function storedText({ stored_bytes }: Artifact): string {
  return stored_bytes === null ? MISSING : bytes(stored_bytes);
}

export const ARTIFACT_FIELDS: readonly Field[] = [
  {
    name: "id",
    flag: "--id <uuid>",
    description: "the id, for a put that can be repeated",
    form: "text",
    only: "create",
  },
  {
    name: "type",
    flag: "--type <word>",
    description: "a short word: diff, log, report, image; file if absent",
    form: "text",
  },
  {
    name: "name",
    flag: "--name <name>",
    description: "what it is called; the name of the file if absent",
    form: "text",
  },
  {
    name: "media_type",
    flag: "--media-type <type>",
    description: "what it is, for instance text/markdown",
    form: "text",
  },
  { name: "metadata", flag: "--metadata <key=value>", description: "a fact; repeatable", form: "map" },
];

export const ARTIFACT: Noun<Artifact> = {
  name: "artifact",
  path: "/v1/artifacts",
  fields: ARTIFACT_FIELDS,
  label: ({ name }) => `“${name}”`,
  resolve: (client, given) => resolveId(client, "/v1/artifacts", "artifact", given),
  columns: (cli) => {
    const { style } = cli.terminal;
    return [
      idColumn(cli),
      { title: "type", text: ({ type }) => type, min_columns: 4, may_go: true },
      { title: "name", text: ({ name }) => name, min_columns: 16 },
      { title: "size", text: ({ size_bytes }) => bytes(size_bytes), align: "right" },
      {
        title: "stored",
        text: storedText,
        paint: (text, { stored_bytes }) => (stored_bytes === null ? style.red(text) : text),
        align: "right",
        may_go: true,
      },
      {
        title: "state",
        text: ({ state }) => state,
        paint: (text, { state }) => (state === "open" ? style.green(text) : style.dim(text)),
      },
      {
        title: "created",
        text: ({ created_at_ms }) => relativeTime(created_at_ms, system_clock.now_ms()),
        paint: style.dim,
        may_go: true,
      },
    ];
  },
  facts: ({ terminal }, row) => [
    { name: "id", value: row.id },
    { name: "name", value: row.name },
    { name: "type", value: row.type },
    { name: "media type", value: row.media_type },
    {
      name: "state",
      value: row.state,
      paint: row.state === "open" ? terminal.style.green : terminal.style.dim,
    },
    { name: "size", value: `${bytes(row.size_bytes)}  (${count(row.size_bytes)} bytes)` },
    {
      name: "stored",
      value: row.encoding === "zstd" ? `${storedText(row)}, zstd` : storedText(row),
      ...(row.stored_bytes === null && { paint: terminal.style.red }),
    },
    ...textFact("sha256", row.sha256),
    { name: "construct", value: row.construct_id },
    ...textFact("session", row.session_id),
    ...textFact("entry", row.entry_seq === null ? null : count(row.entry_seq)),
    ...timeFact("created", row.created_at_ms),
    ...timeFact("updated", row.updated_at_ms),
    { name: "revision", value: String(row.revision) },
    ...metadataFact(row.metadata),
  ],
};
