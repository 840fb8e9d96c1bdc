/** Text of others on a terminal: nothing in it may move the cursor, change colours or reorder the line. */

// C0 and C1 controls and DEL, but not tab and newline; the marks that reorder what is shown (Unicode TR 36,
// "Trojan Source"); the separators that some terminals take for a newline.
const UNSAFE = /(?![\t\n])[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;

function shown(character: string): string {
  const code = character.charCodeAt(0);
  // U+2400… are the pictures of the C0 controls.
  return code < 0x20 ? String.fromCharCode(0x2400 + code) : code === 0x7f ? "\u2421" : "\ufffd";
}

/** Several lines; tabs and newlines stay, a carriage return before a newline goes. */
export function safeText(text: string): string {
  return text.toWellFormed().replaceAll("\r\n", "\n").replace(UNSAFE, shown);
}

/** One line: newlines and tabs become spaces. */
export function safeLine(text: string): string {
  return safeText(text).replace(/[\n\t]+/g, " ");
}
