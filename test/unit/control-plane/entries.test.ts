import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cidrSet } from '../../../src/addresses.ts';
import type { PodParts } from '../../support/registry-yaml.ts';
import { anybody, clear, discover, hbone, meshed, pod, service } from '../../support/registry-yaml.ts';

interface EntryParts {
  readonly name?: string;
  readonly namespace?: string;
  readonly created?: string;
  readonly spec: string;
}

const entry = ({ name = 'db', namespace = 'shop', created = '2026-01-01T00:00:00Z', spec }: EntryParts) => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}, namespace: ${namespace}, creationTimestamp: "${created}"}
spec: {hosts: [db.example.com], ${spec}}`;

const external = 'addresses: [203.0.113.0/24], ports: [{number: 443, name: tls, protocol: TLS}]';
const internal = (rest: string) =>
  `addresses: [203.0.113.7], ports: [{number: 80, name: web, targetPort: 8080}], location: MESH_INTERNAL, resolution: STATIC, ${rest}`;
const direct = (address: string, account: string, rest = {}) =>
  hbone(address, account, { transport: 'direct', ...rest });
const at = '203.0.113.7:80';

describe('an address of a ServiceEntry', () => {
  it('leads to itself in plaintext, on its ports and in its range alone', () => {
    const ask = discover(entry({ spec: external }));
    expect(ask('203.0.113.7:443')).toEqual({
      address: '203.0.113.7:443',
      entry: 'shop/db',
      endpoints: [clear('203.0.113.7:443')],
      known: true,
      ttlSeconds: 300,
    });
    expect(ask('203.0.113.7:444').known).toBe(false);
    expect(ask('203.0.114.7:443').known).toBe(false);
  });

  it.each([
    ['exportTo: [.]', { shop: true, other: false }],
    ['exportTo: [other]', { shop: false, other: true }],
    ['exportTo: ["*"]', { shop: true, other: true }],
    ['exportTo: ["~"]', { shop: false, other: false }],
  ])('is known to those who see it, with %s', (exportTo, expected) => {
    const ask = discover(entry({ spec: `${external}, ${exportTo}` }));
    for (const [namespace, isKnown] of Object.entries(expected))
      expect(ask('203.0.113.7:443', { ...anybody, namespace }).known).toBe(isKnown);
  });

  it('takes no connection away from a Service or a pod, on whatever port', () => {
    const all = 'addresses: [0.0.0.0/0], ports: [{number: 80, name: a}, {number: 81, name: b}]';
    const ask = discover(
      pod({ name: 'a', ip: '10.0.0.1', ...meshed }),
      service('{clusterIP: 10.96.0.1, externalIPs: [198.51.100.1], ports: [{port: 80}]}'),
      entry({ namespace: 'evil', spec: `${all}, resolution: STATIC, endpoints: [{address: 192.0.2.66}]` }),
    );
    expect(ask('10.0.0.1:80').endpoints).toEqual([hbone('10.0.0.1:80', 'a-account')]);
    expect(ask('10.0.0.1:81').endpoints).toEqual([hbone('10.0.0.1:81', 'a-account')]);
    for (const taken of ['10.96.0.1:80', '10.96.0.1:81', '198.51.100.1:80']) expect(ask(taken).endpoints).toEqual([]);
    expect(ask('198.51.100.1:81').endpoints).toEqual([clear('192.0.2.66:81')]);
  });

  it.each(['127.0.0.1:80', '169.254.169.254:80', '[::1]:80', '[fe80::1]:80', '224.0.0.1:80', '0.0.0.0:80'])(
    'L6: is never %s',
    (address) => {
      const ask = discover(entry({ spec: 'addresses: [0.0.0.0/0, "::/0"], ports: [{number: 80}]' }));
      expect(ask(address).known).toBe(false);
    },
  );

  it('belongs to the narrowest range that is seen and has the port, then to the oldest entry', () => {
    const spec = (addresses: string, port: number, rest = '') =>
      `addresses: [${addresses}], ports: [{number: ${port}, name: p}], ${rest}`;
    const ask = discover(
      entry({ name: 'young', created: '2026-02-01T00:00:00Z', spec: spec('203.0.113.0/24', 80) }),
      entry({ name: 'old', created: '2026-01-01T00:00:00Z', spec: spec('203.0.113.0/24', 80) }),
      entry({ name: 'narrow', created: '2026-03-01T00:00:00Z', spec: spec('203.0.113.7', 80) }),
      entry({ name: 'other-port', spec: spec('203.0.113.9', 81) }),
      entry({ name: 'unseen', spec: spec('203.0.113.10', 80, 'exportTo: [.]') }),
    );
    expect(ask('203.0.113.8:80').entry).toBe('shop/old');
    expect(ask('203.0.113.7:80').entry).toBe('shop/narrow');
    expect(ask('203.0.113.9:80').entry).toBe('shop/old');
    expect(ask('203.0.113.9:81').entry).toBe('shop/other-port');
    expect(ask('203.0.113.10:80').entry).toBe('shop/old');
    expect(ask('203.0.113.10:80', { ...anybody, namespace: 'shop' }).entry).toBe('shop/unseen');
  });

  it('belongs to whom looking through all entries one by one finds', () => {
    const written = fc.record({
      namespace: fc.constantFrom('a', 'b'),
      created: fc.constantFrom('2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z'),
      address: fc.tuple(fc.integer({ min: 0, max: 7 }), fc.integer({ min: 28, max: 32 })),
      port: fc.constantFrom(80, 81),
      exportTo: fc.constantFrom('*', '.', 'a', 'b', '~'),
    });
    fc.assert(
      fc.property(
        fc.array(written, { minLength: 1, maxLength: 8 }),
        fc.constantFrom('a', 'b', 'c'),
        fc.integer({ min: 0, max: 9 }),
        (entries, namespace, last) => {
          const ask = discover(
            ...entries.map(({ address: [host, length], port, exportTo, ...rest }, index) =>
              entry({
                ...rest,
                name: `e${index}`,
                spec: `addresses: [203.0.113.${host}/${length}], ports: [{number: ${port}}], exportTo: ["${exportTo}"]`,
              }),
            ),
          );
          const expected = entries
            .map((one, index) => ({ ...one, name: `${one.namespace}/e${index}` }))
            .filter(
              ({ address: [host, length], port, exportTo, namespace: own }) =>
                port === 80 &&
                cidrSet([`203.0.113.${host}/${length}`]).has(`203.0.113.${last}`) &&
                (exportTo === '*' || exportTo === namespace || (exportTo === '.' && own === namespace)),
            )
            .sort(
              (one, other) =>
                other.address[1] - one.address[1] ||
                one.created.localeCompare(other.created) ||
                one.name.localeCompare(other.name),
            );
          expect(ask(`203.0.113.${last}:80`, { ...anybody, namespace }).entry).toBe(expected[0]?.name);
        },
      ),
      { numRuns: 150 },
    );
  });
});

describe('an endpoint of a ServiceEntry in the mesh', () => {
  const vm = (rest: string) => entry({ spec: internal(`endpoints: [{address: 198.51.100.9, ${rest}}]`) });

  it.each([
    ['serviceAccount: vm', [direct('198.51.100.9:8080', 'vm')]],
    [
      'labels: {networking.istio.io/tunnel: http}, serviceAccount: vm, ports: {web: 1}',
      [hbone('198.51.100.9:1', 'vm')],
    ],
    ['labels: {security.istio.io/tlsMode: disabled}, locality: a/z1', [clear('198.51.100.9:8080', { zone: 'z1' })]],
  ])('{%s} is reached as it says', (rest, endpoints) => {
    expect(discover(vm(rest))(at).endpoints).toEqual(endpoints);
  });

  it.each(['labels: {security.istio.io/tlsMode: istio}', 'labels: {networking.istio.io/tunnel: http}', 'locality: a'])(
    'and nobody to prove, {%s}, is none, and why is told',
    (rest) => {
      expect(discover(vm(rest))(at)).toMatchObject({
        known: true,
        endpoints: [],
        problem: 'none of its endpoints is a pod, or says how it is reached and who has to be proved there',
      });
    },
  );

  it('is proved by the one SPIFFE ID that the entry names, and by none of several', () => {
    const named = (ids: string) =>
      discover(entry({ spec: internal(`subjectAltNames: [${ids}], endpoints: [{address: 198.51.100.9}]`) }))(at)
        .endpoints;
    expect(named('"spiffe://other.example/vm"')).toEqual([
      direct('198.51.100.9:8080', '', { spiffeId: 'spiffe://other.example/vm' }),
    ]);
    expect(named('"spiffe://other.example/vm", "spiffe://other.example/vm2"')).toEqual([]);
  });

  it.each<[string, Partial<PodParts>, string, unknown[]]>([
    ['with a sidecar', meshed, '', [hbone('10.0.0.1:8080', 'a-account')]],
    ['without a sidecar', {}, '', [clear('10.0.0.1:8080')]],
    [
      'whose labels of the entry lie',
      meshed,
      'labels: {security.istio.io/tlsMode: disabled}',
      [hbone('10.0.0.1:8080', 'a-account')],
    ],
  ])('that is a pod %s is that pod', (_name, parts, rest, endpoints) => {
    const ask = discover(
      pod({ name: 'a', ip: '10.0.0.1', ...parts }),
      entry({ spec: internal(`endpoints: [{address: 10.0.0.1, ${rest}}]`) }),
    );
    expect(ask(at).endpoints).toEqual(endpoints);
  });

  it('that is a pod other than who has to be proved is none', () => {
    const ids = (id: string) =>
      discover(
        pod({ name: 'a', ip: '10.0.0.1', ...meshed }),
        pod({ name: 'b', ip: '10.0.0.2' }),
        entry({ spec: internal(`subjectAltNames: ["${id}"], endpoints: [{address: 10.0.0.1}, {address: 10.0.0.2}]`) }),
      )(at).endpoints;
    expect(ids('spiffe://cluster.local/ns/shop/sa/a-account')).toEqual([hbone('10.0.0.1:8080', 'a-account')]);
    expect(ids('spiffe://cluster.local/ns/shop/sa/other')).toEqual([]);
  });

  it('is never the address of a Service, behind which a pod would be reached in plaintext', () => {
    const ask = discover(
      service('{clusterIP: 10.96.0.1, externalIPs: [198.51.100.1], ports: [{port: 8080}]}'),
      entry({
        spec: 'addresses: [203.0.113.7], ports: [{number: 80, targetPort: 8080}], resolution: STATIC, endpoints: [{address: 10.96.0.1}, {address: 198.51.100.1}]',
      }),
    );
    expect(ask(at).endpoints).toEqual([]);
  });

  it('is a pod of its namespace that the selector selects, ready or going', () => {
    const ask = discover(
      pod({ name: 'a', ip: '10.0.0.1', ...meshed }),
      pod({ name: 'b', ip: '10.0.0.2', status: 'conditions: [{type: Ready, status: "False"}]' }),
      pod({ name: 'c', ip: '10.0.0.3', metadata: 'deletionTimestamp: "2026-01-01T00:00:00Z"' }),
      pod({ name: 'd', ip: '10.0.0.4', labels: 'app: other' }),
      pod({ name: 'e', ip: '10.0.0.5', namespace: 'other' }),
      entry({ spec: internal('workloadSelector: {labels: {app: web}}') }),
    );
    expect(ask(at).endpoints).toEqual([
      hbone('10.0.0.1:8080', 'a-account'),
      clear('10.0.0.2:8080', { ready: false }),
      clear('10.0.0.3:8080', { terminating: true }),
    ]);
  });

  it('is where the application dials, with resolution NONE, and has to be proved', () => {
    const spec = 'addresses: [203.0.113.0/24], ports: [{number: 80}], location: MESH_INTERNAL';
    const ask = discover(entry({ spec: `${spec}, subjectAltNames: ["spiffe://other.example/vm"]` }));
    expect(ask(at).endpoints).toEqual([direct(at, '', { spiffeId: 'spiffe://other.example/vm' })]);
    expect(discover(entry({ spec }))(at)).toMatchObject({ known: true, endpoints: [] });
  });
});

describe('a ServiceEntry with a problem', () => {
  it.each(['fields: true', 'resolution: DNS', 'ports: all', 'location: ELSEWHERE', 'exportTo: ["*", other]'])(
    'that says %s is known and has no endpoint, and says why',
    (rest) => {
      const spec = `${rest.startsWith('ports') ? 'addresses: [203.0.113.0/24]' : external}, ${rest}`;
      const answer = discover(entry({ spec }))('203.0.113.7:443');
      expect(answer).toMatchObject({ known: true, entry: 'shop/db', endpoints: [] });
      expect(answer.problem).toContain(`spec.${rest.split(':')[0]}`);
    },
  );
});
