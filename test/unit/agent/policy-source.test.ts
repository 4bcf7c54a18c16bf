import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { createPolicySource } from '../../../src/agent/policy-source.ts';
import type { PolicyState } from '../../../src/control-api.ts';
import { prepareJudging } from '../../../src/policy/judge.ts';
import { prepareRegistered } from '../../../src/policy/registered.ts';

/** Each look at the clock takes a millisecond, so that a slice is a few steps long. */
function slowClock() {
  let nowMs = 0;
  return { monotonic: () => nowMs++ };
}

function large(name: string, rules = 1100): PolicyState {
  const id = (number: number) => `td/ns/${name}/sa/a-${number}`;
  const all = Array.from({ length: rules }, (_, number) => ({ from: [{ principals: [id(number)] }] }));
  return { mode: 'STRICT', modeSetBy: name, authorization: [{ name, action: 'ALLOW', rules: all }] };
}
const small = (name: string) => large(name, 3);

/** A source, what it says one after the other, and a way to tell it. */
function start(first?: PolicyState) {
  let policy = first;
  let listener: ((next: PolicyState | undefined) => void) | undefined;
  const source = createPolicySource(slowClock(), {
    policy: () => policy,
    subscribe({ policyChanged }) {
      listener = policyChanged;
      return () => {
        listener = undefined;
      };
    },
  });
  const said: (string | undefined)[] = [];
  source.subscribe((next) => void said.push(next?.modeSetBy));
  return {
    source,
    said,
    tell(next: PolicyState | undefined) {
      policy = next;
      listener?.(next);
    },
    /** Turns of the event loop until it is so. */
    async turnsUntil(isSo: () => boolean) {
      let turns = 0;
      for (; !isSo(); turns += 1) await turn();
      return turns;
    },
  };
}

/** As many ranges as ServiceEntries may register. */
function wide(name: string): PolicyState {
  const range = (number: number) => ({ cidr: `10.${number >> 8}.${number & 255}.0/24`, ports: [443] });
  return { mode: 'STRICT', modeSetBy: name, registered: Array.from({ length: 2000 }, (_, number) => range(number)) };
}

const isPrepared = (policy: PolicyState | undefined) => prepareJudging(policy?.authorization ?? []).next().done;

describe('the policy in force', () => {
  it('is what was told before anybody asked', () => {
    const { source, said } = start(small('first'));
    expect(source.current()?.modeSetBy).toBe('first');
    expect(said).toEqual(['first']);
  });

  it('changes at once when it is small, or cannot be enforced', () => {
    const { source, said, tell } = start();
    tell(small('one'));
    expect(source.current()?.modeSetBy).toBe('one');
    tell(undefined);
    expect(source.current()).toBeUndefined();
    expect(said).toEqual([undefined, 'one', undefined]);
  });

  it('G21: stays while a large one is prepared, in many turns of the event loop', async () => {
    const { source, said, tell, turnsUntil } = start(small('old'));
    const next = large('next');
    tell(next);
    expect(source.current()?.modeSetBy).toBe('old');
    const turns = await turnsUntil(() => source.current() === next);
    expect(turns).toBeGreaterThan(10);
    expect(said).toEqual(['old', 'next']);
    expect(isPrepared(next)).toBe(true);
  });

  it('is none before the first one is prepared', async () => {
    const { source, said, turnsUntil } = start(large('first'));
    expect(source.current()).toBeUndefined();
    await turnsUntil(() => source.current() !== undefined);
    expect(said).toEqual([undefined, 'first']);
  });

  it.each([
    ['a small one', small('last')],
    ['none', undefined],
  ])('is %s at once, whatever is being prepared', async (_, last) => {
    const { source, said, tell, turnsUntil } = start(small('old'));
    tell(large('one'));
    tell(large('two'));
    await turn();
    tell(last);
    expect(source.current()).toBe(last);
    for (let turns = 0; turns < 200; turns += 1) await turn();
    expect(said).toEqual(['old', last?.modeSetBy]);
    const after = large('after');
    tell(after);
    await turnsUntil(() => source.current() === after);
    expect(said.at(-1)).toBe('after');
  });

  it('G22: comes into force however often it changes, and ends with the newest', async () => {
    const { source, said, tell, turnsUntil } = start();
    for (let number = 0; number < 600; number += 1) {
      tell(large(`${number}`));
      await turn();
    }
    const enforced = said.length;
    expect(enforced).toBeGreaterThan(2);
    expect(enforced).toBeLessThan(100);
    await turnsUntil(() => source.current()?.modeSetBy === '599');
    expect(said.map(Number).slice(1)).toEqual(
      said
        .slice(1)
        .map(Number)
        .toSorted((one, other) => one - other),
    );
    expect(isPrepared(source.current())).toBe(true);
  });

  it('G22: keeps nothing of those that were replaced', async () => {
    setFlagsFromString('--expose-gc');
    const collectGarbage = runInNewContext('gc') as () => void;
    const { source, tell, turnsUntil } = start();
    const told: WeakRef<object>[] = [];
    for (let number = 0; number < 100; number += 1) {
      const next = large(`${number}`);
      told.push(new WeakRef(next.authorization?.[0] ?? {}));
      tell(next);
      await turn();
    }
    await turnsUntil(() => source.current()?.modeSetBy === '99');
    await turn();
    collectGarbage();
    expect(told.filter((one) => one.deref() !== undefined)).toHaveLength(1);
  });

  it('changes no more once it is closed', async () => {
    const { source, said, tell } = start(small('old'));
    tell(large('next'));
    source.close();
    tell(small('another'));
    for (let turns = 0; turns < 200; turns += 1) await turn();
    expect(said).toEqual(['old']);
  });

  it('tells nobody who has ended a subscription', () => {
    const { source, tell } = start();
    const said: unknown[] = [];
    const end = source.subscribe((policy) => void said.push(policy?.modeSetBy));
    end();
    tell(small('one'));
    expect(said).toEqual([undefined]);
  });

  it('with many registered ranges is prepared in slices, while the one before holds', async () => {
    const { source, said, tell, turnsUntil } = start(small('first'));
    const policy = wide('second');
    tell(policy);
    expect(source.current()?.modeSetBy).toBe('first');
    expect(await turnsUntil(() => said.length === 2)).toBeGreaterThan(10);
    expect(source.current()).toBe(policy);
    expect(prepareRegistered(policy.registered ?? []).next().done).toBe(true);
  });
});
