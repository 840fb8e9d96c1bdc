/** How the reference looks. Text only: the page loads nothing. */
export const DOCS_STYLE = `
:root {
  color-scheme: light dark;
  --ink: #1f2328;
  --soft: #59636e;
  --line: #d9dee4;
  --paper: #fff;
  --shade: #f6f8fa;
  --accent: #0b5cad;
  --get: #1a6b3c; --post: #0b5cad; --put: #8a5a00; --patch: #6b3fa0; --delete: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
  --ink: #e4e8ec;
  --soft: #9aa5b1;
  --line: #30363d;
  --paper: #0f1318;
  --shade: #171c23;
  --accent: #6cb2ff;
  --get: #5fce8c; --post: #6cb2ff; --put: #e0ae4f; --patch: #c09bf0; --delete: #ff8a80;
  }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body {
  margin: 0;
  color: var(--ink);
  background: var(--paper);
  font: 1rem/1.6 system-ui, sans-serif;
  display: grid;
  grid-template-columns: 17rem minmax(0, 54rem);
  gap: 3rem;
}
nav {
  position: sticky;
  top: 0;
  height: 100vh;
  overflow-y: auto;
  padding: 2rem 1rem 2rem 1.5rem;
  font-size: .875rem;
  border-right: 1px solid var(--line);
}
nav ul { list-style: none; margin: 0 0 1rem; padding: 0; }
nav li { display: flex; align-items: baseline; padding: .1rem 0; line-height: 1.4; }
nav strong { text-transform: capitalize; }
nav strong a { color: inherit; }
main { padding: 2rem 1.5rem 6rem 0; min-width: 0; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 1rem; }
h2 {
  margin: 3.5rem 0 .5rem;
  font-size: 1.5rem;
  text-transform: capitalize;
  border-bottom: 1px solid var(--line);
  padding-bottom: .3rem;
}
h3 { margin: 0; font-size: 1rem; font-weight: 600; }
p { margin: .5rem 0; max-width: 46rem; }
.soft { color: var(--soft); }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
code {
  font: .875em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace;
  background: var(--shade);
  padding: .1em .3em;
  border-radius: 4px;
  overflow-wrap: anywhere;
}
section { margin: 1.25rem 0; padding: 1rem 1.25rem; border: 1px solid var(--line); border-radius: 8px; }
section:target, tr:target, details:target { border-color: var(--accent); background: var(--shade); }
.route { display: flex; gap: .75rem; align-items: baseline; flex-wrap: wrap; margin-bottom: .25rem; }
.route code { background: none; padding: 0; font-size: .95rem; }
.method { font: 700 .75rem/1.5 ui-monospace, monospace; min-width: 3.5rem; }
nav .method { flex: none; font-size: .65rem; min-width: 3.2rem; }
.get { color: var(--get); }
.post { color: var(--post); }
.put { color: var(--put); }
.patch { color: var(--patch); }
.delete { color: var(--delete); }
details { margin: .5rem 0; }
summary { cursor: pointer; color: var(--soft); font-size: .9rem; }
details.schema { border-top: 1px solid var(--line); margin: 0; padding: .5rem 0; }
details.schema > summary { color: var(--ink); font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; margin: .5rem 0; }
th, td {
  text-align: left;
  vertical-align: top;
  padding: .35rem .75rem .35rem 0;
  border-top: 1px solid var(--line);
}
th { color: var(--soft); font-weight: 500; border-top: 0; }
td:first-child { white-space: nowrap; }
@media (max-width: 60rem) {
body { display: block; }
nav {
  position: static;
  height: auto;
  border: 0;
  padding: 1.5rem 1.5rem 0;
  display: flex;
  flex-wrap: wrap;
  gap: .25rem 1rem;
}
nav ul { display: none; }
nav strong a { color: var(--accent); }
main { padding: 1.5rem; }
td:first-child code { overflow-wrap: normal; }
}
@media print {
nav { display: none; }
body { display: block; }
}
`;
