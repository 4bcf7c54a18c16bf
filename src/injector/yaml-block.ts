import { scalarText } from './yaml-scalar.ts';

/** How a document is laid out. */
export interface Layout {
  /** Columns from a mapping to a mapping inside it. */
  readonly mappingStep: number;
  /** Columns from a mapping to a sequence inside it; 0 where sequences are not indented. */
  readonly sequenceStep: number;
  readonly lineEnd: '\n' | '\r\n';
}

/** Whether a value takes lines of its own in block style; an empty collection does not. */
export function isBlock(value: unknown): value is object {
  return typeof value === 'object' && value !== null && Object.keys(value).length > 0;
}

/** The lines of a value in block style, not indented. */
export function blockLines(value: unknown, layout: Layout): string[] {
  if (!isBlock(value)) return [scalarText(value)];
  if (Array.isArray(value)) return value.flatMap((item) => itemLines(item, layout));
  return Object.entries(value).flatMap(([key, member]) => memberLines(key, member, layout));
}

/** An item of a sequence: the dash, and what belongs to it. */
export function itemLines(value: unknown, layout: Layout): string[] {
  return blockLines(value, layout).map((line, index) => `${index === 0 ? '- ' : '  '}${line}`);
}

/** A member of a mapping: its key, and what belongs to it. */
export function memberLines(key: string, value: unknown, layout: Layout): string[] {
  if (!isBlock(value)) return [`${scalarText(key)}: ${scalarText(value)}`];
  return [`${scalarText(key)}:`, ...indented(blockLines(value, layout), stepOf(value, layout))];
}

/** Columns from a key to the value below it. */
export function stepOf(value: unknown, { mappingStep, sequenceStep }: Layout): number {
  return Array.isArray(value) ? sequenceStep : mappingStep;
}

export function indented(lines: readonly string[], columns: number): string[] {
  return lines.map((line) => `${' '.repeat(columns)}${line}`);
}
