/**
 * JSON Schema of our zod schemas, for the OpenAPI document. Zod's own writer is used: the one of
 * @asteasolutions/zod-to-openapi gives `allOf [Instant, null]` for a nullable named schema, which nothing
 * satisfies, and leaves out `propertyNames` and required members of unknown type.
 */
import { z } from "zod";

export type JsonSchema = Record<string, unknown>;

const COMPONENTS = "#/components/schemas/";

/** A reference when the schema has a name, else the schema itself. */
export function schemaOf(schema: z.ZodType): JsonSchema {
  const id = z.globalRegistry.get(schema)?.id;
  if (id !== undefined) return { $ref: COMPONENTS + id };
  const { $schema: _dialect, ...own } = z.toJSONSchema(schema, { io: "input" });
  return own;
}

function referencesIn(value: unknown, found: Set<string>): void {
  if (typeof value !== "object" || value === null) return;
  for (const [name, member] of Object.entries(value)) {
    if (name === "$ref" && typeof member === "string" && member.startsWith(COMPONENTS))
      found.add(member.slice(COMPONENTS.length));
    else referencesIn(member, found);
  }
}

/** The named schemas that a document refers to, directly or through others, by name. */
export function componentSchemas(document: unknown): Record<string, JsonSchema> {
  const all: Record<string, JsonSchema> = z.toJSONSchema(z.globalRegistry, {
    uri: (id) => COMPONENTS + id,
    io: "input",
  }).schemas;
  const components: Record<string, JsonSchema> = {};
  const wanted = new Set<string>();
  referencesIn(document, wanted);
  // A set that grows while it is walked: each new name is visited in its turn.
  for (const name of wanted) {
    const { $schema: _dialect, $id: _id, ...own } = all[name] ?? {};
    components[name] = own;
    referencesIn(own, wanted);
  }
  return Object.fromEntries(Object.entries(components).sort(([a], [b]) => (a < b ? -1 : 1)));
}
