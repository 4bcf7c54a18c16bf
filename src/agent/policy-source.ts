import type { Clock } from '../clock.ts';
import type { PolicyState } from '../control-api.ts';
import { prepareJudging } from '../policy/judge.ts';
import { prepareRegistered } from '../policy/registered.ts';
import { isLighterThan } from '../policy/weight.ts';
import type { Sources } from './sources.ts';

/** Whoever says what the policy is: the full state, undefined when it cannot be enforced. */
export interface ToldPolicy {
  policy(): PolicyState | undefined;
  subscribe(listener: { policyChanged(policy: PolicyState | undefined): void }): () => void;
}

export const policySourceLimits = {
  /** Rules and texts of a policy that is prepared at once: some milliseconds. */
  lightWeight: 2000,
  /** Ranges that ServiceEntries register, likewise. */
  lightRanges: 500,
  /** How long others wait while a heavier one is prepared. */
  sliceMs: 2,
} as const;
/** Steps of some microseconds between two looks at the clock. */
const stepsAtOnce = 32;

/**
 * What was told comes into force as soon as it is prepared to be judged by: at once, unless it is very large. Until then the one
 * before holds. One is prepared at a time, to its end, and then the newest that was told meanwhile: however often
 * policies come, they come into force, and none but the newest waits.
 */
export function createPolicySource(
  clock: Pick<Clock, 'monotonic'>,
  told: ToldPolicy,
): Sources['policy'] & { close(): void } {
  const listeners = new Set<(policy: PolicyState | undefined) => void>();
  let current: PolicyState | undefined;
  let preparing: { readonly policy: PolicyState; readonly steps: Iterator<void> } | undefined;
  let newest: PolicyState | undefined;

  const enforce = (policy: PolicyState | undefined) => {
    current = policy;
    for (const listener of [...listeners]) listener(policy);
  };

  const prepare = (policy: PolicyState) => {
    preparing = { policy, steps: stepsOf(policy) };
    setImmediate(goOn, preparing);
  };

  const goOn = (one: typeof preparing) => {
    // What was told meanwhile may have taken its place.
    if (one === undefined || one !== preparing) return;
    if (!isDoneWithin(clock, one.steps)) return void setImmediate(goOn, one);
    const next = newest;
    [preparing, newest] = [undefined, undefined];
    if (next !== undefined) prepare(next);
    enforce(one.policy);
  };

  const take = (policy: PolicyState | undefined) => {
    if (policy === undefined || isLight(policy)) {
      [preparing, newest] = [undefined, undefined];
      enforce(policy);
    } else if (preparing === undefined) prepare(policy);
    else newest = policy;
  };

  take(told.policy());
  const end = told.subscribe({ policyChanged: take });
  return {
    current: () => current,
    subscribe(listener) {
      listener(current);
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    close() {
      end();
      [preparing, newest] = [undefined, undefined];
    },
  };
}

function isLight({ authorization = [], registered = [] }: PolicyState): boolean {
  return (
    registered.length < policySourceLimits.lightRanges && isLighterThan(policySourceLimits.lightWeight, authorization)
  );
}

function* stepsOf(policy: PolicyState): Generator<void> {
  yield* prepareJudging(policy.authorization ?? []);
  yield* prepareRegistered(policy.registered ?? []);
}

function isDoneWithin(clock: Pick<Clock, 'monotonic'>, steps: Iterator<void>): boolean {
  const endsAt = clock.monotonic() + policySourceLimits.sliceMs;
  do {
    for (let step = 0; step < stepsAtOnce; step += 1) if (steps.next().done === true) return true;
  } while (clock.monotonic() < endsAt);
  return false;
}
