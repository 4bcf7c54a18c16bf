/** One column of a table for a terminal. */
export interface Column<Row> {
  readonly title: string;
  /** Without control characters. */
  text(row: Row): string;
  readonly isNumber?: boolean;
  /** Texts may be shortened to this many characters; without it they are never. */
  readonly least?: number;
  /** Shortened at its end, and not in the middle. */
  readonly isSentence?: boolean;
}

const gap = '  ';

/**
 * Aligned lines, the titles first. Where they would be wider than `width`, the widest of the columns that may be shortened
 * gives way first; what cannot fit at all stays too wide.
 */
export function tableLines<Row>(rows: readonly Row[], columns: readonly Column<Row>[], width: number): string[] {
  const cells = [columns.map(({ title }) => title), ...rows.map((row) => columns.map(({ text }) => text(row)))];
  const widths = fitted(
    columns.map(({ title, least }, index) => {
      const natural = Math.max(...cells.map((line) => line[index]?.length ?? 0));
      return { natural, least: Math.min(natural, Math.max(least ?? natural, title.length)) };
    }),
    width - gap.length * (columns.length - 1),
  );
  return cells.map((line) =>
    line
      .map((cell, index) => {
        const { isNumber = false, isSentence = false } = columns[index] ?? {};
        const columnWidth = widths[index] ?? 0;
        const text = isSentence ? cut(cell, columnWidth) : shortened(cell, columnWidth);
        return isNumber ? text.padStart(columnWidth) : text.padEnd(columnWidth);
      })
      .join(gap)
      .trimEnd(),
  );
}

function fitted(columns: readonly { natural: number; least: number }[], width: number): readonly number[] {
  const widths = columns.map(({ natural }) => natural);
  for (let excess = widths.reduce((sum, one) => sum + one, 0) - width; excess > 0; excess -= 1) {
    const canGive = widths.map((one, index) => (one > (columns[index]?.least ?? one) ? one : 0));
    const widest = canGive.indexOf(Math.max(...canGive));
    if (canGive[widest] === 0) break;
    widths[widest] = (widths[widest] ?? 0) - 1;
  }
  return widths;
}

function cut(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`;
}

/** Cut in the middle, with more left of its end than of its beginning: the names of a mesh begin alike. */
export function shortened(text: string, width: number): string {
  if (text.length <= width) return text;
  const kept = Math.max(0, width - 1);
  const head = Math.floor(kept / 3);
  return `${text.slice(0, head)}…${text.slice(text.length - (kept - head))}`;
}
