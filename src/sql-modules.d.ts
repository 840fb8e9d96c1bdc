/** SQL files are imported as their text (`with { type: "text" }`) and so become part of a compiled binary. */
declare module "*.sql" {
  const text: string;
  // oxlint-disable-next-line import/no-default-export -- how a text module gives its text
  export default text;
}
