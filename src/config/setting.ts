import type { Kind } from './kinds.ts';

/** One row of the table of settings; its flag, environment variable and file key are made from its name. */
export interface Setting<T, Suffix extends string = string> {
  // biome-ignore lint/suspicious/noExplicitAny: a setting without a default adds undefined to the values of its kind
  readonly kind: Kind<any, Suffix>;
  /** Undefined: the setting is absent unless it is given. */
  readonly default: T;
  /** How the default is described when it depends on something else. */
  readonly defaultDoc?: string;
  /** One sentence: what it decides. */
  readonly does: string;
}

export function setting<T, Suffix extends string>(
  kind: Kind<T, Suffix>,
  defaultValue: T,
  does: string,
): Setting<T, Suffix> {
  return { kind, default: defaultValue, does };
}

/** A setting that has no value unless it is given; `defaultDoc` says what holds then. */
export function optional<T, Suffix extends string>(
  kind: Kind<T, Suffix>,
  defaultDoc: string,
  does: string,
): Setting<T | undefined, Suffix> {
  return { kind, default: undefined, defaultDoc, does };
}

export type SettingsTable = Readonly<Record<string, Setting<unknown>>>;

/** The values of a table, each under its name with its unit last. */
export type ValuesOf<Table extends SettingsTable> = {
  readonly [Name in keyof Table & string as Table[Name] extends Setting<unknown, infer Suffix>
    ? `${Name}${Suffix}`
    : never]: Table[Name]['default'];
};

/** `drainDeadline` → `drain-deadline`. */
export function flagOf(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** `drainDeadline` → `REMORA_DRAIN_DEADLINE`. */
export function variableOf(name: string): string {
  return `REMORA_${flagOf(name).replaceAll('-', '_').toUpperCase()}`;
}
