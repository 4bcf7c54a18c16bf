/** The values that a label may have: a closed list, what the settings name, or a set of bounded size. Never what a peer says. */
export type Label =
  | { readonly kind: 'closed'; readonly values: readonly string[] }
  | { readonly kind: 'given'; readonly what: string }
  /** `overflow` stands for all beyond `most`. Without it there cannot be more. */
  | { readonly kind: 'bounded'; readonly what: string; readonly most: number; readonly overflow?: string };

/** What is known of a metric before there is a value of it. The name is its key in the table of families. */
export interface Family {
  readonly type: 'counter' | 'gauge' | 'histogram';
  /** Half a sentence, without a full stop. */
  readonly help: string;
  /** In the order in which they are shown. */
  readonly labels?: Readonly<Record<string, Label>>;
  /** Upper bounds of a histogram; `+Inf` is added. */
  readonly buckets?: readonly number[];
  /** When there is no series, where that is not plain. */
  readonly absent?: string;
}

/** By name. A counter ends in `_total`; a name that has a unit ends in it, before `_total`. */
export type Families = Readonly<Record<string, Family>>;

export const closed = (...values: readonly string[]): Label => ({ kind: 'closed', values });

export const given = (what: string): Label => ({ kind: 'given', what });

export const bounded = (most: number, what: string, overflow?: string): Label => ({
  kind: 'bounded',
  what,
  most,
  ...(overflow !== undefined && { overflow }),
});

/** The base unit that the name ends in; undefined for what is counted and for what is 0 or 1. */
export function unitOf(name: string): 'seconds' | 'bytes' | undefined {
  const [, unit] = /_(seconds|bytes)(?:_total)?$/.exec(name) ?? [];
  return unit as ReturnType<typeof unitOf>;
}
