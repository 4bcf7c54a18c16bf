import type { InterceptionProof } from '../agent/interception-book.ts';
import type { MemoryPool } from '../memory-limit.ts';
import type { Direction, Security, Transport } from '../outcomes.ts';
import {
  applicationScrapeResults,
  closedReasons,
  deniedReasons,
  handshakeReasons,
  outputBlocked,
  proofResults,
  readinessGates,
  renewalReasons,
} from '../outcomes.ts';
import type { Mode } from '../policy/mode.ts';
import type { PolicyObjectState } from '../policy/policy-states.ts';
import type { Families } from './family.ts';
import { bounded, closed, given } from './family.ts';
import { processFamilies } from './process-families.ts';
import { tcpFamilies } from './tcp/families.ts';

/** Beyond them, peers count as those of `other`. */
export const maxRootLabels = 50;
/** Beyond them, the modes of ports are those of `other`. */
export const maxPortLabels = 50;
/** As many as there may be roots. */
export const maxTrustDomains = 500;

const reasonsOf = (list: Readonly<Record<string, unknown>>) => Object.keys(list);
const every = <T extends string>(values: Readonly<Record<T, true>>) => closed(...reasonsOf(values));

const direction = every<Direction>({ inbound: true, outbound: true });
const result = closed('success', 'failure');
/** Empty where there is nothing to give a reason for. */
const orNone = (list: Readonly<Record<string, unknown>>) => closed('', ...reasonsOf(list));

/** Of what our handshakes can settle on; anything else is a bug, and `other`. */
export const negotiable = {
  version: ['TLSv1.3', 'other'],
  cipher: ['TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256', 'TLS_AES_128_GCM_SHA256', 'other'],
  // A server is not told which one it was.
  group: ['X25519MLKEM768', 'X25519', 'prime256v1', 'unknown', 'other'],
} as const;

/** Every family on 15020 of a sidecar. */
export const sidecarFamilies = {
  remora_tls_handshakes_total: {
    type: 'counter',
    help: 'Mutual TLS handshakes, by outcome',
    labels: { direction, result, reason: orNone(handshakeReasons) },
  },
  remora_tls_handshake_duration_seconds: {
    type: 'histogram',
    help: 'Time from the first byte of a handshake to a verified peer',
    labels: { direction },
    buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
  },
  remora_tls_negotiated_total: {
    type: 'counter',
    help: 'What handshakes settled on',
    labels: {
      direction,
      version: closed(...negotiable.version),
      cipher: closed(...negotiable.cipher),
      group: closed(...negotiable.group),
    },
  },
  remora_connections_total: {
    type: 'counter',
    help: 'Connections carried',
    labels: {
      direction,
      transport: every<Transport>({ hbone: true, direct: true, plaintext: true }),
      security: every<Security>({ mutual_tls: true, plaintext: true }),
    },
  },
  remora_connections_closed_total: {
    type: 'counter',
    help: 'Connections that ended or could not be made',
    labels: { direction, reason: closed(...reasonsOf(closedReasons)) },
  },
  remora_connections_denied_total: {
    type: 'counter',
    help: 'Connections that this sidecar refused',
    labels: { direction, reason: closed(...reasonsOf(deniedReasons)) },
  },
  remora_log_lines_suppressed_total: {
    type: 'counter',
    help: 'Log lines left out because there were too many',
    labels: {
      reason: closed(...new Set([handshakeReasons, deniedReasons, closedReasons].flatMap(reasonsOf)), outputBlocked),
    },
  },
  remora_certificate_renewals_total: {
    type: 'counter',
    help: 'Attempts to renew the identity',
    labels: { source: closed('control_plane', 'files'), result, reason: orNone(renewalReasons) },
  },
  remora_proof_renewals_total: {
    type: 'counter',
    help: 'Attempts to prove a tunnel anew on a newer one',
    labels: { direction, result: closed(...proofResults) },
  },
  remora_tunnels_open: { type: 'gauge', help: 'HBONE tunnels open now', labels: { direction } },
  remora_bytes_total: {
    type: 'counter',
    help: 'Application bytes carried; sent is from the client to the server',
    labels: { direction, flow: closed('sent', 'received') },
  },
  remora_connections_open: { type: 'gauge', help: 'Connections carried now', labels: { direction } },
  remora_tunnel_streams_open: { type: 'gauge', help: 'Connections carried in tunnels now', labels: { direction } },
  remora_proof_ends_timestamp_seconds: {
    type: 'gauge',
    help: 'When the first of the connections carried now is cut unless its peer is proved anew',
    labels: { direction },
    absent: 'while no connection would be cut',
  },
  remora_endpoints_set_aside: {
    type: 'gauge',
    help: 'Endpoints that could not be reached and are passed over for now',
  },
  remora_mode_info: {
    type: 'gauge',
    help: 'Always 1; the mode in force on a port, and on every other one as `*`: the stricter one of the policy and of the floor of this pod',
    labels: {
      port: bounded(maxPortLabels, 'ports that have a mode of their own, and `*`', 'other'),
      mode: every<Mode>({ DISABLE: true, PERMISSIVE: true, STRICT: true }),
    },
    absent: 'before a policy, and while the last one cannot be enforced',
  },
  remora_strict_preview_plaintext_connections_total: {
    type: 'counter',
    help: 'Connections in plaintext that were let in, which a switch of the port to STRICT would refuse',
    labels: { port: bounded(maxPortLabels, 'ports that were called in plaintext', 'other') },
    absent: 'for a port before the first',
  },
  remora_policy_objects: {
    type: 'gauge',
    help: 'AuthorizationPolicies that select this workload; an invalid one that is to allow or deny denies everything. The PeerAuthentication that sets its mode counts where it is invalid, and means STRICT',
    labels: { state: every<PolicyObjectState>({ enforced: true, audit: true, dry_run: true, invalid: true }) },
    absent: 'before a policy, and while the last one cannot be enforced',
  },
  remora_connections_audited_total: {
    type: 'counter',
    help: 'Connections that an AUDIT policy matches, carried or refused',
  },
  remora_connections_dry_run_total: {
    type: 'counter',
    help: 'Connections that policies on trial were asked about: what was decided, and what would have been with them in force',
    labels: { enforced: closed('allowed', 'denied'), dry_run: closed('allowed', 'denied') },
  },
  remora_policy_last_update_timestamp_seconds: {
    type: 'gauge',
    help: 'When the policy in force came',
    absent: 'before a policy, and while the last one cannot be enforced',
  },
  remora_application_scrapes_total: {
    type: 'counter',
    help: "Scrapes of these metrics that the application's own should follow, by what became of those",
    labels: { result: closed(...applicationScrapeResults) },
  },
  remora_ready: {
    type: 'gauge',
    help: '1 for each readiness gate that is open',
    labels: { gate: closed(...readinessGates) },
  },
  remora_control_plane_up: { type: 'gauge', help: '1 while the control plane answers' },
  remora_certificate_not_after_timestamp_seconds: {
    type: 'gauge',
    help: 'End of the earliest certificate of each kind',
    labels: { kind: closed('workload', 'issuer', 'root') },
    absent: 'before the first identity; `issuer` also where a root issues directly',
  },
  remora_certificate_not_before_timestamp_seconds: {
    type: 'gauge',
    help: 'Start of our certificate',
    absent: 'before the first identity',
  },
  remora_certificate_generation: { type: 'gauge', help: 'Grows by one with each identity' },
  remora_certificate_next_renewal_timestamp_seconds: {
    type: 'gauge',
    help: 'When the identity will be renewed',
    absent: 'before the first identity, and while something else renews it',
  },
  remora_identity_time_to_outage_seconds: {
    type: 'gauge',
    help: 'Until the identity lapses if nothing renews it',
  },
  remora_trust_bundle_roots: {
    type: 'gauge',
    help: 'Roots trusted for each trust domain',
    labels: { trust_domain: bounded(maxTrustDomains, 'trust domains with a bundle') },
    absent: 'before the first identity',
  },
  remora_peers_by_root: {
    type: 'gauge',
    help: 'Peers connected now or within the last hour, by the first digits of the SHA-256 of the root that they chain to',
    labels: { root: bounded(maxRootLabels, 'roots of the trust bundle', 'other') },
  },
  remora_clock_skew_seconds: {
    type: 'gauge',
    help: 'The clock of the control plane minus the one of this sidecar',
    absent: 'while it is not known',
  },
  remora_memory_used_bytes: {
    type: 'gauge',
    help: 'Memory in use, without page cache',
    labels: { pool: every<MemoryPool['name']>({ container: true, heap: true }) },
    absent: '`container` where it has no limit',
  },
  remora_memory_limit_bytes: {
    type: 'gauge',
    help: 'Where that memory ends',
    labels: { pool: every<MemoryPool['name']>({ container: true, heap: true }) },
    absent: '`container` where it has no limit',
  },
  remora_interception_ok: {
    type: 'gauge',
    help: '1 while connections of the pod are proved to be captured, 0 when some are not',
    labels: { family: every<InterceptionProof['family']>({ ipv4: true, ipv6: true }), direction },
    absent: 'for what is not proved, and without capture',
  },
  remora_interception_bypassed_connections: {
    type: 'gauge',
    help: 'Connections of the application that go around the sidecar now',
    labels: { direction },
  },
  remora_build_info: {
    type: 'gauge',
    help: 'Always 1; the build is in the labels',
    labels: { version: given('this build'), node: given('this build'), openssl: given('this build') },
  },
  ...processFamilies,
  ...tcpFamilies,
} as const satisfies Families;
