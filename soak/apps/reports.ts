import type { Symptom } from './channel.ts';

/** What applications print, a line of JSON each. */
export type Report =
  | { readonly type: 'ready' }
  /** How many connections of each kind are done since the last of these, and the bytes that were checked. */
  | { readonly type: 'progress'; readonly done: Readonly<Record<string, number>>; readonly bytes: number }
  /** The connections that a server has taken since the last of these, by id. */
  | { readonly type: 'taken'; readonly ids: readonly string[] }
  | ({ readonly type: 'failure' } & Failure);

/** A connection that did not go as it was meant to, as one end saw it. */
export interface Failure {
  /** The pod that saw it. */
  readonly at: string;
  readonly side: 'client' | 'server';
  /** The pod at the other end, or what was dialled; undefined for a server that never heard who it is. */
  readonly peer: string | undefined;
  readonly id: string | undefined;
  readonly kind: string | undefined;
  readonly symptom: Symptom;
  /** `open` before the client has heard of the server. */
  readonly phase: 'open' | 'carried';
  /** Of the clock that `nowMs` reads. */
  readonly atMs: number;
  readonly startedMs: number;
  readonly detail: string;
}

/** Milliseconds of the clock that all processes of a machine share, and that never goes backwards (CLOCK_MONOTONIC). */
export function nowMs(): number {
  return Number(process.hrtime.bigint() / 1000n) / 1000;
}

export function print(report: Report): void {
  process.stdout.write(`${JSON.stringify(report)}\n`);
}
