import type { Address } from '../addresses.ts';
import { cidrSet } from '../addresses.ts';
import type { AgentSettings } from '../config.ts';
import { captureProbe, reservedInbound, reservedOutbound } from '../ports.ts';
import type { DataPlaneSettings } from './data-plane.ts';
import type { PodAddresses } from './inbound/guard.ts';

/** What the settings alone do not say. */
export interface DataPlaneSurroundings {
  /** Whether this pod has IPv6 at all. */
  readonly hasIpv6: boolean;
  readonly podAddresses: PodAddresses;
  /** Our own SPIFFE ID; throws before the first identity. */
  spiffeId(): string;
  readonly probeAnswer: string;
}

/** Translates the settings of the sidecar into those of its data plane. */
export function dataPlaneSettings(settings: AgentSettings, surroundings: DataPlaneSurroundings): DataPlaneSettings {
  const { capture, ports } = settings;
  const usable = (address: Address) => surroundings.hasIpv6 || !address.ip.includes(':');
  const on = (ips: readonly string[], port: number) => ips.map((ip) => ({ ip, port })).filter(usable);
  const takesTunnels = capture || settings.deliver.length > 0;
  const relay = {
    idleTimeoutMs: neverAsInfinity(settings.idleTimeoutMs),
    halfCloseTimeoutMs: neverAsInfinity(settings.halfCloseTimeoutMs),
  };
  const sockets = {
    keepAliveMs: settings.keepaliveMs === 'never' ? 0 : settings.keepaliveMs,
    connectTimeoutMs: settings.connectTimeoutMs,
  };
  const capacity = {
    streamWindowBytes: settings.streamWindowBytes,
    tunnelWindowBytes: settings.tunnelWindowBytes,
    maxStreams: settings.maxTunnelStreams,
  };
  const tunnelIdleMs = neverAsInfinity(settings.tunnelIdleMs);

  return {
    listen: {
      outbound: capture ? on(['127.0.0.1', '::1'], ports.outbound) : [],
      inbound: capture ? on(['0.0.0.0', '::'], ports.inbound) : [],
      hbone: takesTunnels ? on(settings.hboneBind, ports.hbone) : [],
      declared: settings.tunnels.map(({ listen, target, via, peer }) => ({ listen, target, via, peer: peer.uri })),
      maxConnections: settings.maxConnections,
    },
    inbound: {
      ...relay,
      ...sockets,
      ...capacity,
      servedIdleTimeoutMs: 2 * tunnelIdleMs,
      handshakeTimeoutMs: settings.handshakeTimeoutMs,
      deliverFrom: deliverySource(settings),
      floor: {
        minimumMode: settings.minimumInboundMode,
        allowedPeers:
          settings.controlPlane === undefined ? new Set(settings.allowPeers.map(({ uri }) => uri)) : undefined,
      },
    },
    outbound: {
      ...relay,
      ...sockets,
      handshakeTimeoutMs: settings.handshakeTimeoutMs,
      resolveTimeoutMs: settings.resolveTimeoutMs,
      hbonePort: ports.hbone,
      reservedPorts: reservedOutbound(ports),
      probeAnswer: surroundings.probeAnswer,
      meshNetworks: cidrSet(settings.meshNetworks),
      rules: {
        policy: settings.outboundPolicy,
        minimum: settings.minimumOutbound,
        self: { isOwnAddress: surroundings.podAddresses.has, spiffeId: surroundings.spiffeId },
      },
    },
    tunnels: {
      ...sockets,
      ...capacity,
      idleTimeoutMs: tunnelIdleMs,
      maxAgeMs: neverAsInfinity(settings.tunnelMaxAgeMs),
      handshakeTimeoutMs: settings.handshakeTimeoutMs,
      openTimeoutMs: settings.tunnelOpenTimeoutMs,
    },
    maxHandshakes: settings.maxHandshakes,
    peerCertificateGraceMs: neverAsInfinity(settings.peerCertificateGraceMs),
  };
}

/** Ports of this pod that nobody reaches through its sidecar. */
export function reservedPortsOf({ ports }: AgentSettings): ReadonlySet<number> {
  return new Set([...reservedInbound(ports), captureProbe.port]);
}

function deliverySource({ capture, deliverFrom }: AgentSettings): DataPlaneSettings['inbound']['deliverFrom'] {
  if (!capture) return 'unbound';
  return deliverFrom === 'pod-address' ? 'pod-address' : 'loopback';
}

function neverAsInfinity(durationMs: number | 'never'): number {
  return durationMs === 'never' ? Number.POSITIVE_INFINITY : durationMs;
}
