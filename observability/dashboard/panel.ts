/** A query of a panel; `legend` names a series of its result, with labels as `{{pod}}`. */
export interface Query {
  readonly expression: string;
  readonly legend: string;
}

/** From this value on, or from the lowest one on where it is null, a value has this colour. */
export interface Step {
  readonly from: number | null;
  readonly color: 'green' | 'orange' | 'red' | 'blue';
}

/** One picture of the dashboard. */
export interface Panel {
  readonly title: string;
  /** What it shows, what is good, and what to look at when it is not. */
  readonly description: string;
  /** `lines` over time; `number`, the last value; `states` over time, one lane for each series. */
  readonly kind: 'lines' | 'number' | 'states';
  /** As Grafana calls it. */
  readonly unit: 'short' | 's' | 'bytes' | 'Bps' | 'percentunit' | 'ops' | 'bool_on_off';
  readonly queries: readonly Query[];
  readonly steps?: readonly Step[];
  /** Why there may be no series in a mesh where all is well; a panel without it always has one. */
  readonly emptyBecause?: string;
}

/** Panels under one heading. */
export interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

/** Green below `warn`, red from `bad` on. */
export function badFrom(warn: number, bad: number): Step[] {
  const middle: Step[] = warn < bad ? [{ from: warn, color: 'orange' }] : [];
  return [{ from: null, color: 'green' }, ...middle, { from: bad, color: 'red' }];
}

/** Red below `bad`, green from `good` on. */
export function badBelow(bad: number, good: number): Step[] {
  const middle: Step[] = bad < good ? [{ from: bad, color: 'orange' }] : [];
  return [{ from: null, color: 'red' }, ...middle, { from: good, color: 'green' }];
}

/** For what is neither good nor bad. */
export const neutral: readonly Step[] = [{ from: null, color: 'blue' }];
