import { setTimeout as wait } from 'node:timers/promises';
import type { Sample } from '../src/cli/demo/metrics-page.ts';
import { readMetricsPage, sumOf } from '../src/cli/demo/metrics-page.ts';
import type { Mode } from '../src/policy/mode.ts';
import { diceOf } from './dice.ts';
import { SoakError } from './errors.ts';
import type { PodName } from './faults.ts';
import { podNames, servers } from './faults.ts';
import type { Undo } from './inflict.ts';
import type { SoakMesh } from './mesh.ts';
import { denyPolicy, harmlessPolicies, modePolicy, policyCount } from './policies.ts';

/*
 * Policies that change while the soak runs. Each of these resolves when its change is seen in the sidecars, and rejects when
 * it is not in time: a soak whose policies reach nobody would show nothing.
 */

export interface Reloads {
  readonly mesh: SoakMesh;
  /** Aborted when the load is over, however it ends: nothing is written or waited for any more. */
  readonly over: AbortSignal;
}

/** Hundreds of policies that refuse nobody, written anew again and again; `seed` decides which. */
export async function rewritePolicies(reloads: Reloads, seed: number): Promise<Undo> {
  const file = 'policies';
  const write = (round: number) => reloads.mesh.write(file, harmlessPolicies(diceOf(seed, file, round)));
  const stop = again(reloads, seed, write);
  await reached(reloads, 'policies', (page) => sumOf(page, 'remora_policy_objects') >= policyCount.least);
  return async () => {
    await stop();
    await reloads.mesh.write(file, []);
  };
}

/** PERMISSIVE and STRICT by turns. Taken back, everything is STRICT again: the next fault may be strangers. */
export async function switchModes(reloads: Reloads, seed: number): Promise<Undo> {
  const file = 'mode';
  const reachedBy = (mode: Mode) =>
    reached(reloads, `mode ${mode}`, (page) => sumOf(page, 'remora_mode_info', { port: '*', mode }) > 0);
  await reloads.mesh.write(file, [modePolicy('PERMISSIVE')]);
  await reachedBy('PERMISSIVE');
  const stop = again(reloads, seed, (round) =>
    reloads.mesh.write(file, [modePolicy(round % 2 === 0 ? 'STRICT' : 'PERMISSIVE')]),
  );
  return async () => {
    await stop();
    await reloads.mesh.write(file, []);
    await reachedBy('STRICT');
  };
}

/** In force when one of the pod's connections has been cut, and another refused; lifted when none is refused any more. */
export async function denyIdentity(reloads: Reloads, pod: PodName): Promise<Undo> {
  const file = 'deny';
  const before = await refusals(reloads);
  await reloads.mesh.write(file, [denyPolicy(pod)]);
  await until(reloads, `the DENY of ${pod} cuts and refuses nothing`, async () => {
    const now = await refusals(reloads);
    return now.denied > before.denied && now.cut > before.cut;
  });
  return async () => {
    await reloads.mesh.write(file, []);
    await until(reloads, `${pod} is still refused after its DENY`, async () => {
      const { denied } = await refusals(reloads);
      await pause(lookEveryMs, reloads.over);
      return (await refusals(reloads)).denied === denied;
    });
  };
}

/** Pauses between two writes. The registry is read when nothing has been written for 200 ms: some of them are never read. */
const pauseMs = { least: 50, most: 800 } as const;

/** Writes again and again, and returns what ends it. */
function again({ over }: Reloads, seed: number, write: (round: number) => Promise<void>): Undo {
  const stop = new AbortController();
  const signal = AbortSignal.any([over, stop.signal]);
  const dice = diceOf(seed, 'pauses');
  const running = (async () => {
    for (let round = 0; !signal.aborted; round++) {
      await write(round);
      await pause(dice.whole(pauseMs.least, pauseMs.most), signal);
    }
  })();
  // Whoever ends it hears of it.
  running.catch(() => undefined);
  return async () => {
    stop.abort();
    await running;
  };
}

/** Resolves when each sidecar has been seen in a state, one after the other: they may be in the middle of other faults. */
async function reached(reloads: Reloads, what: string, isSo: (page: readonly Sample[]) => boolean): Promise<void> {
  for (const pod of podNames) {
    const isThere = async () => isSo((await pageOf(reloads, pod)) ?? []);
    await until(reloads, `${what} did not reach ${pod}`, isThere, deadlinesMs.amongFaults);
  }
}

/** What the sidecars of servers have refused and cut by their policies so far. */
async function refusals(reloads: Reloads): Promise<{ readonly denied: number; readonly cut: number }> {
  const pages: (readonly Sample[])[] = [];
  for (const pod of servers) {
    await until(reloads, `the sidecar of ${pod} does not answer`, async () => {
      const page = await pageOf(reloads, pod);
      if (page !== undefined) pages.push(page);
      return page !== undefined;
    });
  }
  const sum = (name: string, reason: string) =>
    pages.reduce((total, page) => total + sumOf(page, name, { direction: 'inbound', reason }), 0);
  return {
    denied: sum('remora_connections_denied_total', 'policy_deny'),
    cut: sum('remora_connections_closed_total', 'policy_change'),
  };
}

/** Undefined while the sidecar does not answer, or has no policy. */
async function pageOf({ mesh }: Reloads, pod: PodName): Promise<readonly Sample[] | undefined> {
  const page = readMetricsPage((await mesh.metrics(pod)) ?? '');
  return page.some(({ name }) => name === 'remora_mode_info') ? page : undefined;
}

/** Longer than any fault that can keep a policy from a sidecar; and where there is none, on a busy machine. */
const deadlinesMs = { amongFaults: 60_000, alone: 15_000 } as const;
const lookEveryMs = 300;

/** Resolves when it is so, or when the load is over. */
async function until(
  { over }: Reloads,
  failure: string,
  isSo: () => Promise<boolean>,
  deadlineMs: number = deadlinesMs.alone,
): Promise<void> {
  const endMs = performance.now() + deadlineMs;
  while (!over.aborted && !(await isSo())) {
    if (performance.now() > endMs) throw new SoakError(`after ${deadlineMs / 1000} s ${failure}`);
    await pause(lookEveryMs, over);
  }
}

const pause = (ms: number, signal: AbortSignal) => wait(ms, undefined, { signal }).catch(() => undefined);
