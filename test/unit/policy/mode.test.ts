import { describe, expect, it } from 'vitest';
import type { PolicyState } from '../../../src/control-api.ts';
import type { Mode } from '../../../src/policy/mode.ts';
import { modeInForce, modeOfPolicy, modesInForce } from '../../../src/policy/mode.ts';

const ports = [
  { port: 80, mode: 'DISABLE' as const, setBy: 'shop/web' },
  { port: 443, mode: 'STRICT' as const, setBy: 'shop/web' },
  { port: 80, mode: 'STRICT' as const, setBy: 'shop/another' },
];
const policy: PolicyState = { mode: 'PERMISSIVE', modeSetBy: 'istio-system/default', ports };

describe('the mode of a port', () => {
  it('is its own, and the first of several', () => {
    expect(modeOfPolicy(policy, 80)).toEqual({ mode: 'DISABLE', setBy: 'shop/web' });
    expect(modeOfPolicy(policy, 443)).toEqual({ mode: 'STRICT', setBy: 'shop/web' });
  });

  it('is found without going through all of them each time', () => {
    let walks = 0;
    const counted = Object.assign([...ports], {
      *[Symbol.iterator]() {
        walks += 1;
        yield* ports;
      },
    });
    for (const port of [80, 81, 443]) modeOfPolicy({ ...policy, ports: counted }, port);
    expect(walks).toBe(1);
  });

  it('is that of the workload where it has none', () => {
    const { mode, modeSetBy } = policy;
    expect(modeOfPolicy(policy, 81)).toEqual({ mode: 'PERMISSIVE', setBy: 'istio-system/default' });
    expect(modeOfPolicy({ mode, modeSetBy }, 80)).toEqual({ mode: 'PERMISSIVE', setBy: 'istio-system/default' });
    expect(modeOfPolicy({ mode }, 80)).toEqual({ mode: 'PERMISSIVE', setBy: undefined });
  });

  it.each<[number, Mode, string, string]>([
    [80, 'DISABLE', 'DISABLE', 'shop/web'],
    [80, 'PERMISSIVE', 'PERMISSIVE', 'floor'],
    [81, 'PERMISSIVE', 'PERMISSIVE', 'istio-system/default'],
    [81, 'STRICT', 'STRICT', 'floor'],
    [443, 'STRICT', 'STRICT', 'shop/web'],
  ])('%i with the floor %s is %s by %s', (port, floor, mode, setBy) => {
    expect(modeInForce(policy, port, floor)).toEqual({ mode, setBy });
  });

  it('is shown with what the policy says of it', () => {
    expect(modesInForce({ mode: 'STRICT' }, 'DISABLE')).toEqual([
      { port: undefined, fromPolicy: 'STRICT', mode: 'STRICT', setBy: undefined },
    ]);
    expect(modesInForce({ ...policy, ports: ports.slice(0, 2) }, 'PERMISSIVE')).toEqual([
      { port: undefined, fromPolicy: 'PERMISSIVE', mode: 'PERMISSIVE', setBy: 'istio-system/default' },
      { port: 80, fromPolicy: 'DISABLE', mode: 'PERMISSIVE', setBy: 'floor' },
      { port: 443, fromPolicy: 'STRICT', mode: 'STRICT', setBy: 'shop/web' },
    ]);
  });
});
