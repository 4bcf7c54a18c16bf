import type { Address } from '../addresses.ts';
import { formatAddress } from '../addresses.ts';
import { workloadSpiffeId } from '../identity/spiffe-id.ts';
import type { Mode } from '../policy/mode.ts';
import { sidecarPorts } from '../ports.ts';
import type { Pod } from './store/objects.ts';

/** The sidecar itself answers these, in clear and uncaptured: a Prometheus in the mesh scrapes them. */
const sidecarOwnPorts: ReadonlySet<number> = new Set([sidecarPorts.metrics, sidecarPorts.health]);

/** What decides how a pod is reached, besides the pod. */
export interface PodReach {
  readonly trustDomain: string;
  /** The mode of a port of a pod by the mesh's PeerAuthentications. */
  modeAt(pod: Pod, port: number): Mode;
}

/**
 * How an address of a pod is reached, and who must be there: through the tunnel of its sidecar; with mutual TLS on the port
 * itself, as Istio's label says of pods whose sidecar has no tunnel; or in plaintext, as also where the mode of the port is
 * DISABLE, and without a pod.
 */
export function podEndpoint(address: Address, pod: Pod | undefined, { trustDomain, modeAt }: PodReach) {
  const transport = pod === undefined ? 'plaintext' : transportOf(pod, address.port);
  if (pod === undefined || transport === 'plaintext' || modeAt(pod, address.port) === 'DISABLE')
    return { address: formatAddress(address), transport: 'plaintext', spiffeId: '' } as const;
  const { uri } = workloadSpiffeId(trustDomain, pod.metadata.namespace, pod.spec.serviceAccountName);
  return { address: formatAddress(address), transport, spiffeId: uri } as const;
}

function transportOf(pod: Pod, port: number): 'hbone' | 'direct' | 'plaintext' {
  if (sidecarOwnPorts.has(port)) return 'plaintext';
  if (hasSidecar(pod)) return 'hbone';
  const speaksTls = pod.metadata.labels['security.istio.io/tlsMode'] === 'istio';
  return speaksTls && !pod.spec.hostNetwork ? 'direct' : 'plaintext';
}

/** Istio's label for pods that accept HBONE, or our container. On the network of its node no pod is captured. */
export function hasSidecar({ metadata, spec }: Pod): boolean {
  if (spec.hostNetwork) return false;
  const isOurs = ({ name }: { readonly name: string }) => name === 'remora';
  const isLabelled = metadata.labels['networking.istio.io/tunnel'] === 'http';
  return isLabelled || spec.containers.some(isOurs) || spec.initContainers.some(isOurs);
}
