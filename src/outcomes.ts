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
    remedy: 'Inject a sidecar into the peer, or exclude the port from mutual TLS',
  },
  untrusted: {
    happened: "The peer's certificate does not chain to the trust bundle of its trust domain",
    remedy: "Compare the issuer of the peer's certificate with the roots of that trust domain in the bundle",
  },
  expired: {
    happened: "A certificate in the peer's chain has expired",
    remedy: "Look at the peer's renewals and compare both clocks",
  },
  not_yet_valid: {
    happened: "A certificate in the peer's chain is not valid yet",
    remedy: 'Compare the clocks of both nodes and of the control plane',
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
    remedy: 'Add the bundle of that trust domain if it should be trusted',
  },
  peer_identity: {
    happened: 'The peer proved another identity than the expected one',
    remedy: 'Check which workload runs at that address, and what the registry says of it',
  },
  revoked: {
    happened: "The peer's certificate has been revoked, or it is not known who is",
    remedy: 'Let the peer obtain a new certificate, or lift the revocation; where lists are out of date, replace them',
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
    remedy: 'Enable the suites of TLS 1.3 and the groups X25519 or P-256 in the peer',
  },
  alpn: {
    happened: 'The peer speaks TLS, but not the protocol of the mesh',
    remedy: "Inject a sidecar into the peer, or exclude the port so that the application's own TLS passes",
  },
  bad_record: {
    happened: 'The peer sent bytes that are not valid TLS',
    remedy: 'Check what dials this port',
  },
  timeout: {
    happened: 'The handshake did not finish within its deadline',
    remedy: 'Check the network between both nodes and the load of both sidecars',
  },
  reset: {
    happened: 'The peer closed the connection during the handshake',
    remedy: "Look at the peer's log: it may have refused our certificate",
  },
  plaintext_in_strict: {
    happened: 'The peer spoke plaintext to a port that is STRICT',
    remedy: 'Inject a sidecar into the peer, or make the port PERMISSIVE while it moves',
  },
  internal: {
    happened: 'The sidecar failed during the handshake',
    remedy: 'Report it with the log line',
  },
} as const satisfies Record<string, Words>;

export type HandshakeReason = keyof typeof handshakeReasons;

/** Why this sidecar decided not to carry a connection. */
export const deniedReasons = {
  default_deny: {
    happened: 'No ALLOW policy of the workload matches the peer',
    remedy: 'Add the peer to an AuthorizationPolicy that selects the workload',
  },
  policy_deny: {
    happened: 'A DENY policy of the workload matches the peer',
    remedy: 'Change that AuthorizationPolicy if the peer should be admitted',
  },
  policy_unavailable: {
    happened: 'No complete policy has arrived yet',
    remedy: 'Check that the control plane is reachable from this pod',
  },
  policy_error: {
    happened: 'A policy of the workload cannot be understood, so it denies everything',
    remedy: 'Validate the policy and remove what is not supported',
  },
  self_call: {
    happened: "The application dialled one of the sidecar's own ports",
    remedy: "Dial the application's port instead",
  },
  reserved_port: {
    happened: "The peer asked for one of the sidecar's own ports",
    remedy: "Dial the application's port instead",
  },
  not_this_pod: {
    happened: 'The peer asked for an address that is not one of this pod',
    remedy: 'Check the registry: it may name an address of a pod that is gone',
  },
  no_original_destination: {
    happened: 'The kernel does not know where the connection was going',
    remedy: 'Check that connection tracking works in this kernel and that its table is not full',
  },
  bad_authority: {
    happened: 'The tunnel request names no valid address and port',
    remedy: 'The peer must send an IP literal and a port as :authority',
  },
  no_endpoint: {
    happened: 'The service has no endpoint that is ready',
    remedy: 'Check the readiness of its pods',
  },
  unknown_destination: {
    happened: 'The destination lies inside the mesh networks, but the registry does not know it',
    remedy: 'Create a Service or ServiceEntry for it, or take its range out of the mesh networks',
  },
  mtls_required: {
    happened: 'The destination can be reached in plaintext only, and this pod forbids that',
    remedy: 'Inject a sidecar into the destination, or lower --minimum-outbound',
  },
  control_plane_unavailable: {
    happened: 'The control plane did not answer in time, and nothing is cached for the destination',
    remedy: 'Check that the control plane is reachable from this pod',
  },
  peer_refused: {
    happened: "The other side's sidecar refused the connection",
    remedy: "Look for the same connection id in the other sidecar's log",
  },
  connection_limit: {
    happened: 'The sidecar carries as many connections as it may',
    remedy: 'Raise the limit and the memory of the sidecar, or add replicas',
  },
  stream_limit: {
    happened: 'The tunnel carries as many streams as it may',
    remedy: 'Raise the limit, or look for connections that are never closed',
  },
  handshake_limit: {
    happened: 'Too many handshakes are in flight',
    remedy: 'Look for a flood of new connections, or add replicas',
  },
  descriptor_limit: {
    happened: 'The process has no file descriptor left',
    remedy: 'Raise nofile for the sidecar',
  },
  memory_pressure: {
    happened: 'The sidecar is close to its memory limit',
    remedy: 'Raise its memory limit, or add replicas',
  },
  draining: {
    happened: 'The sidecar is shutting down',
    remedy: 'Nothing: clients move to another endpoint',
  },
  not_ready: {
    happened: 'The sidecar is not ready yet',
    remedy: 'Look at its readiness gates',
  },
  identity_expired: {
    happened:
      "This sidecar's own identity is over: its certificate has expired, was revoked, or its root is trusted no more",
    remedy: '`remora certs` beside it says which, and what its renewals fail of',
  },
  internal: {
    happened: 'The sidecar failed while it handled the connection',
    remedy: 'Report it with the log line',
  },
} as const satisfies Record<string, Words>;

export type DeniedReason = keyof typeof deniedReasons;

/** Why a connection that was carried has ended, or could not be made. */
export const closedReasons = {
  eof: { happened: 'Both sides finished', remedy: 'Nothing' },
  idle: { happened: 'No byte moved for the idle timeout', remedy: 'Raise the idle timeout, or send keepalives' },
  max_age: { happened: 'The connection reached its maximum age', remedy: 'Nothing: the client opens a new one' },
  half_close_timeout: {
    happened: 'One side finished and the other did not within the half-close timeout',
    remedy: 'Raise the half-close timeout if the application needs longer',
  },
  reset: { happened: 'One side reset the connection', remedy: 'Look at the application that did' },
  upstream_refused: {
    happened: 'Nothing listens at the destination',
    remedy: 'Check that the application runs and on which port and address it listens',
  },
  upstream_timeout: {
    happened: 'The destination did not answer within the connect deadline',
    remedy: 'Check the network and the network policies between both',
  },
  upstream_unreachable: { happened: 'The destination cannot be reached', remedy: 'Check routes and addresses' },
  tunnel_lost: {
    happened: 'The tunnel that carried the connection was lost',
    remedy: "Look at the other sidecar's log, and at the network between both nodes",
  },
  revoked: { happened: "The peer's certificate was revoked", remedy: 'Nothing, if that was intended' },
  bundle_change: {
    happened: "The root that the peer's certificate chains to was removed",
    remedy: 'Nothing, if that was intended; the peer needs a certificate from a current root',
  },
  policy_change: {
    happened: 'A changed policy no longer permits the connection',
    remedy: 'Nothing, if that was intended',
  },
  peer_certificate_expired: {
    happened: "The peer's certificate expired and was not proved anew",
    remedy: "Look at the peer's renewals",
  },
  draining: { happened: 'The sidecar was shutting down', remedy: 'Nothing: clients move to another endpoint' },
  drain_deadline: {
    happened: 'The connection was still open at the drain deadline and was reset',
    remedy: 'Raise the drain deadline if the application needs longer',
  },
  internal: { happened: 'The sidecar failed while it carried the connection', remedy: 'Report it with the log line' },
} as const satisfies Record<string, Words>;

export type ClosedReason = keyof typeof closedReasons;

/** Why a renewal attempt produced no usable identity. */
export const renewalReasons = {
  unreachable: {
    happened: 'The control plane cannot be reached',
    remedy: 'Check its address, its pods and the network',
  },
  timeout: { happened: 'The control plane did not answer in time', remedy: 'Check its load and the network' },
  http_401: {
    happened: "The control plane did not accept this pod's token",
    remedy: "Check the token's audience and expiry, and the issuer that the control plane trusts",
  },
  http_403: {
    happened: 'The control plane refused this identity',
    remedy:
      'Look at the detail; check the service account and namespace of the pod, and whether its identity is revoked',
  },
  http_429: { happened: 'The control plane asked to come back later', remedy: 'Nothing, unless it goes on' },
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
    happened: 'A certificate, its key or the trust bundle cannot be read',
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
    remedy: 'Compare the clocks of this node and of whoever issued it',
  },
  already_expired: {
    happened: 'The certificate has already expired',
    remedy: 'Check who renews it, and compare the clocks of this node and of whoever issued it',
  },
  ttl_too_short: {
    happened: 'The certificate lives too short to be renewed in time',
    remedy: 'Ask for a longer lifetime',
  },
  ttl_too_long: {
    happened: 'The certificate lives longer than this sidecar accepts',
    remedy: 'Lower the lifetime in the certificate authority',
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
    happened: "The application's metrics have a family that begins as those of the sidecar do",
    remedy: 'Rename the families of the application that begin with remora_ or istio_tcp_',
  },
  busy: {
    happened: 'As many answers as may be under way at once carry metrics of the application already',
    remedy: 'Look for scrapers that ask often and read slowly, and keep them from the metrics port',
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
