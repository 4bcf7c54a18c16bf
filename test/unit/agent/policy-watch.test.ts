import { expect, it } from 'vitest';
import { watchPolicy } from '../../../src/agent/policy-watch.ts';
import type { PolicyState } from '../../../src/control-api.ts';
import { createReadiness } from '../../../src/lifecycle.ts';
import type { Mode } from '../../../src/policy/mode.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

const startMs = Date.parse('2026-01-02T03:04:05Z');

function watched(minimum: Mode) {
  const clock = createFakeClock(startMs);
  const readiness = createReadiness();
  let tell: (policy: PolicyState | undefined) => void = () => undefined;
  const policy = {
    current: () => undefined,
    subscribe(listener: typeof tell) {
      tell = listener;
      listener(undefined);
      return () => undefined;
    },
  };
  const inForce = watchPolicy(clock, policy, minimum, readiness);
  return {
    clock,
    inForce,
    says: (next: PolicyState | undefined) => tell(next),
    why: () => readiness.closed().get('policy'),
  };
}

it('has nothing in force, and keeps the gate shut, before a policy and while one cannot be enforced', () => {
  const { inForce, says, why } = watched('DISABLE');
  expect(inForce()).toBeUndefined();
  expect(why()).toContain('No policy has arrived yet');
  says({ mode: 'STRICT' });
  expect([inForce()?.mode, why()]).toEqual(['STRICT', undefined]);
  says(undefined);
  expect(inForce()).toBeUndefined();
  expect(why()).toContain('cannot be enforced');
});

it('says since when a mode is in force, which is never weaker than the floor of the pod', async () => {
  const { clock, inForce, says } = watched('PERMISSIVE');
  says({ mode: 'DISABLE' });
  expect(inForce()).toEqual({ mode: 'PERMISSIVE', sinceMs: startMs });
  await clock.advance(5000);
  expect(inForce()).toEqual({ mode: 'PERMISSIVE', sinceMs: startMs });
  says({ mode: 'STRICT' });
  expect(inForce()).toEqual({ mode: 'STRICT', sinceMs: startMs + 5000 });
});
