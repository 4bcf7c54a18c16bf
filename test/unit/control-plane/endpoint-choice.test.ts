import { describe, expect, it } from 'vitest';
import { clear, discover, meshed, plain, pod, service, slice } from '../../support/registry-yaml.ts';

/** A pod whose token names its node. */
const on = (node: string) => ({ namespace: 'elsewhere', pod: 'asker', podUid: 'uid', node });
const nobodyKnows = { namespace: 'elsewhere', pod: 'asker', podUid: 'uid' };
const nodeIn = (name: string, zone: string) =>
  `apiVersion: v1\nkind: Node\nmetadata: {name: ${name}, labels: {topology.kubernetes.io/zone: ${zone}}}\n`;

/** Addresses of those that are ready, then of those that are used when nobody is, then of the others. */
const chosen = ({ endpoints }: ReturnType<ReturnType<typeof discover>>) =>
  [
    endpoints.filter(({ ready, terminating }) => ready && !terminating),
    endpoints.filter(({ ready, terminating }) => ready && terminating),
    endpoints.filter(({ ready }) => !ready),
  ].map((group) => group.map(({ address }) => address.replace(/^10\.0\.0\.(\d+):8080$/, '$1')).join(' '));

describe('internalTrafficPolicy: Local', () => {
  const local = plain('internalTrafficPolicy: Local');
  const endpoints = `[
    {addresses: [10.0.0.1], nodeName: n1}, {addresses: [10.0.0.2], nodeName: n2},
    {addresses: [10.0.0.3], nodeName: n1, conditions: {ready: false, serving: true, terminating: true}},
    {addresses: [10.0.0.4], nodeName: n3, conditions: {ready: false, serving: true, terminating: true}},
    {addresses: [10.0.0.5], nodeName: n4, conditions: {ready: false}}, {addresses: [10.0.0.6]},
    {addresses: [10.0.0.7], nodeName: ""}]`;
  const ask = discover(local, slice('IPv4', endpoints));
  const asked = (node: string) => chosen(ask('10.96.0.1:80', on(node)));

  it("leads to the endpoints on the asking pod's node and no others, ready ones or not", () => {
    expect(asked('n1')).toEqual(['1', '3', '']);
    expect(asked('n2')).toEqual(['2', '', '']);
    expect(asked('n3')).toEqual(['', '4', '']);
    expect(asked('n4')).toEqual(['', '', '5']);
  });

  it('leads nowhere from a node without one, and from a node that nobody knows', () => {
    expect(ask('10.96.0.1:80', on('n5'))).toMatchObject({ known: true, service: 'web.shop', endpoints: [] });
    expect(ask('10.96.0.1:80', on(''))).toMatchObject({ known: true, endpoints: [] });
    expect(ask('10.96.0.1:80', nobodyKnows)).toMatchObject({ known: true, endpoints: [] });
  });

  it('takes the node of an endpoint from its pod when the slice does not say it, or when there is no slice', () => {
    const pods = [
      pod({ name: 'a', ip: '10.0.0.1', spec: 'nodeName: n1' }),
      pod({ name: 'b', ip: '10.0.0.2', spec: 'nodeName: n2' }),
    ];
    const references = '[{addresses: [10.0.0.1], targetRef: {kind: Pod, name: a}}, {addresses: [10.0.0.2]}]';
    for (const registry of [
      [...pods, local],
      [...pods, local, slice('IPv4', references)],
    ])
      expect(chosen(discover(...registry)('10.96.0.1:80', on('n2')))).toEqual(['2', '', '']);
  });

  it('leaves hints aside', () => {
    const hinted = '[{addresses: [10.0.0.1], nodeName: n1, zone: a, hints: {forZones: [{name: b}]}}]';
    const askHinted = discover(local, slice('IPv4', hinted), nodeIn('n1', 'a'), nodeIn('n2', 'b'));
    expect(chosen(askHinted('10.96.0.1:80', on('n1')))).toEqual(['1', '', '']);
    expect(chosen(askHinted('10.96.0.1:80', on('n2')))).toEqual(['', '', '']);
  });

  it('does not hold for the address of a pod', () => {
    const far = pod({ name: 'a', ip: '10.0.0.1', ...meshed });
    expect(discover(far, local)('10.0.0.1:8080', on('n2')).endpoints).toHaveLength(1);
  });
});

describe('hints', () => {
  const nodes = [nodeIn('n1', 'a'), nodeIn('n2', 'b'), nodeIn('n3', 'c')];
  /** `zones` are those that an endpoint is hinted for. */
  const endpoint = (last: number, zones: string, conditions = '') =>
    `{addresses: [10.0.0.${last}], conditions: {${conditions}}, hints: {forZones: [${zones.split(' ').map((zone) => `{name: ${zone}}`)}]}}`;
  const bare = (last: number, conditions = '') => `{addresses: [10.0.0.${last}], conditions: {${conditions}}}`;
  const asked = (node: string, ...endpoints: string[]) =>
    chosen(discover(plain(), ...nodes, slice('IPv4', `[${endpoints}]`))('10.96.0.1:80', on(node)));

  it("lead to the endpoints for the asking pod's zone alone", () => {
    const endpoints = [endpoint(1, 'a'), endpoint(2, 'b'), endpoint(3, 'a b')];
    expect(asked('n1', ...endpoints)).toEqual(['1 3', '', '']);
    expect(asked('n2', ...endpoints)).toEqual(['2 3', '', '']);
  });

  it('count for nothing in a zone that none of them names, or that nobody knows', () => {
    const endpoints = [endpoint(1, 'a'), endpoint(2, 'b')];
    expect(asked('n3', ...endpoints)).toEqual(['1 2', '', '']);
    expect(asked('n4', ...endpoints)).toEqual(['1 2', '', '']);
  });

  it('count for nothing while one endpoint that is ready has none', () => {
    expect(asked('n1', endpoint(1, 'a'), bare(2))).toEqual(['1 2', '', '']);
  });

  it('are not missed where an endpoint is not ready', () => {
    const gone = 'ready: false, serving: true, terminating: true';
    expect(asked('n1', endpoint(1, 'a'), endpoint(2, 'b'), bare(3, 'ready: false'), bare(4, gone))).toEqual([
      '1',
      '',
      '',
    ]);
  });

  it('count for nothing when the only endpoint for the zone is not ready', () => {
    expect(asked('n1', endpoint(1, 'a', 'ready: false'), endpoint(2, 'b'))).toEqual(['2', '', '1']);
  });

  it('count for nothing when no endpoint is ready: those that terminate are used in every zone', () => {
    const gone = 'ready: false, serving: true, terminating: true';
    expect(asked('n2', endpoint(1, 'a', gone), bare(2, gone))).toEqual(['', '1 2', '']);
  });

  it('for nodes go before those for zones, by the same rules', () => {
    const both = (last: number, node: string, zone: string) =>
      `{addresses: [10.0.0.${last}], hints: {forNodes: [{name: ${node}}], forZones: [{name: ${zone}}]}}`;
    const endpoints = [both(1, 'n1', 'a'), both(2, 'n9', 'a'), both(3, 'n9', 'c')];
    expect(asked('n1', ...endpoints)).toEqual(['1', '', '']);
    expect(asked('n3', ...endpoints)).toEqual(['3', '', '']);
    expect(asked('n2', ...endpoints)).toEqual(['1 2 3', '', '']);
    expect(asked('n1', ...endpoints, endpoint(4, 'b'))).toEqual(['1 2', '', '']);
  });

  it('count for nothing for a pod whose place nobody knows', () => {
    const ask = discover(plain(), slice('IPv4', `[${endpoint(1, 'a')}]`));
    expect(ask('10.96.0.1:80', nobodyKnows).endpoints).toEqual([clear('10.0.0.1:8080')]);
  });
});

it('gives every pod of a place the same text, whoever asked first, and however slices list their endpoints', () => {
  const nodes = [nodeIn('n1', 'a'), nodeIn('n2', 'b')];
  const hinted = [
    '{addresses: [10.0.0.1], nodeName: n1, hints: {forZones: [{name: a}]}}',
    '{addresses: [10.0.0.2], nodeName: n2, hints: {forZones: [{name: b}]}}',
    '{addresses: [10.0.0.3], nodeName: n1, hints: {forZones: [{name: a}, {name: b}]}}',
  ];
  const local = service(
    '{clusterIP: 10.96.0.2, internalTrafficPolicy: Local, ports: [{name: web, port: 80}]}',
    'local',
  );
  const registry = (endpoints: readonly string[]) => {
    const slices = slice('IPv4', `[${endpoints}]`);
    return discover(plain(), local, ...nodes, slices, slices.replaceAll('web-ipv4', 'l').replace(': web}', ': local}'));
  };
  const texts = (ask: ReturnType<typeof discover>, ...order: string[]) => {
    const found = order.map((node) => [
      node,
      ['10.96.0.1:80', '10.96.0.2:80'].map((address) => JSON.stringify(ask(address, on(node)))),
    ]);
    return Object.fromEntries(found);
  };
  const one = texts(registry(hinted), 'n1', 'n2', 'n3');
  const other = texts(registry(hinted.toReversed()), 'n3', 'n2', 'n1');
  expect(other).toEqual(one);
  expect(new Set(Object.values(one).flat()).size).toBe(6);
});

it('tells pods of one place about different parts of a list that is too long', () => {
  const endpoints = Array.from({ length: 3000 }, (_, index) => `{addresses: [10.0.${index >> 8}.${index & 255}]}`);
  const ask = discover(plain(), slice('IPv4', `[${endpoints}]`));
  const firstFor = (pod: string, namespace = 'shop') =>
    ask('10.96.0.1:80', { ...on('n1'), namespace, pod }).endpoints[0]?.address;
  expect(new Set([firstFor('a'), firstFor('b'), firstFor('a', 'other')]).size).toBe(3);
  expect(firstFor('a')).toBe(firstFor('a'));
});
