import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { authorityFiles, lastingFiles } from '../../../src/control-plane/authority-files.ts';
import { webhookLimits, webhookPaths } from '../../../src/control-plane/webhook.ts';
import { injectionTable, readInjectionSettings } from '../../../src/injector/settings.ts';
import { controlPlanePorts, sidecarUid } from '../../../src/ports.ts';
import type { KubernetesObject } from '../../support/manifests.ts';
import { installedFile, manifests, objectOf, renderedObjects } from '../../support/manifests.ts';

/*
 * Names, ports and paths stand in several objects and in the program. Each test follows one of them all the way.
 */

const objects = renderedObjects('install');
const deployment = objectOf(objects, 'Deployment');
const pod = deployment.spec.template;
const [container] = pod.spec.containers;
const service = objectOf(objects, 'Service');
const { webhooks } = objectOf(objects, 'MutatingWebhookConfiguration');
const settings = readInjectionSettings(installedFile('injection.yaml'));
const cluster = objectOf(objects, 'ConfigMap', 'remora-cluster').data;
const secret = objectOf(objects, 'Secret', 'remora-authority').data;

const serviceName = `${service.metadata.name}.${service.metadata.namespace}.svc`;
const argument = (flag: string): string | undefined =>
  container.args.find((text: string) => text.startsWith(`--${flag}=`))?.slice(flag.length + 3);

describe('The control plane in a cluster', () => {
  it('is reached by the Service on the ports that it listens on', () => {
    const ports = Object.fromEntries(container.ports.map((port: KubernetesObject) => [port.name, port.containerPort]));
    expect(ports).toEqual(controlPlanePorts);
    const behind = service.spec.ports.map(({ port, targetPort }: KubernetesObject) => [port, ports[targetPort]]);
    expect(behind).toEqual([
      [15012, 15012],
      [15014, 15014],
      [443, 15017],
    ]);
    expect(pod.metadata.labels).toMatchObject(service.spec.selector);
    expect(pod.metadata.labels).toMatchObject(deployment.spec.selector.matchLabels);
    expect(objectOf(objects, 'PodDisruptionBudget').spec.selector).toEqual(deployment.spec.selector);
    expect(pod.metadata.annotations['prometheus.io/port']).toBe(String(controlPlanePorts.metrics));
  });

  it('has the name in its certificate that sidecars and the API server dial', () => {
    expect(argument('serving-name')).toBe(serviceName);
    expect(settings.controlPlane).toBe(`https://${serviceName}:${controlPlanePorts.api}`);
    expect(injectionTable.controlPlane.default).toBe(settings.controlPlane);
    for (const { clientConfig } of webhooks) {
      const { name, namespace, port, path } = clientConfig.service;
      expect(`${name}.${namespace}.svc`).toBe(serviceName);
      expect([port, path]).toEqual([443, webhookPaths.inject]);
    }
  });

  it('finds every volume, every key and every name that it refers to', () => {
    const names = objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
    const given = pod.spec.volumes.filter(({ emptyDir }: KubernetesObject) => emptyDir === undefined);
    const volumes = given.map(({ secret: one, configMap }: KubernetesObject) =>
      one === undefined ? `ConfigMap ${configMap.name}` : `Secret ${one.secretName}`,
    );
    // The only one that a cluster may lack for a while.
    const later = ['registry', 'revocations'];
    expect(volumes.filter((name: string) => !names.includes(name))).toEqual(
      later.map((name) => `ConfigMap remora-${name}`),
    );
    for (const one of later)
      expect(pod.spec.volumes.find(({ name }: KubernetesObject) => name === one).configMap.optional).toBe(true);
    const variables = container.env.map(({ name, valueFrom: { configMapKeyRef } }: KubernetesObject) => {
      expect(names).toContain(`ConfigMap ${configMapKeyRef.name}`);
      expect(Object.keys(cluster)).toContain(configMapKeyRef.key);
      return `$(${name})`;
    });
    expect(variables).toEqual([argument('trust-domain'), argument('token-issuer')]);
    expect(Object.keys(secret).sort()).toEqual(lastingFiles.map((file) => authorityFiles[file]).sort());
    for (const { mountPath, subPath, readOnly } of container.volumeMounts) {
      // What can be written is the folder of the admin socket alone.
      expect([subPath, readOnly ?? false]).toEqual([undefined, mountPath !== '/run/remora']);
      expect(container.args.join(' ')).toContain(`=${mountPath}`);
    }
    expect(names).toContain(`ServiceAccount ${pod.spec.serviceAccountName}`);
    expect(names).toContain(`PriorityClass ${pod.spec.priorityClassName}`);
  });

  it('is restarted by new settings, and not by new token keys, which it reads itself', () => {
    const hashed = (name: string) => objectOf(objects, 'ConfigMap', name).metadata.name !== name;
    expect(['remora-injection', 'remora-cluster', 'remora-token-keys', 'remora-root'].map(hashed)).toEqual([
      true,
      true,
      false,
      false,
    ]);
    expect(objectOf(objects, 'Secret').metadata.name).toMatch(/^remora-authority-\w+$/);
  });

  it('reads a snapshot, whose taker may read nine kinds of objects and write that one ConfigMap', () => {
    const rights = (kind: string) =>
      objectOf(objects, kind).rules.map(({ resources, resourceNames, verbs }: KubernetesObject) =>
        [verbs, resources, resourceNames ?? []].map((words) => words.join(',')).join(' '),
      );
    expect(rights('ClusterRole')).toEqual([
      'get,list,watch namespaces,nodes,pods,services,serviceaccounts ',
      'get,list,watch endpointslices ',
      'get,list,watch peerauthentications,authorizationpolicies ',
      'get,list,watch serviceentries ',
    ]);
    expect(rights('Role')).toEqual(['get,patch,update configmaps remora-registry', 'create configmaps ']);
    expect(objectOf(objects, 'Role').metadata.namespace).toBe('remora-system');
  });

  it('has no right in the cluster and needs none on its node', () => {
    const subjects = objects.flatMap((object) => object.subjects ?? []).map(({ name }: KubernetesObject) => name);
    expect(new Set(subjects)).toEqual(new Set(['remora-snapshot']));
    expect(pod.spec.serviceAccountName).toBe('remora-control-plane');
    expect(pod.spec.automountServiceAccountToken).toBe(false);
    const namespace = objectOf(objects, 'Namespace');
    expect(namespace.metadata.labels['pod-security.kubernetes.io/enforce']).toBe('restricted');
    expect(pod.spec.securityContext).toEqual({
      runAsNonRoot: true,
      runAsUser: sidecarUid,
      runAsGroup: sidecarUid,
      fsGroup: sidecarUid,
      seccompProfile: { type: 'RuntimeDefault' },
    });
    expect(container.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
    // What the program refuses: keys for everybody. What it cannot do without: its group may read.
    const { defaultMode } = pod.spec.volumes.find(({ name }: KubernetesObject) => name === 'authority').secret;
    expect(defaultMode.toString(8)).toBe('440');
  });
});

describe('The injector in a cluster', () => {
  it('gives sidecars the image, the trust domain and the root of the control plane', () => {
    expect(settings.image).toBe(container.image);
    expect(settings.trustDomain).toBe(cluster.TRUST_DOMAIN);
    expect(parse(objectOf(objects, 'ConfigMap', 'remora-injection').data['injection.yaml'])).toEqual(
      parse(installedFile('injection.yaml').text),
    );
    const root = objectOf(objects, 'ConfigMap', settings.rootConfigMap);
    expect(root.data['ca.pem']).toBe(Buffer.from(secret['root.pem'], 'base64').toString());
  });

  it('W13: is trusted by the root of the mesh, from which its certificate is renewed', () => {
    for (const { clientConfig } of [...webhooks, ...webhooksOf('istio-label')]) {
      expect(Buffer.from(clientConfig.caBundle, 'base64').toString()).toBe(
        Buffer.from(secret['root.pem'], 'base64').toString(),
      );
    }
  });

  it('W11: refuses pods while nobody answers, but never those that make the control plane', () => {
    const system = settings.systemNamespaces;
    expect(system).toContain(service.metadata.namespace);
    for (const webhook of [...webhooks, ...webhooksOf('istio-label')]) {
      expect(webhook).toMatchObject({ failurePolicy: 'Fail', sideEffects: 'None', matchPolicy: 'Equivalent' });
      const [byName] = webhook.namespaceSelector.matchExpressions;
      expect(byName).toEqual({ key: 'kubernetes.io/metadata.name', operator: 'NotIn', values: system });
    }
  });

  it('W12: has answered or refused before the API server gives up', () => {
    for (const { timeoutSeconds } of webhooks)
      expect(timeoutSeconds * 1000).toBeGreaterThanOrEqual(webhookLimits.requestMs + webhookLimits.handshakeMs);
  });

  it('W15: is asked about new pods and nothing else', () => {
    const rules = [
      { operations: ['CREATE'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods'], scope: 'Namespaced' },
    ];
    for (const webhook of [...webhooks, ...webhooksOf('istio-label')]) expect(webhook.rules).toEqual(rules);
  });
});

function webhooksOf(name: 'istio-label'): readonly KubernetesObject[] {
  return objectOf(renderedObjects(name), 'MutatingWebhookConfiguration').webhooks;
}

describe('The folder of an installation', () => {
  it('keeps the keys of the mesh out of Git', () => {
    const ignored = readFileSync(join(manifests, 'install/.gitignore'), 'utf8').split('\n');
    expect(ignored).toContain('/authority/');
  });
});
