/**
 * Markup that is safe by construction: text is escaped wherever it is put in, only what was built here is
 * not.
 */

/** Built markup. */
export interface Html {
  readonly markup: string;
}

export type Child = Html | string | number | null | readonly Child[];

/** Markup that is written out in the program itself, never anything that came from outside. */
export function literal(markup: string): Html {
  return { markup };
}

function escaped(text: string): string {
  const markup = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  return markup.replaceAll('"', "&quot;");
}

function textOf(child: Child): string {
  if (child === null) return "";
  if (typeof child !== "object") return escaped(String(child));
  return "markup" in child ? child.markup : child.map(textOf).join("");
}

/** An element. An attribute that is true has no value, one that is false is left out. */
export function el(name: string, attributes: Record<string, string | boolean>, ...children: Child[]): Html {
  const written = Object.entries(attributes).map(([key, value]) =>
    value === false ? "" : value === true ? ` ${key}` : ` ${key}="${escaped(value)}"`,
  );
  return literal(`<${name}${written.join("")}>${children.map(textOf).join("")}</${name}>`);
}

/** Text in which what stands between backticks is code. */
export function inline(text: string): Child {
  return text.split("`").map((part, index) => (index % 2 === 1 ? el("code", {}, part) : part));
}
