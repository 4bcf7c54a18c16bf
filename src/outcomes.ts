/**
 * Every closed list of outcomes, and the words for a person: what happened, and what to do. Metrics labels, logs and the
 * demo use these tables and no others, so a reason cannot exist without its words.
 */
export interface Words {
  readonly happened: string;
  readonly remedy: string;
}

/** Why a TLS handshake produced no verified peer. */
export const handshakeReasons = {
  no_client_cert: {
    happened: 'The peer presented no certificate',
    remedy:
      'Look what runs at `peerAddress`, and why it dials `originalDestination`, or `tunnelTo` for a tunnel, as a sidecar does: a sidecar always presents one',
  },
  untrusted: {
    happened: "The peer's certificate does not chain to the trust bundle of its trust domain",
    remedy:
      'Compare `presentedIssuer` with the roots of that trust domain that `remora certs` shows, beside this sidecar and beside the peer',
  },
  expired: {
    happened: "A certificate in the peer's chain has expired",
    remedy: 'Run `remora certs` beside the peer: it says why its renewals fail, and how far off its clock is',
  },
  not_yet_valid: {
    happened: "A certificate in the peer's chain is not valid yet",
    remedy: 'Run `remora certs` on both sides: it says how far each clock is from that of the control plane',
  },
  bad_purpose: {
    happened: "The peer's certificate may not be used for this purpose",
    remedy: 'Issue it with both serverAuth and clientAuth in its extended key usage, or with neither',
  },
  path_length: {
    happened: "The peer's chain is longer than a path length constraint in it allows",
    remedy: 'Issue the intermediate from an authority whose path length allows it',
  },
  name_constraint: {
    happened: "A name in the peer's certificate lies outside the name constraints of its issuer",
    remedy: 'Issue the identity from an authority that is permitted to name it',
  },
  critical_extension: {
    happened: "The peer's chain has a critical extension that is not understood",
    remedy: 'Issue the certificate without that extension, or mark it as not critical',
  },
  chain_too_long: {
    happened: 'The peer presented more certificates than the limit',
    remedy: 'Send only the leaf and the intermediates that lead to the root',
  },
  svid_no_uri: {
    happened: "The peer's certificate carries no SPIFFE ID",
    remedy: 'Issue it with exactly one URI subject alternative name',
  },
  svid_multiple_uris: {
    happened: "The peer's certificate carries more than one URI",
    remedy: 'Issue it with exactly one URI subject alternative name',
  },
  svid_is_ca: {
    happened: 'The peer presented a certificate authority as its own certificate',
    remedy: 'Issue a leaf with CA:FALSE for the workload',
  },
  svid_key_usage: {
    happened: "The key usage of the peer's certificate does not fit a workload",
    remedy: 'Issue it with digitalSignature and without keyCertSign and cRLSign',
  },
  svid_id_syntax: {
    happened: "The URI in the peer's certificate is not a well-formed SPIFFE ID",
    remedy: 'Issue it with an ID such as spiffe://cluster.local/ns/shop/sa/web',
  },
  svid_id_too_long: {
    happened: 'The SPIFFE ID of the peer is longer than 2048 bytes',
    remedy: 'Shorten the path of the ID',
  },
  trust_domain: {
    happened: 'The peer belongs to a trust domain that this sidecar has no bundle for',
    remedy:
      'If it should be trusted, give its roots to the control plane with --trust-bundle, or to this sidecar with federatedBundles where identities come in files',
  },
  peer_identity: {
    happened: 'The peer proved another identity than the expected one',
    remedy:
      'Compare `presentedId` with `expectedId`; `remora explain --to` the destination shows which identity the registry expects there',
  },
  revoked: {
    happened: "The peer's certificate has been revoked, or it cannot be known who is revoked",
    remedy:
      'Beside the control plane `remora control-plane revoke --list` shows what is revoked, and --lift takes it back; `remora certs` says when lists are out of date',
  },
  resumed: {
    happened: 'The peer tried to resume an earlier TLS session',
    remedy: 'Disable session resumption in the peer; every connection proves its identity anew',
  },
  protocol_version: {
    happened: 'The peer does not speak an accepted TLS version',
    remedy: 'Enable TLS 1.3 in the peer',
  },
  no_shared_cipher: {
    happened: 'Both sides share no cipher suite, group or signature algorithm',
    remedy:
      'Enable the suites of TLS 1.3 and the groups X25519 or P-256 in the peer; a sidecar of any version has them',
  },
  alpn: {
    happened: 'The peer speaks TLS, but not the protocol of the mesh',
    remedy:
      "Inject a sidecar into the peer, or exclude the port with traffic.sidecar.istio.io/excludeInboundPorts so that the application's own TLS passes",
  },
  bad_record: {
    happened: 'The peer sent bytes that are not valid TLS',
    remedy: 'Look what runs at the other end: `peerAddress` if it dialled us and `tunnelTo` if we dialled it',
  },
  timeout: {
    happened: 'The handshake did not finish within its deadline',
    remedy:
      'Where `detail` says that nothing was said, look whether the peer has a sidecar; else check the network between both nodes, its MTU too, and the load of both sidecars; then raise handshakeTimeout',
  },
  reset: {
    happened: 'The peer closed the connection during the handshake',
    remedy:
      'Look in the log of the other side for the same `tunnelFrom`: if it refused our certificate, it says there why; without a `tunnelFrom` it was no sidecar, but perhaps a check of the port',
  },
  plaintext_in_strict: {
    happened: 'The peer spoke plaintext to a port that takes mutual TLS alone',
    remedy:
      'Inject a sidecar into the peer if it has none, which `remora explain` with this id says; if it has one, the connection went around it, and `remora status` over there says why; PERMISSIVE while it moves only where minimumInboundMode allows it',
  },
  internal: {
    happened: 'The sidecar failed during the handshake',
    remedy: 'Report it with this log line',
  },
} as const satisfies Record<string, Words>;

export type HandshakeReason = keyof typeof handshakeReasons;

/** Why this sidecar decided not to carry a connection. */
export const deniedReasons = {
  default_deny: {
    happened: 'Nothing that is in force here allows this peer',
    remedy:
      'If it should be allowed, let a rule of an ALLOW policy of this workload match it, or without a control plane name it in allowPeers; `remora explain --from` its SPIFFE ID or address says what decides',
  },
  policy_deny: {
    happened: 'A DENY policy of the workload matches the peer',
    remedy:
      'Change the AuthorizationPolicy that `policy` names if the peer should be admitted; `remora explain` with the id of the connection says what decides now',
  },
  policy_unavailable: {
    happened: 'No policy has arrived yet that is complete and understood',
    remedy:
      '`remora status` says whether the control plane answers; if it does, the log says what is not understood of its policy, and without one nobody new is let in, nor out to what no registry is asked about',
  },
  policy_error: {
    happened: 'A policy of the workload cannot be understood, so it denies everything',
    remedy:
      'Correct the AuthorizationPolicy that `policy` names, or delete it; `remora explain` with the id of the connection says what is wrong with it',
  },
  self_call: {
    happened: "The application dialled one of the sidecar's own ports",
    remedy: "Dial the application's port instead",
  },
  reserved_port: {
    happened: "The peer asked for one of the sidecar's own ports",
    remedy: "Dial the application's port instead; if nobody dials it on purpose, look what `peerId` does",
  },
  not_this_pod: {
    happened: 'The peer asked for an address that is not one of this pod',
    remedy:
      '`remora explain --to` the destination, beside the client, shows whose address the registry takes it for: that pod may be gone',
  },
  no_original_destination: {
    happened: 'The kernel does not know where the connection was going',
    remedy: 'Check that connection tracking works in this kernel and that its table is not full',
  },
  bad_authority: {
    happened: 'The tunnel request names no valid address and port',
    remedy: 'Look what `peerId` runs: a sidecar sends an address and a port as :authority, and no name',
  },
  no_endpoint: {
    happened: 'The destination has no endpoint that is ready and that this sidecar can reach',
    remedy: '`remora explain --to` the destination lists its endpoints; check the readiness of their pods',
  },
  unknown_destination: {
    happened: 'The registry does not know the destination, and it must not be passed through unknown',
    remedy:
      'Create a Service or ServiceEntry for it; `remora explain --to` it says whether meshNetworks or outboundPolicy keeps it back',
  },
  mtls_required: {
    happened: 'The destination can be reached in plaintext only, and this pod forbids that',
    remedy: 'Inject a sidecar into the destination, or set minimumOutbound of this pod to plaintext',
  },
  control_plane_unavailable: {
    happened: 'The control plane has not told where the destination is, and nothing is cached for it',
    remedy: 'Look at `detail`, which says what the last call failed of, and at `remora status`',
  },
  peer_refused: {
    happened: 'The sidecar of the other side refused the connection',
    remedy: 'Look at `otherReason` and do what `otherRemedy` says, over there; its log has a line with the same id',
  },
  connection_limit: {
    happened: 'The sidecar carries as many connections as it may',
    remedy:
      '`detail` says which limit: raise maxConnections where it was set lower than what is needed, else look in `remora connections` who holds so many, or add replicas',
  },
  stream_limit: {
    happened: 'The tunnel carries as many streams as it may',
    remedy: 'Raise maxTunnelStreams, or look in `remora connections` for those that are never closed',
  },
  handshake_limit: {
    happened: 'Too many handshakes are in flight',
    remedy: 'Look in `remora handshakes` who makes so many, or add replicas',
  },
  descriptor_limit: {
    happened: 'The process has no file descriptor left',
    remedy: 'Raise nofile for the sidecar',
  },
  memory_pressure: {
    happened: 'The sidecar is close to its memory limit',
    remedy: 'Raise its memory limit, or add replicas; `remora connections` shows what it carries',
  },
  draining: {
    happened: 'The sidecar drains, or is shutting down',
    remedy: 'Nothing, clients move to another endpoint',
  },
  not_ready: {
    happened: 'The sidecar is not ready yet',
    remedy: '`remora status` names the gates that are closed, and why',
  },
  identity_expired: {
    happened: "This sidecar's own identity is over",
    remedy:
      '`detail` says why: after an expiry look in `remora certs` what the renewals fail of, a revocation is taken back with `remora control-plane revoke --lift`, and a root that is gone has to be in the trust bundle again',
  },
  internal: {
    happened: 'The sidecar failed while it handled the connection',
    remedy: 'Report it with this log line',
  },
} as const satisfies Record<string, Words>;

export type DeniedReason = keyof typeof deniedReasons;

/** What a sidecar says when it would take the connection, but has no room for it now. */
export const wantsOfRoom: ReadonlySet<string> = new Set<DeniedReason>([
  'connection_limit',
  'stream_limit',
  'descriptor_limit',
  'memory_pressure',
]);

/** Why a connection that was carried has ended, or could not be made. */
export const closedReasons = {
  eof: {
    happened: 'Both sides finished',
    remedy: 'Nothing, that is how it should be',
  },
  idle: {
    happened: 'No byte moved for the idle timeout',
    remedy: 'Raise idleTimeout, or let the application send keepalives',
  },
  max_age: {
    happened: 'The connection reached its maximum age',
    remedy: 'Nothing, the client opens a new one',
  },
  half_close_timeout: {
    happened: 'One side finished and the other did not within the half-close timeout',
    remedy: 'Raise halfCloseTimeout if the application needs longer',
  },
  reset: {
    happened: 'One side reset the connection, or closed it before the other was done',
    remedy:
      'Look in the logs of both applications, and where the other end has a sidecar in the log of that as well: it resets what it refuses',
  },
  upstream_refused: {
    happened: 'The destination refused the connection, or reset it at once',
    remedy:
      'Where `detail` has ECONNREFUSED nothing listens there: check that the application runs, and that it listens on this port and on an address that can be reached; where it has ECONNRESET something does: look in the log of the application, and of its sidecar, which resets what it refuses',
  },
  upstream_timeout: {
    happened: 'The destination did not answer in time',
    remedy:
      'Check that it runs, and the network and the network policies on the way to it; `detail` names what was waited for',
  },
  upstream_unreachable: {
    happened: 'The destination cannot be reached from here',
    remedy: 'Check the routes to it and its address; `detail` has the error of the kernel',
  },
  tunnel_lost: {
    happened: 'The tunnel that carried the connection was lost',
    remedy: 'Look in the log of the other side for the same `tunnelFrom`, and at the network between both nodes',
  },
  revoked: {
    happened: "The peer's certificate was revoked",
    remedy:
      'Nothing, if that was intended; else `remora control-plane revoke --lift` beside the control plane takes it back',
  },
  bundle_change: {
    happened: "The root that the peer's certificate chains to is trusted no more",
    remedy: 'Nothing, if that was intended; else run `remora certs` on both sides and compare the roots',
  },
  policy_change: {
    happened: 'A changed policy no longer permits the connection',
    remedy:
      'Nothing, if that was intended; else `detail` says what does not permit it any more, and `remora explain --from` the peer what is in force now',
  },
  peer_certificate_expired: {
    happened: "The peer's certificate expired and was not proved anew",
    remedy: 'Run `remora certs` beside the peer: it says why its renewals fail',
  },
  draining: {
    happened: 'The sidecar was shutting down',
    remedy: 'Nothing, clients move to another endpoint',
  },
  drain_deadline: {
    happened: 'The connection was still open at the drain deadline and was reset',
    remedy: 'Raise drainDeadline if the application needs longer, and the grace period of the pod with it',
  },
  internal: {
    happened: 'The sidecar failed while it carried the connection',
    remedy: 'Report it with this log line',
  },
} as const satisfies Record<string, Words>;

export type ClosedReason = keyof typeof closedReasons;

/** Why a renewal attempt produced no usable identity. */
export const renewalReasons = {
  unreachable: {
    happened: 'The control plane cannot be reached',
    remedy: 'Check the address of the control plane, its pods, its log, and the network to it',
  },
  server_untrusted: {
    happened: 'The control plane answers, but its certificate is not accepted',
    remedy:
      'Look at the detail: put the root that issued it into controlPlaneCaFile, which is read at each call, or set controlPlaneServerName to a name in it, or set the clock',
  },
  timeout: { happened: 'The control plane did not answer in time', remedy: 'Check its load and the network' },
  http_401: {
    happened: "The control plane did not accept this pod's token",
    remedy: "Check the token's audience and expiry, and the issuer that the control plane trusts",
  },
  http_403: {
    happened: 'The control plane refused this identity',
    remedy: 'Look at the detail, which has its words; check the service account and namespace of the pod',
  },
  http_429: {
    happened: 'The control plane asked to come back later',
    remedy: 'Nothing, unless it goes on; then look at the load of the control plane',
  },
  http_5xx: { happened: 'The control plane failed', remedy: "Look at the control plane's log" },
  too_large: {
    happened: "The control plane's reply is larger than the limit",
    remedy: 'Check what answers at its address',
  },
  bad_json: {
    happened: "The control plane's reply has an unexpected form",
    remedy: 'Check what answers at its address',
  },
  bad_pem: {
    happened: 'A certificate, its key, the trust bundle or controlPlaneCaFile cannot be read',
    remedy: 'Look at the detail: it names the file, or what the control plane sent',
  },
  key_mismatch: {
    happened: 'The certificate and the key do not belong together',
    remedy: 'Check that both files are of one renewal, or what the control plane issues',
  },
  wrong_identity: {
    happened: 'The certificate is for another identity than the expected one',
    remedy: "Compare the pod's service account with the token, or the certificate file with spiffeId",
  },
  revoked: {
    happened: 'The identity, or the certificate, is revoked',
    remedy:
      'Nothing, if that was intended; else `remora control-plane revoke --lift` beside the control plane takes it back, and --list shows it',
  },
  chain_invalid: {
    happened: 'The certificate would not be accepted by any peer',
    remedy: 'Check the certificate authority and the trust bundle',
  },
  bundle_empty: {
    happened: 'The trust bundle holds no root',
    remedy: 'Check the bundle file, or the certificate authority',
  },
  not_yet_valid: {
    happened: 'The certificate is not valid yet',
    remedy: 'Set the clock of this node, or that of whoever issued it; `remora certs` says how far they are apart',
  },
  already_expired: {
    happened: 'The certificate has already expired',
    remedy: 'Check who renews it, and compare the clocks of this node and of whoever issued it',
  },
  ttl_too_short: {
    happened: 'The certificate does not live long enough to be renewed in time',
    remedy: 'Raise certificateLifetime, and the longest lifetime that the control plane gives',
  },
  ttl_too_long: {
    happened: 'The certificate lives longer than this sidecar accepts',
    remedy: 'Lower the lifetime in the certificate authority, or raise maximumCertificateLifetime',
  },
  token_missing: { happened: 'The token file is missing or empty', remedy: 'Check the projected volume of the pod' },
} as const satisfies Record<string, Words>;

export type RenewalReason = keyof typeof renewalReasons;

/** Why a scrape of the sidecar's metrics came without the application's own. */
export const applicationScrapeFailures = {
  unreachable: {
    happened: 'The application did not answer where its metrics should be',
    remedy:
      'Compare prometheus.io/port of the pod, or appMetrics, with where the application serves its metrics over HTTP',
  },
  timeout: {
    happened: "The application's metrics did not come whole before the scrape had to be answered",
    remedy: 'Make them faster, or give the scrape a longer timeout',
  },
  status: {
    happened: 'The application did not answer 200 where its metrics should be',
    remedy: 'Compare prometheus.io/path of the pod, or appMetrics; no redirect is followed and no credentials are sent',
  },
  content_type: {
    happened: "The application's metrics are not in the text format that was asked for",
    remedy: 'Let the application answer with text/plain; version=0.0.4, not compressed',
  },
  too_large: {
    happened: "The application's metrics are larger than the limit",
    remedy:
      'Lower the number of their series, or scrape the application by itself: prometheus.istio.io/merge-metrics: "false"',
  },
  invalid: {
    happened: "The application's metrics break the rules of the text format",
    remedy: 'Correct the line; promtool check metrics reads them as well',
  },
  reserved: {
    happened: "The application's metrics have a family of the sidecar's, or one that Prometheus writes itself",
    remedy: 'Rename the families of the application that begin with remora_ or istio_tcp_, and up, scrape_* and ALERTS',
  },
} as const satisfies Record<string, Words>;

export type ApplicationScrapeFailure = keyof typeof applicationScrapeFailures;

/** What became of the application's part of a scrape. */
export const applicationScrapeResults = [
  'success',
  ...(Object.keys(applicationScrapeFailures) as ApplicationScrapeFailure[]),
] as const;

export type ApplicationScrapeResult = (typeof applicationScrapeResults)[number];

/** Why a log line was dropped that no limit had left out: nobody reads the log. */
export const outputBlocked = 'output_blocked';

/** Why a log line was not written: what the line would have told of, or `output_blocked`. */
export type SuppressedReason = HandshakeReason | DeniedReason | ClosedReason | typeof outputBlocked;

/**
 * What became of an attempt to prove a tunnel anew on a newer one. `not_newer` is an honest peer that has no newer certificate
 * yet; `not_supported` one that knows nothing of proofs, so that its tunnels end with its certificates.
 */
export const proofResults = ['renewed', 'not_newer', 'refused', 'not_supported', 'unreachable'] as const;

export type ProofResult = (typeof proofResults)[number];

/** `inbound` and `outbound` are from the pod's point of view. */
export type Direction = 'inbound' | 'outbound';

/** How the far side of a connection is reached. */
export type Transport = 'hbone' | 'direct' | 'plaintext';

export type Security = 'mutual_tls' | 'plaintext';

/** What a readiness probe waits for; the sidecar is ready when every gate is open. */
export const readinessGates = ['listeners', 'identity', 'policy', 'interception', 'not_draining'] as const;

export type ReadinessGate = (typeof readinessGates)[number];

/** What to do while a gate is closed; why it is, says whoever closed it. */
export const gateRemedies: Readonly<Record<ReadinessGate, string>> = {
  listeners: 'Look in the log which port cannot be taken, and what else listens there',
  identity: deniedReasons.identity_expired.remedy,
  policy: deniedReasons.policy_unavailable.remedy,
  interception:
    'Find out who changed the table inet remora in the network namespace of the pod; in Kubernetes delete the pod, its successor gets the rules anew, elsewhere run remora init --skip-proof with the same settings',
  not_draining: 'Nothing, it was told to stop or to drain',
};
