import type { Given, Origin } from './given.ts';
import { describeOrigin, shown } from './given.ts';
import type { Reading } from './kinds.ts';
import type { SettingsTable, ValuesOf } from './setting.ts';

export interface Settled<Table extends SettingsTable> {
  readonly values: ValuesOf<Table>;
  /** Where each value came from. */
  readonly origins: Readonly<Record<keyof Table & string, Origin>>;
  /** One sentence for each value that is not of its kind; the default stands in its place. */
  readonly problems: readonly string[];
}

/** `all` goes from the weakest place to the strongest. A value that is overridden is checked all the same. */
export function settle<Table extends SettingsTable>(
  table: Table,
  all: readonly Given<keyof Table & string>[],
): Settled<Table> {
  const values: Record<string, unknown> = {};
  const origins: Record<string, Origin> = {};
  for (const [name, { kind, default: value }] of Object.entries(table)) {
    values[`${name}${kind.suffix}`] = value;
    origins[name] = { kind: 'default' };
  }
  const problems: string[] = [];
  for (const { name, texts, origin } of all) {
    const { kind } = table[name] as Table[keyof Table];
    const reading = kind.read(texts);
    origins[name] = origin;
    if (reading.kind === 'value') values[`${name}${kind.suffix}`] = reading.value;
    else problems.push(`${name}=${problemOf(kind, reading, origin)}`);
  }
  return { values: values as ValuesOf<Table>, origins: origins as Settled<Table>['origins'], problems };
}

function problemOf(
  kind: SettingsTable[string]['kind'],
  { text, expected = kind.expected }: Extract<Reading<unknown>, { kind: 'bad' }>,
  origin: Origin,
): string {
  const meant = kind.suggest(text);
  const hint = meant === undefined ? '' : `; did you mean ${meant}?`;
  return `${shown(text)} from ${describeOrigin(origin)} is not ${kind.name}, expected ${expected}${hint}`;
}
