import { describe, expect, it } from 'vitest';
import {
  applied,
  isSamePolicy,
  namesOf,
  notInForce,
  policyChangeOf,
} from '../../../../src/control-plane/preview/policy-change.ts';
import type { RegistryObjects } from '../../../../src/control-plane/store/objects.ts';
import { readYaml } from '../../../../src/control-plane/store/yaml.ts';
import { objectsOf } from '../../../support/registry-yaml.ts';

const object = (kind: string, name: string, more = '', spec = '{}') =>
  `apiVersion: security.istio.io/v1\nkind: ${kind}\nmetadata: {name: ${name}, namespace: shop${more}}\nspec: ${spec}`;
const changeOf = (...documents: string[]) => {
  const read = readYaml(documents.join('\n---\n'));
  if (read.kind === 'broken') throw new TypeError(read.why);
  return policyChangeOf(read.objects.map(({ entry }) => entry));
};
const created = ', creationTimestamp: "2030-01-01T00:00:00Z"';
const strict = '{mtls: {mode: STRICT}}';

describe('a change of policy', () => {
  it('takes the place of the objects of its names, and leaves all others the same objects', () => {
    const objects = objectsOf(object('AuthorizationPolicy', 'one'), object('AuthorizationPolicy', 'two'));
    const change = changeOf(
      object('AuthorizationPolicy', 'two', '', '{action: DENY}'),
      object('AuthorizationPolicy', 'three'),
    );
    const { authorizationPolicies } = applied(objects, change);
    expect(authorizationPolicies.map(({ name, policy }) => [name, policy.action])).toEqual([
      ['one', 'ALLOW'],
      ['two', 'DENY'],
      ['three', 'ALLOW'],
    ]);
    expect(authorizationPolicies[0]).toBe(objects.authorizationPolicies[0]);
    expect(namesOf(objects, change)).toEqual({
      added: ['AuthorizationPolicy shop/three'],
      replaced: ['AuthorizationPolicy shop/two'],
    });
  });

  it('is as old as what it replaces, because the oldest of several modes counts', () => {
    const objects = objectsOf(
      object('PeerAuthentication', 'one', created),
      object('PeerAuthentication', 'two', created),
    );
    const { peerAuthentications } = applied(objects, changeOf(object('PeerAuthentication', 'one', '', strict)));
    expect(peerAuthentications.map(({ name, mode, creationTimestamp }) => [name, mode, creationTimestamp])).toEqual([
      ['two', 'UNSET', '2030-01-01T00:00:00Z'],
      ['one', 'STRICT', '2030-01-01T00:00:00Z'],
    ]);
  });

  it('is the youngest where it is new, whatever the file says, unless nothing of its kind has a date', () => {
    const dated = objectsOf(object('PeerAuthentication', 'one', created));
    const agesIn = (objects: RegistryObjects, more = '') =>
      applied(objects, changeOf(object('PeerAuthentication', 'a', more))).peerAuthentications.map(
        ({ name, creationTimestamp = '' }) => [name, creationTimestamp.slice(0, 4)],
      );
    expect(agesIn(dated)).toEqual([
      ['one', '2030'],
      ['a', '9999'],
    ]);
    expect(agesIn(dated, ', creationTimestamp: "2020-01-01T00:00:00Z"')).toEqual(agesIn(dated));
    expect(agesIn(objectsOf(object('PeerAuthentication', 'one')))).toEqual([
      ['one', ''],
      ['a', ''],
    ]);
    const later = object('PeerAuthentication', 'one', ', creationTimestamp: "2031-01-01T00:00:00Z"');
    expect(applied(dated, changeOf(later)).peerAuthentications[0]?.creationTimestamp).toBe('2030-01-01T00:00:00Z');
  });

  it('names what would count for no workload, and what comes before it', () => {
    const objects = objectsOf(object('PeerAuthentication', 'default', created));
    const change = changeOf(object('PeerAuthentication', 'a-strict', '', strict));
    expect(notInForce(applied(objects, change), change, 'istio-system')).toEqual([
      { name: 'shop/a-strict', why: 'shop/default is older' },
    ]);
    const same = changeOf(object('PeerAuthentication', 'default', '', strict));
    expect(notInForce(applied(objects, same), same, 'istio-system')).toEqual([]);
    const narrow = changeOf(object('PeerAuthentication', 'x', '', '{selector: {matchLabels: {app: x}}}'));
    expect(notInForce(applied(objects, narrow), narrow, 'istio-system')).toEqual([]);
    expect(notInForce(applied(objects, narrow), narrow, 'shop')).toMatchObject([
      { name: 'shop/x', why: expect.stringContaining('root namespace') },
    ]);
  });

  it('does not concern who has the same modes and the same objects after it', () => {
    const [one, two] = objectsOf(
      object('AuthorizationPolicy', 'a'),
      object('AuthorizationPolicy', 'b'),
    ).authorizationPolicies;
    const policy = (...all: (typeof one)[]) => ({
      mode: 'STRICT' as const,
      authorization: all.flatMap((each) => (each === undefined ? [] : [each.policy])),
    });
    expect(isSamePolicy(policy(one, two), policy(one, two))).toBe(true);
    expect(isSamePolicy(policy(one, two), policy(one))).toBe(false);
    expect(isSamePolicy(policy(one), policy(two))).toBe(false);
    expect(isSamePolicy(policy(), { mode: 'STRICT' })).toBe(true);
    expect(isSamePolicy({ mode: 'STRICT' }, { mode: 'PERMISSIVE' })).toBe(false);
  });
});
