import { expect, it } from 'vitest';
import type { AuthorizationPolicy, PolicyRule } from '../../../src/control-api.ts';
import { isLighterThan } from '../../../src/policy/weight.ts';

const policies = (...rules: PolicyRule[]): AuthorizationPolicy[] => [{ name: 'shop/web', action: 'ALLOW', rules }];

it.each<[number, AuthorizationPolicy[]]>([
  [0, []],
  [1, policies()],
  [3, policies({}, {})],
  [5, policies({ from: [{ principals: ['a'], notIpBlocks: ['::1', '::2'] }] })],
  [4, policies({ to: [{ ports: [1] }, { notPorts: [2] }] })],
  [5, policies({ when: [{ key: 'source.ip', values: ['::1'], notValues: ['::2', '::3'] }] })],
  [3, policies({ when: [{ key: 'source.ip', notValues: ['::2'] }] })],
  [3, policies({ from: [{ principals: undefined, namespaces: ['a'] }] })],
  [4, policies({ from: [{ namespaces: ['a'] }], when: [{ key: 'source.ip', values: ['::1'] }] })],
  [6, [...policies({}), ...policies({ to: [{ ports: [1, 2] }] })]],
])('counts %i policies, rules and texts', (weight, all) => {
  expect(isLighterThan(weight, all)).toBe(true);
  expect(isLighterThan(weight - 1, all)).toBe(false);
});

it('stops counting as soon as they are more', () => {
  const unread = new Proxy({} as PolicyRule, {
    get() {
      throw new Error('It was looked at');
    },
  });
  expect(isLighterThan(2, policies({ to: [{ ports: [1, 2, 3] }] }, unread))).toBe(false);
});
