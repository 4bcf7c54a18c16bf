import { parseDate, timestamp } from '../../clock.ts';
import type { ShownEndpointFacts, ShownLately, ShownVerdict } from '../../explain-api.ts';
import { agoOf } from '../../phrases.ts';
import type { FailureRun } from '../failure-runs.ts';
import { shownEnded } from '../recent-failures.ts';
import { withRemedyOf } from './remedies.ts';

/** Longer ago it says nothing of now. And a single failure is soon none; milliseconds. */
const lastingMs = { several: 10 * 60_000, single: 60_000 } as const;

/** A run that still tells what to expect; undefined when there is none. */
export function latelyOf(run: FailureRun | undefined, nowMs: number): ShownLately | undefined {
  if (run === undefined) return undefined;
  const { failures, sinceMs, last } = run;
  if (nowMs - last.nowMs > (failures > 1 ? lastingMs.several : lastingMs.single)) return undefined;
  return { failures, since: timestamp(sinceMs), latest: withRemedyOf(shownEnded(last)) };
}

/** False where the registry names that endpoint no more, or expects another identity of it. */
export function isStillSo(
  { latest: { endpoint, expectedId } }: ShownLately,
  endpoints: readonly Pick<ShownEndpointFacts, 'address' | 'expectedId'>[],
): boolean {
  return endpoints.some(
    (one) =>
      (endpoint === undefined || one.address === endpoint) &&
      (expectedId === undefined || one.expectedId === expectedId),
  );
}

/** `verdict`, whose sentence begins with `attempt`, but with what happened to those before it. */
export function inViewOf(
  verdict: ShownVerdict,
  attempt: string,
  lately: ShownLately | undefined,
  nowMs: number,
): { readonly verdict: ShownVerdict; readonly lately?: ShownLately } {
  if (verdict.kind !== 'carried' || lately === undefined) return { verdict };
  return { verdict: { ...verdict, sentence: `${attempt}, but ${experience(lately, nowMs)}` }, lately };
}

function experience({ failures, since, latest }: ShownLately, nowMs: number): string {
  const { at, reason, happened, otherHappened } = latest;
  const latestAgo = agoOf(nowMs - parseDate(at));
  const which =
    failures === 1
      ? `the last one FAILED ${latestAgo}`
      : `the last ${failures} FAILED since ${since}, the latest ${latestAgo}`;
  const there = reason === 'peer_refused' && otherHappened !== undefined ? `: ${otherHappened}` : '';
  return `${which}: ${happened}${there}`;
}
