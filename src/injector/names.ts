import { captureProbe, sidecarPorts } from '../ports.ts';
import type { Container, Pod } from './pod.ts';
import { annotationsOf, textAt } from './pod.ts';

/** What the injector adds to a pod, by name. */
export const added = {
  init: 'remora-init',
  sidecar: 'remora',
  volume: 'remora-identity',
  noApiToken: 'remora-no-api-token',
  metricsPort: 'remora-metrics',
  /** The annotation that says which version injected the pod. */
  injected: 'remora.dev/injected',
} as const;

/** Ports that the sidecar takes in the pod. */
export const takenPorts: ReadonlySet<number> = new Set([...Object.values(sidecarPorts), captureProbe.port]);

/** Sidecars that capture a pod's traffic as well. */
export const foreignSidecars: ReadonlySet<string> = new Set([
  'istio-proxy',
  'istio-init',
  'linkerd-proxy',
  'linkerd-init',
]);

/** Whether this pod went through the injector before: our mark and our container. */
export function isInjected(pod: Pod): boolean {
  const names = ({ name }: Container) => name === added.sidecar;
  const hasSidecar = pod.spec.containers.some(names) || (pod.spec.initContainers ?? []).some(names);
  return hasSidecar && textAt(annotationsOf(pod), added.injected) !== undefined;
}
