import { describe, expect, it } from 'vitest';
import type { Asker } from '../../../src/control-plane/place.ts';
import { createPlaces } from '../../../src/control-plane/place.ts';
import { indexRegistry } from '../../../src/control-plane/registry-index.ts';
import { objectsOf, pod, slice } from '../../support/registry-yaml.ts';

const web: Asker = { namespace: 'shop', pod: 'web-0', podUid: 'uid-1' };
const placeOf = (asker: Asker, ...documents: string[]) => {
  const objects = objectsOf(...documents);
  return createPlaces(objects, indexRegistry(objects))(asker);
};
const zone = (name: string) => `topology.kubernetes.io/zone: ${name}`;
const node = (name: string, labels = '') =>
  `apiVersion: v1\nkind: Node\nmetadata: {name: ${name}, labels: {${labels}}}`;
const webPod = (rest = '', labels = '') =>
  pod({ name: 'web-0', ip: '10.0.0.1', spec: 'nodeName: n1', metadata: rest, labels });

describe('the node of an asker', () => {
  it('is that of its pod in the registry', () => {
    expect(placeOf(web, webPod()).node).toBe('n1');
    expect(placeOf(web, webPod('uid: uid-1')).node).toBe('n1');
  });

  it('is that of its token before all', () => {
    expect(placeOf({ ...web, node: 'n2' }, webPod()).node).toBe('n2');
    expect(placeOf({ ...web, node: 'n2' }).node).toBe('n2');
  });

  it.each<[string, string[]]>([
    ['the registry does not hold its pod', []],
    ['the registry holds an earlier pod of its name', [webPod('uid: uid-0')]],
    ['its pod is of another namespace', [pod({ name: 'web-0', ip: '10.0.0.1', namespace: 'o', spec: 'nodeName: n1' })]],
    ['its pod has none', [pod({ name: 'web-0', ip: '10.0.0.1' })]],
  ])('is not known when %s', (_, documents) => {
    expect(placeOf(web, ...documents)).toEqual({ node: undefined, zone: undefined });
  });
});

describe('the zone of an asker', () => {
  const endpoints = slice(
    'IPv4',
    '[{addresses: [10.0.0.9]}, {addresses: [10.0.0.8], nodeName: n2, zone: other}, {addresses: [10.0.0.7], nodeName: n1, zone: slice}, {addresses: [10.0.0.6], nodeName: n1}]',
  );

  it('is that of its node, else that of its pod, else that of an endpoint on its node', () => {
    const labelled = webPod('', zone('pod'));
    expect(placeOf(web, node('n1', zone('node')), labelled, endpoints).zone).toBe('node');
    expect(placeOf(web, node('n1'), labelled, endpoints).zone).toBe('pod');
    expect(placeOf(web, node('n2', zone('node')), webPod(), endpoints).zone).toBe('slice');
    expect(placeOf({ ...web, node: 'n2' }, endpoints).zone).toBe('other');
  });

  it('is not known when nothing tells it', () => {
    expect(placeOf(web, node('n1'), webPod())).toEqual({ node: 'n1', zone: undefined });
    expect(placeOf(web, endpoints).zone).toBeUndefined();
    expect(placeOf(web, webPod('uid: uid-0', zone('pod')), endpoints).zone).toBeUndefined();
  });
});
