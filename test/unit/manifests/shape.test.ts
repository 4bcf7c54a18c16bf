import { describe, expect, it } from 'vitest';
import { shapeProblems } from '../../support/kubernetes-shape.ts';
import type { RenderedName } from '../../support/manifests.ts';
import { objectOf, renderedObjects } from '../../support/manifests.ts';

describe('The objects that are sent to a cluster', () => {
  it.each<RenderedName>(['install', 'istio-label', 'demo-kubernetes'])('of %s have the shape of the API', (name) => {
    const objects = renderedObjects(name);
    expect(objects.length).toBeGreaterThan(0);
    expect(objects.flatMap(shapeProblems)).toEqual([]);
  });

  it('would show a field that does not exist, a wrong type, and a missing field', () => {
    const deployment = structuredClone(objectOf(renderedObjects('install'), 'Deployment'));
    deployment.spec.template.spec.containers[0].readinesProbe = {};
    deployment.spec.replicas = '2';
    delete deployment.spec.selector;
    expect(shapeProblems(deployment)).toEqual([
      'Deployment.spec.replicas is "2", not a number',
      'Deployment.spec.template.spec.containers[0] has no field readinesProbe',
      'Deployment.spec.selector is missing',
    ]);
  });
});
