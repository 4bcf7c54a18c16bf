import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cidrSet } from '../../../../src/addresses.ts';
import { exportedLimits, registeredFor, registeredLimits } from '../../../../src/control-plane/policy/registered.ts';
import { watchRegistered } from '../../../../src/control-plane/policy/registered-watch.ts';
import type { ServiceEntry } from '../../../../src/control-plane/policy/service-entry.ts';
import { readServiceEntry } from '../../../../src/control-plane/policy/service-entry.ts';
import type { RegistryObjects } from '../../../../src/control-plane/store/objects.ts';
import { noObjects } from '../../../../src/control-plane/store/objects.ts';
import { fixedStore } from '../../../../src/control-plane/store/store.ts';
import { captureLog } from '../../../support/captured-log.ts';

interface Written {
  readonly namespace?: string;
  readonly addresses: readonly string[];
  readonly ports: readonly number[] | 'every';
  readonly exportTo?: readonly string[];
}

const entry = ({ namespace = 'shop', addresses, ports, exportTo = ['*'] }: Written): ServiceEntry =>
  readServiceEntry({
    apiVersion: 'networking.istio.io/v1',
    kind: 'ServiceEntry',
    metadata: { name: 'one', namespace, creationTimestamp: undefined, annotations: undefined },
    spec: {
      hosts: ['one.example.com'],
      addresses,
      ports: ports === 'every' ? 'all' : ports.map((number) => ({ number, name: `p${number}` })),
      exportTo,
    },
  }).object;
const registered = (namespace: string, ...written: readonly Written[]) =>
  registeredFor({ serviceEntries: written.map(entry) }, namespace);

const everything = [
  { cidr: '0.0.0.0/0', ports: [] },
  { cidr: '::/0', ports: [] },
];
/** Every other address, so that nothing can be merged. */
const scattered = (count: number) =>
  Array.from({ length: count }, (_, i) => `10.${(i >> 15) & 255}.${(i >> 7) & 255}.${(2 * i) & 255}`);

describe('what is registered for a namespace', () => {
  it('is the addresses of the entries that it sees, each with its ports', () => {
    const entries: Written[] = [
      { addresses: ['203.0.113.7', '198.51.100.0/24'], ports: [443, 80] },
      { addresses: ['203.0.113.8/31'], ports: [80], exportTo: ['.'] },
      { namespace: 'other', addresses: ['203.0.113.12'], ports: [80], exportTo: ['.'] },
    ];
    expect(registered('shop', ...entries)).toEqual([
      { cidr: '198.51.100.0/24', ports: [80, 443] },
      { cidr: '203.0.113.7/32', ports: [80, 443] },
      { cidr: '203.0.113.8/31', ports: [80] },
    ]);
    expect(registered('third', ...entries).map(({ cidr }) => cidr)).toEqual(['198.51.100.0/24', '203.0.113.7/32']);
  });

  it('is nothing without entries, and never a port of the sidecar', () => {
    expect(registered('shop')).toEqual([]);
    expect(registered('shop', { addresses: ['0.0.0.0/0'], ports: [15001, 15006, 15008, 15000] })).toEqual([]);
  });

  it('is in the fewest ranges', () => {
    expect(registered('shop', { addresses: ['10.0.0.0/25', '10.0.0.128/25', '10.0.0.7'], ports: [80] })).toEqual([
      { cidr: '10.0.0.0/24', ports: [80] },
    ]);
  });

  it('is every port where the ports of an entry cannot be read, also beside one whose ports can', () => {
    expect(
      registered('shop', { addresses: ['10.0.0.0/24'], ports: 'every' }, { addresses: ['10.0.0.0/24'], ports: [80] }),
    ).toContainEqual({ cidr: '10.0.0.0/24', ports: [] });
  });

  it('is one object for all that see the same of one state', () => {
    const serviceEntries = [
      entry({ addresses: ['10.0.0.1'], ports: [80] }),
      entry({ addresses: ['10.0.0.2'], ports: [80], exportTo: ['.'] }),
    ];
    expect(registeredFor({ serviceEntries }, 'a')).toBe(registeredFor({ serviceEntries }, 'b'));
    expect(registeredFor({ serviceEntries }, 'shop')).not.toBe(registeredFor({ serviceEntries }, 'b'));
    expect(registeredFor({ serviceEntries }, 'shop')).toBe(registeredFor({ serviceEntries }, 'shop'));
  });

  it('is the same object in the next state, where the entries are the same ones', () => {
    const serviceEntries = [entry({ addresses: ['10.0.0.1'], ports: [80] })];
    const before = registeredFor({ serviceEntries }, 'a');
    expect(registeredFor({ serviceEntries: [...serviceEntries] }, 'a')).toBe(before);
    const others = [entry({ addresses: ['10.0.0.2'], ports: [80] })];
    expect(registeredFor({ serviceEntries: others }, 'a')).toEqual([{ cidr: '10.0.0.2/32', ports: [80] }]);
  });

  it('is everything, where it would be more than a sidecar is told of', () => {
    const exportTo = ['.'];
    expect(registered('shop', { addresses: scattered(registeredLimits.ranges), ports: [80], exportTo })).toHaveLength(
      registeredLimits.ranges,
    );
    expect(registered('shop', { addresses: scattered(registeredLimits.ranges + 1), ports: [80], exportTo })).toEqual(
      everything,
    );
    const ports = Array.from({ length: 1001 }, (_, i) => i + 1);
    expect(registered('shop', { addresses: scattered(100), ports, exportTo })).toEqual(everything);
  });

  it.each([
    ['everybody', '*'],
    ['that one', 'shop'],
  ])(
    'is not everything because another namespace exports too much to %s: what is beyond its bound is left out',
    (_, to) => {
      const mine = { addresses: ['203.0.113.7'], ports: [80], exportTo: ['.'] };
      const first = { namespace: 'tenant', addresses: ['198.51.100.7'], ports: [80], exportTo: [to] };
      const whole = { ...first, addresses: scattered(exportedLimits.ranges + 1) };
      const ports = Array.from({ length: 501 }, (__, i) => i + 1);
      const wide = { ...first, addresses: scattered(100), ports };
      for (const large of [
        [whole],
        [wide],
        Array.from({ length: 3 }, () => ({ ...first, addresses: scattered(4000) })),
      ]) {
        const entries = [mine, first, ...large];
        const told = registered('shop', ...entries);
        expect(told).toContainEqual({ cidr: '203.0.113.7/32', ports: [80] });
        expect(told).toContainEqual({ cidr: '198.51.100.7/32', ports: [80] });
        expect(told).not.toEqual(everything);
        expect(registered('tenant', ...entries)).toEqual(everything);
      }
    },
  );

  it('that is too much is told of once for each change of whom it is too much for', () => {
    const ports = Array.from({ length: 1001 }, (_, i) => i + 1);
    const addresses = Array.from({ length: 100 }, (_, i) => `10.0.${i}.0`);
    const large = (namespace: string, exportTo: string, of = ports) =>
      entry({ namespace, addresses, ports: of, exportTo: [exportTo] });
    const [shop, a] = [large('shop', '.'), large('a', '*')];
    const all = ['b', 'c', 'd'].map((namespace) => large(namespace, '*', ports.slice(0, 500)));
    const states = [[shop], [shop, a], [a, shop], all, []];
    const { lines, log } = captureLog();
    let tell: (objects: RegistryObjects) => void = () => undefined;
    const store = {
      ...fixedStore(noObjects),
      subscribe(listener: typeof tell) {
        tell = listener;
        return () => undefined;
      },
    };
    watchRegistered({ log, store });
    for (const serviceEntries of states) tell({ ...noObjects, serviceEntries });
    expect(lines.map(({ namespaces, count }) => [namespaces, count])).toEqual([
      [['shop'], 1],
      [['a', 'shop'], 2],
      [['*'], 1],
      [undefined, undefined],
    ]);
  });

  it('holds what the entries that are seen hold, and nothing else', () => {
    const address = fc
      .tuple(fc.integer({ min: 0, max: 7 }), fc.integer({ min: 28, max: 32 }))
      .map(([i, n]) => `10.0.0.${i}/${n}`);
    const written = fc.record({
      namespace: fc.constantFrom('a', 'b'),
      addresses: fc.array(address, { minLength: 1, maxLength: 4 }),
      ports: fc.oneof(fc.constant('every' as const), fc.uniqueArray(fc.constantFrom(80, 81, 15001), { minLength: 1 })),
      exportTo: fc.constantFrom(['*'], ['.'], ['a'], ['a', 'b'], ['~'], []),
    });
    fc.assert(
      fc.property(fc.array(written, { maxLength: 8 }), fc.constantFrom('a', 'b', 'c'), (entries, seeing) => {
        const rows = registered(seeing, ...entries);
        for (let last = 0; last < 16; last += 1)
          for (const port of [80, 81, 82]) {
            const ip = `10.0.0.${last}`;
            const isExpected = entries.some(({ namespace, addresses, ports, exportTo }) => {
              const isSeen =
                exportTo.length === 0 ||
                exportTo.some((one) => one === '*' || one === seeing || (one === '.' && namespace === seeing));
              return isSeen && cidrSet(addresses).has(ip) && (ports === 'every' || new Set<number>(ports).has(port));
            });
            const isRegistered = rows.some(
              ({ cidr, ports }) => cidrSet([cidr]).has(ip) && (ports.length === 0 || ports.includes(port)),
            );
            expect(isRegistered).toBe(isExpected);
          }
      }),
      { numRuns: 200 },
    );
  });
});
