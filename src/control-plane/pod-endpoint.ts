import type { Address } from '../addresses.ts';
import { formatAddress } from '../addresses.ts';
import { workloadSpiffeId } from '../identity/spiffe-id.ts';
import { sidecarPorts } from '../ports.ts';
import type { Pod } from './store/objects.ts';

/** The sidecar itself answers these, in clear and uncaptured: a Prometheus in the mesh scrapes them. */
const sidecarOwnPorts: ReadonlySet<number> = new Set([sidecarPorts.metrics, sidecarPorts.health]);

/** How an address of a pod is reached, and who must be there; without a pod in plaintext. */
export function podEndpoint(address: Address, pod: Pod | undefined, trustDomain: string) {
  if (pod === undefined || !hasSidecar(pod) || sidecarOwnPorts.has(address.port)) {
    return { address: formatAddress(address), transport: 'plaintext', spiffeId: '' } as const;
  }
  const { uri } = workloadSpiffeId(trustDomain, pod.metadata.namespace, pod.spec.serviceAccountName);
  return { address: formatAddress(address), transport: 'hbone', spiffeId: uri } as const;
}

/** Istio's label for pods that accept HBONE, or our container. On the network of its node no pod is captured. */
export function hasSidecar({ metadata, spec }: Pod): boolean {
  if (spec.hostNetwork) return false;
  const isOurs = ({ name }: { readonly name: string }) => name === 'remora';
  const isLabelled = metadata.labels['networking.istio.io/tunnel'] === 'http';
  return isLabelled || spec.containers.some(isOurs) || spec.initContainers.some(isOurs);
}
