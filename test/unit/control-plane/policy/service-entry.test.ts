import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { isVisibleIn, readServiceEntry } from '../../../../src/control-plane/policy/service-entry.ts';
import { formatRange } from '../../../../src/prefix-table.ts';

const read = (spec: unknown, rest: object = {}) =>
  readServiceEntry({
    apiVersion: 'networking.istio.io/v1',
    kind: 'ServiceEntry',
    metadata: { name: 'db', namespace: 'shop', creationTimestamp: undefined, annotations: undefined },
    spec,
    ...rest,
  });

const usual = {
  hosts: ['db.example.com'],
  addresses: ['203.0.113.0/24'],
  ports: [{ number: 5432, name: 'tcp', protocol: 'TCP' }],
};
const yaml = (text: string): Record<string, unknown> => ({ ...usual, ...(parse(text) as object) });
const internal = (text: string) => ({ location: 'MESH_INTERNAL', resolution: 'STATIC', ...yaml(text) });
const found = (spec: unknown) => read(spec).findings.map(({ severity, why }) => `${severity}: ${why}`);
const problem = (spec: unknown) => read(spec).object.problem;

describe('a ServiceEntry', () => {
  it('is about its addresses and ports, and reaches what the application dials, as everybody may', () => {
    const { object, findings } = read(usual);
    expect(findings).toEqual([]);
    expect(object).toMatchObject({
      name: 'db',
      namespace: 'shop',
      ports: [{ number: 5432, name: 'tcp', targetPort: 5432 }],
      exportTo: 'all',
      isExternal: true,
      target: { kind: 'original' },
      problem: undefined,
    });
    expect(object.ranges.map(formatRange)).toEqual(['203.0.113.0/24']);
  });

  it.each(['v1', 'v1beta1', 'v1alpha3'])('is read in version %s', (version) => {
    expect(read(usual, { apiVersion: `networking.istio.io/${version}` }).findings).toEqual([]);
  });

  it('reads an address of IPv4 that is mapped into IPv6 as the one that it is, and no range of such', () => {
    const { object } = read(yaml('addresses: ["::ffff:203.0.113.7", "2001:DB8::/33"]'));
    expect(object.ranges.map(formatRange)).toEqual(['203.0.113.7/32', '2001:db8::/33']);
    expect(problem(yaml('addresses: ["::ffff:203.0.113.0/120"]'))).toContain('expected an IP address or a CIDR');
  });

  it('reaches its endpoints by the names of its ports, else by their target port, else by their number', () => {
    const { object, findings } = read(
      yaml(`
        resolution: STATIC
        ports: [{number: 80, name: a, targetPort: 8080}, {number: 81, name: b}, {number: 53, name: c, protocol: UDP}]
        endpoints: [{address: 203.0.113.9, ports: {a: 1}, locality: eu/zone-1/rack}, {address: "::ffff:203.0.113.10"}]`),
    );
    expect(object.ports).toEqual([
      { number: 80, name: 'a', targetPort: 8080 },
      { number: 81, name: 'b', targetPort: 81 },
    ]);
    expect(object.target).toMatchObject({
      kind: 'endpoints',
      endpoints: [
        { ip: '203.0.113.9', ports: { a: 1 }, zone: 'zone-1', transport: 'plaintext' },
        { ip: '203.0.113.10', ports: {}, zone: undefined },
      ],
    });
    expect(findings.map(({ why }) => why)).toEqual(['spec.ports[2].protocol is UDP, which is not captured']);
  });

  it.each([
    ['', undefined],
    ['labels: {security.istio.io/tlsMode: istio}, serviceAccount: vm', 'direct'],
    ['labels: {networking.istio.io/tunnel: http}, serviceAccount: vm', 'hbone'],
    ['labels: {networking.istio.io/tunnel: http, security.istio.io/tlsMode: istio}, serviceAccount: vm', 'hbone'],
    ['labels: {security.istio.io/tlsMode: disabled}', 'plaintext'],
    // As in Istio, whoever has an identity speaks mutual TLS.
    ['serviceAccount: vm', 'direct'],
  ])('in the mesh takes an endpoint {%s} for one that is reached by %s', (endpoint, transport) => {
    const { object } = read(internal(`endpoints: [{address: 203.0.113.9, ${endpoint}}]`));
    expect(object.problem).toBe(undefined);
    expect(object.target).toMatchObject({ endpoints: [{ transport }] });
  });

  it('in the mesh never takes silence for plaintext', () => {
    expect(found(internal('endpoints: [{address: 203.0.113.9}]'))).toEqual([
      'warning: spec.endpoints[0] is in the mesh, and nothing says how it is reached: it is used only where it is a pod; security.istio.io/tlsMode is istio or disabled',
    ]);
    expect(
      read(internal('{subjectAltNames: ["spiffe://a.example/ns/b/sa/c"], endpoints: [{address: 203.0.113.9}]}')).object,
    ).toMatchObject({ spiffeIds: ['spiffe://a.example/ns/b/sa/c'], target: { endpoints: [{ transport: 'direct' }] } });
  });

  it.each([
    ['exportTo: [.]', ['shop'], ['other']],
    ['exportTo: ["*"]', ['shop', 'other'], []],
    ['exportTo: []', ['shop', 'other'], []],
    ['exportTo: [other]', ['other'], ['shop']],
    ['exportTo: [., other]', ['shop', 'other'], ['third']],
    ['exportTo: ["~"]', [], ['shop', 'other']],
    // What cannot be read is not made wider by it, and is still seen at home.
    ['exportTo: [Other, third]', ['shop', 'third'], ['other']],
    ['exportTo: here', ['shop'], ['here', 'other']],
  ])('with %s is seen by %j and not by %j', (text, seeing, others) => {
    const { object } = read(yaml(text));
    expect(seeing.filter((namespace) => !isVisibleIn(object, namespace))).toEqual([]);
    expect(others.filter((namespace) => isVisibleIn(object, namespace))).toEqual([]);
  });

  it.each([
    ['hosts: []', 'spec.hosts is an empty list'],
    ['fields: true', 'spec.fields is not known'],
    ['addresses: [db.example.com]', 'spec.addresses[0] is "db.example.com", expected an IP address or a CIDR'],
    ['ports: []', 'spec.ports is an empty list'],
    ['ports: [{number: 0}]', 'spec.ports[0].number is 0, expected a port'],
    ['ports: [{number: 1, protocol: SCTP}]', 'spec.ports[0].protocol is "SCTP", expected one of TCP'],
    ['ports: [{number: 1, name: a}, {number: 1, name: b}]', 'spec.ports[1].number is 1, which another port is too'],
    ['ports: [{number: 1, name: a}, {number: 2, name: a}]', 'spec.ports[1].name is "a", as another port is named'],
    ['ports: [{number: 1, targetPort: 2}]', 'spec.ports[0].targetPort needs resolution STATIC'],
    ['{resolution: STATIC, ports: [{number: 1, targetPort: 15008}]}', 'which is a port of a sidecar'],
    ['location: ELSEWHERE', 'spec.location is "ELSEWHERE", expected one of'],
    ['resolution: LATER', 'spec.resolution is "LATER", expected one of'],
    ['resolution: DNS', 'spec.resolution is "DNS", and names are not looked up'],
    ['endpoints: [{address: 203.0.113.9}]', 'spec.endpoints needs resolution STATIC'],
    ['workloadSelector: {labels: {a: b}}', 'spec.workloadSelector needs resolution STATIC'],
    ['{resolution: STATIC, workloadSelector: {labels: {}}}', 'spec.workloadSelector.labels is empty'],
    [
      '{resolution: STATIC, workloadSelector: {labels: {a: b}}, endpoints: [{address: 203.0.113.9}]}',
      'stands beside endpoints',
    ],
    ['{resolution: STATIC, endpoints: [{address: unix:///run/db}]}', 'expected an IP address'],
    ['{resolution: STATIC, endpoints: [{address: 127.0.0.1}]}', 'neither loopback, link-local nor multicast'],
    ['{resolution: STATIC, endpoints: [{address: "::ffff:127.0.0.1"}]}', 'neither loopback, link-local nor multicast'],
    ['{resolution: STATIC, endpoints: [{address: 169.254.169.254}]}', 'neither loopback, link-local nor multicast'],
    [
      '{resolution: STATIC, endpoints: [{address: 203.0.113.9, network: other}]}',
      'spec.endpoints[0].network is not known',
    ],
    ['{resolution: STATIC, endpoints: [{address: 203.0.113.9, ports: {web: 1}}]}', 'is no port of the entry'],
    [
      '{resolution: STATIC, endpoints: [{address: 203.0.113.9, ports: {tcp: 15001}}]}',
      'is 15001, which is a port of a sidecar',
    ],
    ['{resolution: STATIC, endpoints: [{address: 203.0.113.9, serviceAccount: vm}]}', 'location is not MESH_INTERNAL'],
    [
      '{resolution: STATIC, endpoints: [{address: 203.0.113.9, labels: {security.istio.io/tlsMode: istio}}]}',
      'location is not MESH_INTERNAL',
    ],
    ['{subjectAltNames: ["spiffe://a.example/ns/b/sa/c"]}', 'spec.subjectAltNames names an identity of the mesh'],
    ['{location: MESH_INTERNAL}', 'spec.subjectAltNames has to be one SPIFFE ID'],
    ['exportTo: ["*", other]', 'spec.exportTo has * beside others'],
    ['exportTo: ["~", other]', 'spec.exportTo has ~ beside others'],
  ])('that says %s has a problem, and is still about its addresses', (text, why) => {
    const { object } = read(yaml(text));
    expect(object.problem).toContain(why);
    if (!text.startsWith('addresses')) expect(object.ranges.map(formatRange)).toEqual(['203.0.113.0/24']);
  });

  it.each([
    ['labels: {security.istio.io/tlsMode: mutual}', 'is "mutual", expected istio or disabled'],
    ['labels: {networking.istio.io/tunnel: quic}', 'is "quic", expected http'],
    ['serviceAccount: vm, labels: {security.istio.io/tlsMode: disabled}', 'while the entry says who has to be proved'],
  ])('in the mesh with an endpoint {%s} has a problem', (endpoint, why) => {
    expect(problem(internal(`endpoints: [{address: 203.0.113.9, ${endpoint}}]`))).toContain(why);
  });

  it.each([
    ['addresses: null', 'spec.addresses is missing'],
    ['{addresses: [], resolution: DNS}', 'spec.addresses is missing'],
    ['addresses: [127.0.0.0/8]', 'never matched'],
    ['addresses: [169.254.169.254]', 'never matched'],
    ['addresses: ["fe80::/16"]', 'never matched'],
    ['ports: [{number: 15008}]', 'which is a port of the sidecar'],
    ['resolution: STATIC', 'nobody is reached'],
    ['subjectAltNames: [db.example.com]', 'no SPIFFE IDs'],
    ['{resolution: STATIC, endpoints: [{address: 203.0.113.9, weight: 3}]}', 'is not looked at'],
  ])('that says %s is followed with a warning', (text, why) => {
    const { object, findings } = read(yaml(text));
    expect(object.problem).toBe(undefined);
    expect(findings).toMatchObject([{ severity: 'warning', why: expect.stringContaining(why) }]);
  });

  it('whose ports cannot be read is about every port', () => {
    expect(read(yaml('ports: [{number: 80}, {number: all}]')).object.ports).toBe('every');
    expect(read(yaml('ports: 80')).object.ports).toBe('every');
    expect(read({ addresses: ['203.0.113.7'] }).object.ports).toBe('every');
    expect(read(yaml('ports: [{number: 80, colour: red}]')).object.ports).toMatchObject([{ number: 80 }]);
    expect(read(yaml('ports: [{number: 53, protocol: UDP}]')).object.ports).toEqual([]);
  });

  it('is read without an exception, whatever it is, and what has a problem has no endpoint to offer', () => {
    const anything = fc.oneof(
      fc.anything(),
      fc.record({ addresses: fc.anything(), ports: fc.anything(), exportTo: fc.anything(), endpoints: fc.anything() }),
    );
    fc.assert(
      fc.property(anything, (spec) => {
        const { object, findings } = read(spec);
        expect(object.problem === undefined).toBe(findings.every(({ severity }) => severity === 'warning'));
      }),
    );
  });
});

it.each([
  [5000, 10, undefined],
  [5001, 1, 'spec.addresses has 5001 items, expected 5000 at most for as many ports'],
  [4546, 11, 'spec.addresses has 4546 items, expected 4545 at most for as many ports'],
])(
  'a ServiceEntry of %i addresses and %i ports is within its bound, or has a problem',
  (addresses, ports, expected) => {
    const spec = {
      hosts: ['one.example.com'],
      addresses: Array.from({ length: addresses }, (_, i) => `10.0.${i >> 8}.${i & 255}`),
      ports: Array.from({ length: ports }, (_, i) => ({ number: i + 1, name: `p${i}` })),
    };
    const metadata = { name: 'one', namespace: 'shop', creationTimestamp: undefined, annotations: undefined };
    const object = { apiVersion: 'networking.istio.io/v1', kind: 'ServiceEntry', metadata, spec };
    expect(readServiceEntry(object).object.problem).toBe(expected);
  },
);
