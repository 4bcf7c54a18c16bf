import { createDiscovery } from '../../src/control-plane/discovery.ts';
import type { Asker } from '../../src/control-plane/place.ts';
import type { RegistryObjects } from '../../src/control-plane/store/objects.ts';
import { collectObjects } from '../../src/control-plane/store/objects.ts';
import { readYaml } from '../../src/control-plane/store/yaml.ts';

/* A registry as an operator writes it, in the namespace `shop`, and what is expected to be answered from it. */

const settings = { trustDomain: 'cluster.local', destinationTtlSeconds: 300, rootNamespace: 'istio-system' };

/** Who asks in the tests to which it does not matter. */
export const anybody: Asker = { namespace: 'elsewhere', pod: 'asker', podUid: 'uid' };

export function objectsOf(...documents: string[]): RegistryObjects {
  const read = readYaml(['# None may be there at all.', ...documents].join('\n---\n'));
  if (read.kind === 'broken') throw new TypeError(`${read.position.line}:${read.position.column}: ${read.why}`);
  return collectObjects(read.objects.map(({ entry }) => entry));
}

export function discover(...documents: string[]) {
  const ask = createDiscovery(objectsOf(...documents), settings);
  return (address: string, asker: Asker = anybody) => ask(address, asker);
}

/** What of a pod matters to a test, as YAML. */
export interface PodParts {
  readonly name: string;
  readonly ip: string;
  readonly namespace?: string;
  readonly labels?: string;
  readonly spec?: string;
  readonly containers?: string;
  readonly status?: string;
  readonly metadata?: string;
}

const app = '[{name: app, ports: [{name: http, containerPort: 8080}]}]';
export const pod = ({
  name,
  ip,
  namespace = 'shop',
  labels = 'app: web',
  spec = '',
  containers = app,
  status = '',
  metadata = '',
}: PodParts) => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: ${namespace}, labels: {${labels}}, ${metadata}}
spec: {serviceAccountName: ${name}-account, containers: ${containers}, ${spec}}
status: {podIP: ${ip}, ${status}}`;
export const meshed = { spec: 'initContainers: [{name: remora}]' };

export const service = (spec: string, name = 'web') => `
apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: shop}
spec: ${spec}`;
export const plain = (rest = '') =>
  service(`{clusterIP: 10.96.0.1, selector: {app: web}, ports: [{name: web, port: 80, targetPort: http}], ${rest}}`);

export const slice = (addressType: string, endpoints: string, ports = '[{name: web, port: 8080}]') => `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {generateName: web-, name: web-${addressType.toLowerCase()}, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: ${addressType}
endpoints: ${endpoints}
ports: ${ports}`;

export const hbone = (address: string, account: string, rest = {}) => ({
  address,
  spiffeId: `spiffe://cluster.local/ns/shop/sa/${account}`,
  transport: 'hbone',
  ready: true,
  terminating: false,
  ...rest,
});
export const clear = (address: string, rest = {}) => ({
  address,
  spiffeId: '',
  transport: 'plaintext',
  ready: true,
  terminating: false,
  ...rest,
});
export const answer = (address: string, endpoints: unknown[], rest = {}) => ({
  address,
  ttlSeconds: 300,
  known: true,
  endpoints,
  ...rest,
});
export const ofWeb = { service: 'web.shop' };
