import { expect, it } from 'vitest';
import { watchPolicy } from '../../../src/agent/policy-watch.ts';
import type { AuthorizationPolicy, PolicyState } from '../../../src/control-api.ts';
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
  expect([inForce()?.modes[0]?.mode, why()]).toEqual(['STRICT', undefined]);
  says(undefined);
  expect(inForce()).toBeUndefined();
  expect(why()).toContain('cannot be enforced');
});

it('says since when a mode is in force, which is never weaker than the floor of the pod', async () => {
  const { clock, inForce, says } = watched('PERMISSIVE');
  says({ mode: 'DISABLE' });
  const first = { modes: [{ mode: 'PERMISSIVE', setBy: 'floor', fromPolicy: 'DISABLE' }], sinceMs: startMs };
  expect(inForce()).toMatchObject(first);
  await clock.advance(5000);
  expect(inForce()).toMatchObject(first);
  says({ mode: 'STRICT' });
  expect(inForce()).toMatchObject({ modes: [{ mode: 'STRICT', fromPolicy: 'STRICT' }], sinceMs: startMs + 5000 });
});

it('says what sets the mode of each port, and what the policies do', () => {
  const { inForce, says } = watched('PERMISSIVE');
  const policy: AuthorizationPolicy = { name: 'shop/one', action: 'ALLOW', rules: [] };
  says({
    mode: 'STRICT',
    modeSetBy: 'shop/default',
    ports: [
      { port: 8080, mode: 'DISABLE', setBy: 'shop/api' },
      { port: 9090, mode: 'PERMISSIVE', setBy: 'shop/api' },
    ],
    authorization: [
      policy,
      { ...policy, action: 'AUDIT' },
      { ...policy, isDryRun: true },
      { ...policy, action: 'AUDIT', isDryRun: true },
      { ...policy, isDryRun: true, problem: 'CUSTOM is not supported' },
    ],
  });
  expect(inForce()?.modes).toEqual([
    { port: undefined, mode: 'STRICT', setBy: 'shop/default', fromPolicy: 'STRICT' },
    { port: 8080, mode: 'PERMISSIVE', setBy: 'floor', fromPolicy: 'DISABLE' },
    { port: 9090, mode: 'PERMISSIVE', setBy: 'shop/api', fromPolicy: 'PERMISSIVE' },
  ]);
  expect(inForce()?.policies).toEqual({ enforced: 1, audit: 1, dry_run: 2, invalid: 1 });
  expect(inForce()?.firstInvalid).toEqual({
    name: 'AuthorizationPolicy shop/one',
    problem: 'CUSTOM is not supported',
  });
});

it('counts the PeerAuthentication that sets the mode among the invalid ones where it is, and tells of it first', () => {
  const { inForce, says } = watched('DISABLE');
  const broken: AuthorizationPolicy = { name: 'shop/one', action: 'ALLOW', problem: 'it is CUSTOM', rules: [] };
  const ports = [{ port: 8080, mode: 'DISABLE' as const, setBy: 'shop/api' }];
  const modeProblem = 'spec.mtls.mode is "LAX"';
  says({ mode: 'STRICT', modeSetBy: 'shop/default', modeProblem, ports, authorization: [broken] });
  expect(inForce()?.policies).toMatchObject({ invalid: 2 });
  expect(inForce()?.firstInvalid).toEqual({ name: 'PeerAuthentication shop/default', problem: modeProblem });
  expect(inForce()?.modes.map(({ problem }) => problem)).toEqual([modeProblem, undefined]);
});
