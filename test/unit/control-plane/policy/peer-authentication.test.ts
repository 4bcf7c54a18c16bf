import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { PeerAuthentication } from '../../../../src/control-plane/policy/peer-authentication.ts';
import { policyReader } from '../../../../src/control-plane/policy/read.ts';

interface Understood {
  readonly object: PeerAuthentication;
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}

function read(spec: unknown, metadata: object = {}, apiVersion = 'security.istio.io/v1'): Understood {
  const object = {
    apiVersion,
    kind: 'PeerAuthentication',
    metadata: { name: 'api', namespace: 'shop', ...metadata },
    spec,
  };
  const { entry, findings } = policyReader(apiVersion, 'PeerAuthentication')?.(object) ?? { findings: [] };
  if (entry?.kind !== 'security.istio.io/v1/PeerAuthentication') throw new TypeError('it has no name');
  const sentences = (severity: string) => findings.filter((one) => one.severity === severity).map(({ why }) => why);
  return { object: entry.object, problems: sentences('problem'), warnings: sentences('warning') };
}

const selector = { matchLabels: { app: 'api' } };

describe('a PeerAuthentication', () => {
  it.each(['UNSET', 'DISABLE', 'PERMISSIVE', 'STRICT'])('has the mode %s, and so have its ports', (mode) => {
    const { object, problems, warnings } = read({ selector, mtls: { mode }, portLevelMtls: { 8080: { mode } } });
    expect({ problems, warnings }).toEqual({ problems: [], warnings: [] });
    expect(object).toEqual({
      ...{ name: 'api', namespace: 'shop', creationTimestamp: undefined, selector: { app: 'api' } },
      ...{ mode, ports: new Map([[8080, mode]]), problem: undefined },
    });
  });

  it.each([
    ['no spec', undefined],
    ['a spec of null', null],
    ['an empty spec', {}],
    ['an empty mtls', { mtls: {} }],
    ['an mtls of null', { mtls: null, selector: null, portLevelMtls: null }],
    ['a mode of null', { mtls: { mode: null } }],
  ])('leaves the mode to the wider scope with %s', (_, spec) => {
    expect(read(spec)).toMatchObject({
      object: { mode: 'UNSET', ports: new Map(), selector: undefined, problem: undefined },
      problems: [],
    });
  });

  it('leaves the mode of a port to the wider scope without one', () => {
    expect(read({ selector, portLevelMtls: { 1: {}, 65535: null } }).object.ports).toEqual(
      new Map([
        [1, 'UNSET'],
        [65_535, 'UNSET'],
      ]),
    );
  });

  it('is of version v1beta1 too, and knows when it was made', () => {
    const { object, problems } = read({}, { creationTimestamp: '2030-01-01T00:00:00Z' }, 'security.istio.io/v1beta1');
    expect([object.creationTimestamp, problems]).toEqual(['2030-01-01T00:00:00Z', []]);
  });

  it('is about the whole namespace with a selector that has no labels, and a warning says so', () => {
    expect(read({ selector: { matchLabels: {} } }).warnings).toEqual([
      'spec.selector has no labels, so that it selects the whole namespace',
    ]);
  });
});

describe('G6: a PeerAuthentication that cannot be followed as it is written is STRICT', () => {
  it.each<[string, unknown, string]>([
    [
      'a mode that is none',
      { mtls: { mode: 'strict' } },
      'spec.mtls.mode is "strict", expected one of UNSET, DISABLE, PERMISSIVE, STRICT',
    ],
    [
      'a mode that is a number',
      { mtls: { mode: 3 } },
      'spec.mtls.mode is 3, expected one of UNSET, DISABLE, PERMISSIVE, STRICT',
    ],
    [
      'a mode of a port that is none',
      { selector, portLevelMtls: { 80: { mode: 'OFF' } } },
      'spec.portLevelMtls["80"].mode is "OFF", expected one of UNSET, DISABLE, PERMISSIVE, STRICT',
    ],
    ['mtls that is a word', { mtls: 'STRICT' }, 'spec.mtls is "STRICT", expected an object'],
    ['mtls with a slip', { mtls: { mod: 'DISABLE' } }, 'spec.mtls.mod is not known, did you mean mode?'],
    ['a spec with a slip', { mtsl: {} }, 'spec.mtsl is not known, did you mean mtls?'],
    ['a field of a newer Istio', { portLevelTls: {} }, 'spec.portLevelTls is not known, did you mean portLevelMtls?'],
    [
      'ports without a selector',
      { portLevelMtls: { 80: {} } },
      'spec.portLevelMtls is given without a selector, expected one with labels',
    ],
    [
      'ports with an empty selector',
      { selector: { matchLabels: {} }, portLevelMtls: { 80: {} } },
      'spec.portLevelMtls is given without a selector, expected one with labels',
    ],
    [
      'no port',
      { selector, portLevelMtls: {} },
      'spec.portLevelMtls has no port, expected at least one, or no such field',
    ],
    [
      'port 0',
      { selector, portLevelMtls: { 0: {} } },
      'spec.portLevelMtls["0"] is "0", expected a port from 1 to 65535',
    ],
    [
      'port 65536',
      { selector, portLevelMtls: { 65536: {} } },
      'spec.portLevelMtls["65536"] is "65536", expected a port from 1 to 65535',
    ],
    [
      'the name of a port',
      { selector, portLevelMtls: { http: {} } },
      'spec.portLevelMtls.http is "http", expected a port from 1 to 65535',
    ],
    [
      'a label that is a number',
      { selector: { matchLabels: { app: 1 } }, mtls: { mode: 'DISABLE' } },
      'spec.selector.matchLabels.app is 1, expected a string',
    ],
    ['a spec that is a list', [], 'spec is an empty list, expected an object'],
  ])('%s', (_, spec, sentence) => {
    const { object, problems } = read(spec);
    expect(problems).toEqual([sentence]);
    expect(object).toMatchObject({ mode: 'STRICT', ports: new Map(), problem: sentence });
  });

  it('of another version, and then for its whole namespace', () => {
    const sentence =
      'apiVersion is "security.istio.io/v2", expected one of security.istio.io/v1, security.istio.io/v1beta1';
    expect(read({ selector, mtls: { mode: 'DISABLE' } }, {}, 'security.istio.io/v2').object).toMatchObject({
      ...{ selector: undefined, mode: 'STRICT', problem: sentence },
    });
  });

  it('P4: with labels that could reach a prototype, whom it would have disabled otherwise', () => {
    const { object } = read(
      JSON.parse('{"selector": {"matchLabels": {"__proto__": "a"}}, "mtls": {"mode": "DISABLE"}}'),
    );
    expect(object).toMatchObject({
      mode: 'STRICT',
      problem: 'spec.selector.matchLabels.__proto__ is a reserved name, expected another',
    });
  });

  it('whatever it is given: it is understood, or it is STRICT', () => {
    const mode = fc.constantFrom<unknown>('UNSET', 'DISABLE', 'STRICT', 'off', 1, null);
    const mtls = fc.oneof(fc.record({ mode }, { requiredKeys: [] }), fc.jsonValue());
    const nearly = fc.record(
      {
        selector: fc.oneof(fc.constant(selector), fc.jsonValue()),
        mtls,
        portLevelMtls: fc.oneof(fc.dictionary(fc.constantFrom('80', '0', 'a', '65535'), mtls), fc.jsonValue()),
        mtsl: fc.jsonValue(),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fc.oneof(nearly, fc.jsonValue()), (spec) => {
        const { object, problems } = read(spec);
        expect(object.problem !== undefined).toBe(problems.length > 0);
        if (object.problem !== undefined) expect([object.mode, object.ports.size]).toEqual(['STRICT', 0]);
      }),
      { numRuns: 1000 },
    );
  });
});
