import type { RegistryObjects } from '../../src/control-plane/store/objects.ts';
import { collectObjects, noObjects } from '../../src/control-plane/store/objects.ts';
import type { Store } from '../../src/control-plane/store/store.ts';
import { readYaml } from '../../src/control-plane/store/yaml.ts';

/** A registry that changes when the test says so. */
export interface FakeStore extends Store {
  /** Replaces everything. */
  set(yaml: string): void;
}

export function createFakeStore(yaml?: string): FakeStore {
  const listeners = new Set<(objects: RegistryObjects) => void>();
  let objects = yaml === undefined ? noObjects : objectsOf(yaml);
  return {
    current: () => objects,
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    close: async () => undefined,
    set(text) {
      objects = objectsOf(text);
      for (const listener of listeners) listener(objects);
    },
  };
}

function objectsOf(yaml: string): RegistryObjects {
  const read = readYaml(yaml);
  if (read.kind === 'broken') throw new TypeError(`${read.position.line}:${read.position.column}: ${read.why}`);
  return collectObjects(read.objects.map(({ entry }) => entry));
}

/** A pod with a sidecar, as YAML. */
export function meshedPod(name: string, ip: string, labels = 'app: web'): string {
  return `apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: shop, labels: {${labels}}}
spec: {serviceAccountName: ${name}, containers: [{name: remora}]}
status: {podIP: ${ip}}
`;
}
