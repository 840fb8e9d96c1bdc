/** Colours of the terminal, or none. Statuses have the same colour wherever they appear. */

export type Paint = (text: string) => string;

export interface Style {
  bold: Paint;
  dim: Paint;
  red: Paint;
  green: Paint;
  yellow: Paint;
  blue: Paint;
  cyan: Paint;
  magenta: Paint;
}

export function createStyle(coloured: boolean): Style {
  const sgr =
    (on: number, off: number) =>
    (text: string): string =>
      coloured && text !== "" ? `\u001b[${on}m${text}\u001b[${off}m` : text;
  return {
    bold: sgr(1, 22),
    dim: sgr(2, 22),
    red: sgr(31, 39),
    green: sgr(32, 39),
    yellow: sgr(33, 39),
    blue: sgr(34, 39),
    cyan: sgr(36, 39),
    magenta: sgr(35, 39),
  };
}

const STATUS_COLOURS: Record<string, keyof Style> = {
  draft: "dim",
  provisioning: "blue",
  active: "green",
  awaiting_input: "yellow",
  waiting: "yellow",
  reviewing: "magenta",
  completed: "cyan",
  parked: "dim",
  archived: "dim",
  ended: "dim",
  error: "red",
};

/** A status in its colour; an unknown one as it is. */
export function statusText(status: string, style: Style): string {
  const colour = STATUS_COLOURS[status];
  return colour === undefined ? status : style[colour](status);
}
