/**
 * The ports of a sidecar and of the control plane. The numbers are Istio's, because every operator knows them; all are
 * configurable.
 */
export interface SidecarPorts {
  /** Outbound capture, on loopback. */
  readonly outbound: number;
  /** Inbound capture, on every address. */
  readonly inbound: number;
  /** HBONE: mutual TLS and HTTP/2 CONNECT, never captured. */
  readonly hbone: number;
  /** Admin, on loopback. */
  readonly admin: number;
  /** `/metrics` and the application's rewritten probes. */
  readonly metrics: number;
  /** `/healthz/ready` and `/livez`. */
  readonly health: number;
}

export const sidecarPorts: SidecarPorts = {
  outbound: 15001,
  inbound: 15006,
  hbone: 15008,
  admin: 15000,
  metrics: 15020,
  health: 15021,
};

export const controlPlanePorts = { api: 15012, metrics: 15014, webhook: 15017 } as const;

/**
 * An address that only a redirected connection can reach (RFC 5737 and RFC 3849). Whoever dials `port` lands on outbound
 * capture, which proves the rules. On `identityPort` only a process that the rules recognise as the sidecar lands there,
 * anyone else is refused: it proves that the uid and gid of the rules are those of the dialling process.
 *
 * On an address of the pod itself `port` is the canary: whoever dials it from outside lands on inbound capture, whatever else
 * is captured.
 */
export const captureProbe = { v4: '192.0.2.1', v6: '2001:db8::1', port: 15002, identityPort: 15003 } as const;

/** uid and gid of the sidecar; the rules let exactly this pair out uncaptured. */
export const sidecarUid = 1337;

/** Ports that no application can be reached on through the sidecar. */
export function reservedInbound(ports: SidecarPorts): ReadonlySet<number> {
  return new Set([ports.admin, ports.outbound, ports.inbound, ports.hbone, ports.metrics, ports.health]);
}

/** Ports that the sidecar never dials on an application's behalf; 15020 and 15021 of other pods pass, so that a Prometheus in the mesh can scrape. */
export function reservedOutbound(ports: SidecarPorts): ReadonlySet<number> {
  return new Set([ports.admin, ports.outbound, ports.inbound, ports.hbone]);
}
