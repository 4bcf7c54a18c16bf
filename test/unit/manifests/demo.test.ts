import { describe, expect, it } from 'vitest';
import { injectPod } from '../../../src/injector/inject.ts';
import { readInjectionSettings } from '../../../src/injector/settings.ts';
import type { KubernetesObject } from '../../support/manifests.ts';
import { installedFile, objectOf, renderedObjects } from '../../support/manifests.ts';

const objects = renderedObjects('demo-kubernetes');
const deployments = objects.filter(({ kind }) => kind === 'Deployment');
const settings = readInjectionSettings(installedFile('injection.yaml'));

describe('The demo in a cluster', () => {
  it('asks for sidecars, in a namespace that allows their init container', () => {
    const { labels, name } = objectOf(objects, 'Namespace').metadata;
    expect(labels).toMatchObject({ 'remora.dev/inject': 'true', 'pod-security.kubernetes.io/enforce': 'privileged' });
    for (const { kind, metadata } of objects) if (kind !== 'Namespace') expect(metadata.namespace).toBe(name);
  });

  it.each(deployments.map((deployment) => [deployment.metadata.name, deployment]))(
    'has the pod %s, which the injector takes without a warning, in both modes',
    (name, { spec: { template }, metadata: { namespace } }: KubernetesObject) => {
      for (const sidecarMode of ['native', 'classic'] as const) {
        const context = { namespace, workloadName: name, isJob: false };
        const injection = injectPod(template, context, { ...settings, sidecarMode });
        expect(injection).toMatchObject({ kind: 'injected', warnings: [] });
      }
    },
  );

  it('sends each Service to the pods of its name, which run what is mounted in them', () => {
    const { data, metadata } = objectOf(objects, 'ConfigMap');
    expect(deployments.map((one) => one.metadata.name)).toEqual(['api', 'web']);
    for (const {
      metadata: { name },
      spec: { template, selector },
    } of deployments) {
      const { spec } = objectOf(objects, 'Service', name);
      const [container] = template.spec.containers;
      expect(template.metadata.labels).toMatchObject(spec.selector);
      expect(template.metadata.labels).toMatchObject(selector.matchLabels);
      expect(spec.ports[0].targetPort).toBe(container.ports[0].name);
      expect(template.spec.volumes[0].configMap.name).toBe(metadata.name);
      expect(container.command).toEqual(['node', `/applications/${name}.mjs`]);
      expect(Object.keys(data)).toContain(`${name}.mjs`);
      expect(template.spec.serviceAccountName).toBe(objectOf(objects, 'ServiceAccount', name).metadata.name);
    }
  });
});
