import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { indexScopes } from '../../../../src/control-plane/policy/scope-index.ts';
import { collectObjects } from '../../../../src/control-plane/store/objects.ts';
import { readYaml } from '../../../../src/control-plane/store/yaml.ts';

const pod = (name: string, rest = '') => `apiVersion: v1
kind: Pod
metadata:
  name: ${name}
  namespace: shop
spec: {}
${rest}`;

/** The result of a text that must be broken, as `line:column: why`. */
function problemOf(text: string): string {
  const result = readYaml(text);
  if (result.kind !== 'broken') throw new TypeError('the text is not broken');
  return `${result.position.line}:${result.position.column}: ${result.why}`;
}

function objectsOf(text: string) {
  const result = readYaml(text);
  if (result.kind !== 'objects') throw new TypeError(problemOf(text));
  return result.objects.map(({ entry }) => entry);
}

describe('readYaml', () => {
  it("reads every document, with the API server's defaults", () => {
    expect(objectsOf(`---\n${pod('a')}---\n# nothing\n---\n${pod('b')}---\n`)).toMatchObject([
      { kind: 'v1/Pod', object: { metadata: { name: 'a', namespace: 'shop', labels: {} } } },
      {
        kind: 'v1/Pod',
        object: { metadata: { name: 'b' }, spec: { serviceAccountName: 'default', hostNetwork: false } },
      },
    ]);
    expect(objectsOf('apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {}\n')).toMatchObject([
      { object: { metadata: { namespace: 'default' } } },
    ]);
  });

  it('takes null for absent, as the API server writes it', () => {
    const text =
      'apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: null, creationTimestamp: null}\nspec: {initContainers: null}\nstatus: null\n';
    expect(objectsOf(text)).toMatchObject([{ object: { metadata: { labels: {} }, status: { podIPs: [] } } }]);
  });

  it('takes a List apart, and JSON', () => {
    const list = {
      apiVersion: 'v1',
      kind: 'List',
      items: [{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } }],
    };
    expect(objectsOf(JSON.stringify(list))).toMatchObject([{ kind: 'v1/Namespace' }]);
  });

  it.each(['v1/List', 'v1beta1/List', 'v1/NamespaceList', 'security.istio.io/v1/AuthorizationPolicyList'])(
    'takes a %s apart, and what is a list in it',
    (fullKind) => {
      const [, apiVersion, kind] = /^(.*)\/(.*)$/.exec(fullKind) ?? [];
      const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } };
      const inner = { apiVersion: 'v1', kind: 'List', items: [namespace] };
      expect(objectsOf(JSON.stringify({ apiVersion, kind, items: [inner] }))).toMatchObject([{ kind: 'v1/Namespace' }]);
    },
  );

  it('names the kinds that it does not read', () => {
    const result = readYaml(
      'apiVersion: apps/v1\nkind: Deployment\n---\napiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\n',
    );
    expect(result).toEqual({
      kind: 'objects',
      objects: [],
      ignored: ['apps/v1/Deployment', 'discovery.k8s.io/v1beta1/EndpointSlice'],
      notes: [],
    });
  });

  it('writes addresses in canonical form', () => {
    const [entry] = objectsOf(
      pod('a', 'status: {podIP: "2001:DB8:0:0::7", podIPs: [{ip: "2001:DB8:0:0::7"}, {ip: "::ffff:10.0.0.7"}]}\n'),
    );
    expect(entry).toMatchObject({
      object: { status: { podIP: '2001:db8::7', podIPs: [{ ip: '2001:db8::7' }, { ip: '10.0.0.7' }] } },
    });
  });

  it('allows a comment alone, and aliases within reason', () => {
    expect(objectsOf('# later\n')).toEqual([]);
    expect(objectsOf(pod('a').replace('spec: {}', 'spec: &s {}\nstatus: *s'))).toHaveLength(1);
  });
});

it('reads the tags of the core schema, version 1.2 and a quoted <<', () => {
  const text = `%YAML 1.2\n---\n${pod('!!str a', 'x: !!map {a: !!seq [!!int 1, !!null null, !!bool true, !!float 1.5], "<<": b}\n')}`;
  expect(objectsOf(text)).toMatchObject([{ object: { metadata: { name: 'a' } } }]);
});

it.each(['017620', '0o17620', '08080'])('takes %s, which is another number to YAML 1.1, for text', (number) => {
  const peer = `apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a}\nspec: {selector: {matchLabels: {a: b}}, portLevelMtls: {${number}: {mode: DISABLE}}}\n`;
  const entry = `apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\nspec: {hosts: [a.b], ports: [{number: ${number}}]}\n`;
  expect(objectsOf(`${peer}---\n${entry}`)).toMatchObject([
    { object: { mode: 'STRICT', problem: expect.stringContaining(`"${number}", expected a port`) } },
    { object: { problem: expect.stringContaining(`"${number}", expected a port`) } },
  ]);
});

it.each(['"not a date"', '2024', '"2024-13-01T00:00:00Z"'])(
  'takes %s for no time, and the object for the youngest',
  (time) => {
    const peer = (name: string, created: string) =>
      `apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: ${name}, creationTimestamp: ${created}}\nspec: {mtls: {mode: PERMISSIVE}}\n`;
    const { peerAuthentications } = collectObjects(
      objectsOf(`${peer('a', time)}---\n${peer('b', '"2020-01-01T00:00:00Z"')}`),
    );
    expect(indexScopes(peerAuthentications)('default').wide).toMatchObject([
      { name: 'b', problem: undefined },
      { name: 'a', problem: expect.stringContaining('metadata.creationTimestamp is no date and time') },
    ]);
  },
);

describe('readYaml refuses', () => {
  const bomb = ['a: &a [x, x, x, x, x, x, x, x, x]'];
  for (const [from, to] of ['ab', 'bc', 'cd', 'de', 'ef']) {
    bomb.push(`${to}: &${to} [${Array.from({ length: 9 }, () => `*${from}`).join(', ')}]`);
  }

  it.each([
    ['an empty file', '', '1:1: the file is empty'],
    ['blanks', ' \n\n', '1:1: the file is empty'],
    ['a byte order mark', `\uFEFF${pod('a')}`, '1:1: NUL or a byte order mark'],
    ['NUL', pod('a').replace('shop', 'sh\0op'), '5:16: NUL or a byte order mark'],
    ['duplicate keys', pod('a', 'kind: Pod\n'), '7:1: Map keys must be unique'],
    ['tabs', 'apiVersion: v1\nkind: Pod\nmetadata:\n\tname: a\n', '4:1: Tabs are not allowed'],
    ['an alias bomb', `${pod('a')}${bomb.join('\n')}`, '1:1: Excessive alias count'],
    [
      'more aliases than a person writes',
      pod('a', `x: &x 1\ny: [${'*x,'.repeat(50_000)}]\n`),
      '8:155: More than 50 aliases',
    ],
    ['an ordered map, which has no field to a schema', pod('a', 'x: !!omap [a: b]\n'), '7:4: Unresolved tag'],
    [
      'a set, by a tag of its own',
      `%TAG ! tag:yaml.org,2002:\n---\n${pod('a', 'x: !set {a}\n')}`,
      '9:4: Unresolved tag',
    ],
    ['another version of YAML', `%YAML 1.1\n---\n${pod('a')}`, '1:1: YAML 1.1 is asked for, expected 1.2'],
    ['a merge key', pod('a', 'x:\n  <<: {a: b}\n'), '8:3: The merge key << is not read'],
    ['a key that is a list', pod('a', '[x]: y\n'), '7:1: A key is no single value'],
    ['an alias within itself', pod('a', 'x: &x [*x, *x]\n'), '7:8: The alias *x has no anchor in front'],
    ['an alias of nothing', pod('a', 'x: *y\n'), '7:4: The alias *y has no anchor in front'],
    ['an unknown tag', pod('a', 'x: !!js/function "y"\n'), '7:4: Unresolved tag'],
    ['a thousand levels', pod('a', `x: ${'['.repeat(20_000)}`), '7:'],
    [
      'a broken document among good ones',
      `${pod('a')}---\n${pod('b')}  - x\n---\n${pod('c')}`,
      '14:1: A block sequence',
    ],
  ])('G1: %s', (_, text, problem) => {
    expect(problemOf(text).slice(0, problem.length)).toBe(problem);
  });

  it.each([
    ...[
      'security.istio.io/v1 AuthorizationPolicies',
      'security.istio.io/v1 AuthorizationPolicyList',
      'networking.istio.io/v2 ServiceEntry',
    ].map((one) => {
      const [version, kind] = one.split(' ');
      return [one, `apiVersion: ${version}\nkind: ${kind}\n`, version?.endsWith('2') ? '1:13: ' : '2:7: '] as [
        string,
        string,
        string,
      ];
    }),
    ...['kind: list\nitems: []', 'kind: List\nitems: {a: 1}', 'kind: List\nitems:', 'kind: PodList'].map(
      (one) => [one, `apiVersion: v1\n${one}\n`, '2:7: '] as [string, string, string],
    ),
    [
      'a slip in the metadata of policy, which may be its namespace',
      'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a, uid: b, namespce: c}\n',
      '3:39: security.istio.io/v1/PeerAuthentication: metadata.namespce is not known, did you mean namespace?',
    ],
    ['no Kubernetes object', 'kidn: Pod\napiVersion: v1\n', '1:1: no apiVersion and kind'],
    ['a list of nothing', '- a\n', '1:1: no apiVersion and kind'],
    ['a name that is none', pod('a b'), '4:9: v1/Pod: metadata.name "a b" is not a DNS name'],
    ['a name that climbs', pod('..'), '4:9: v1/Pod: metadata.name ".." is not a DNS name'],
    [
      'an address that is none',
      pod('a', 'status:\n  podIP: 10.0.0.256\n'),
      '8:10: v1/Pod: status.podIP "10.0.0.256" is not an IP address',
    ],
    [
      'a scoped address',
      pod('a', 'status:\n  podIP: fe80::1%eth0\n'),
      '8:10: v1/Pod: status.podIP "fe80::1%eth0" is not an IP',
    ],
    [
      'an object without a name',
      'apiVersion: v1\nkind: Pod\nmetadata:\n  namespace: a\nspec: {}\n',
      '4:3: v1/Pod: metadata.name is undefined, expected "name"',
    ],
    [
      'a label that is a number',
      'apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels: {v: 1}\nspec: {}\n',
      '5:15: v1/Pod: metadata.labels.v is 1, expected string',
    ],
    [
      'G3: a port that is none',
      'apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports:\n  - port: 70000\n',
      '6:11: v1/Service: spec.ports.0.port 70000 is not a port',
    ],
    [
      'an object in a List',
      'apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: A}\n',
      '6:20: v1/Pod: metadata.name "A" is not',
    ],
  ])('%s', (_, text, problem) => {
    expect(problemOf(text).slice(0, problem.length)).toBe(problem);
  });
});

it('readYaml never throws, and takes no prototype from a text', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 200, unit: 'grapheme' }), (text) => {
      expect(['objects', 'broken']).toContain(readYaml(text).kind);
      expect(['objects', 'broken']).toContain(readYaml(pod('a', text)).kind);
    }),
    { numRuns: 300 },
  );
  const [entry] = objectsOf(pod('a', '__proto__: {polluted: true}\nconstructor: {prototype: {polluted: true}}\n'));
  expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
  expect(entry?.object).not.toHaveProperty('polluted');
});
