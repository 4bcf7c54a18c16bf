import type { Host } from '../../host.ts';
import { counted } from '../../phrases.ts';

/** Where `--watch` shows one look after the other. */
export interface WatchScreen {
  show(lines: readonly string[]): void;
}

const defaultRows = 24;
const defaultColumns = 80;
/** Control sequences of ECMA-48: to the first column of the first row; the rest of a row; the rest of the screen. */
const home = '\u001b[H';
const eraseRow = '\u001b[K';
const eraseBelow = '\u001b[J';

/**
 * On a terminal each look takes the place of the one before, and what does not fit its height is left out and counted:
 * lines that have scrolled away cannot be reached again. Anywhere else an empty line stands before each.
 */
export function createWatchScreen(output: Host['stdout']): WatchScreen {
  return {
    show(lines) {
      if (!output.isTTY) return void output.write(`\n${lines.map((line) => `${line}\n`).join('')}`);
      const { rows = defaultRows, columns = defaultColumns } = output;
      const shown = fitting(lines, rows, columns);
      output.write(`${home}${shown.map((line) => `${line}${eraseRow}\n`).join('')}${eraseBelow}`);
    },
  };
}

/** As many lines as fit above the row of the cursor; the last of them says how many do not. */
export function fitting(lines: readonly string[], rows: number, columns: number): readonly string[] {
  const room = Math.max(2, rows) - 1;
  const rowsOf = (line: string) => Math.max(1, Math.ceil(widthOf(line) / Math.max(1, columns)));
  let taken = 0;
  const kept = lines.findIndex((line) => {
    taken += rowsOf(line);
    return taken > room;
  });
  if (kept === -1) return lines;
  let count = kept;
  // The line that counts the others needs a row too.
  for (let used = taken - rowsOf(lines[kept] ?? ''); count > 0 && used >= room; count -= 1)
    used -= rowsOf(lines[count - 1] ?? '');
  return [...lines.slice(0, count), `and ${counted(lines.length - count, 'more line')}`.slice(0, columns)];
}

/** Columns of a terminal at most: letters beyond Latin may take two. */
function widthOf(line: string): number {
  let width = 0;
  for (const letter of line) width += letter <= '\u02ff' ? 1 : 2;
  return width;
}
