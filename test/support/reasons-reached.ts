/**
 * For each reason of each closed list of src/outcomes.ts a test that reaches it, by its file below `test/` and words of its
 * expectation, or why none can. test/unit/reasons.test.ts compares this with the lists, the tests and the code.
 */
export type Reached = readonly [file: string, words: string];

const tls = 'integration/tls';
const proxy = 'integration/proxy';
const program = 'integration/agent-program';
const files = 'integration/agent/file-identity.test.ts';
const application = 'integration/agent/app-metrics.test.ts';
const appMetrics = 'integration/agent/app-metrics.test.ts';

export const reached: Readonly<Record<string, Readonly<Record<string, Reached>>>> = {
  handshake: {
    no_client_cert: [`${tls}/handshake-attacks.test.ts`, "present('client', undefined))).toBe('no_client_cert')"],
    untrusted: [`${program}/static-tunnels.test.ts`, "toMatchObject({ outcome: 'handshake', reason: 'untrusted' })"],
    expired: [`${tls}/path-rules.test.ts`, "'expired']"],
    not_yet_valid: [`${tls}/path-rules.test.ts`, "Date.now() + minuteMs }), 'not_yet_valid']"],
    bad_purpose: [`${tls}/path-rules.test.ts`, "extendedKeyUsage: ['codeSigning'] }), 'bad_purpose']"],
    path_length: [`${tls}/path-rules.test.ts`, "pathLengthExceeded, 'path_length']"],
    name_constraint: [`${tls}/path-rules.test.ts`, "'name_constraint',"],
    critical_extension: [`${tls}/path-rules.test.ts`, "extensions: [unknownExtension] }), 'critical_extension']"],
    chain_too_long: [`${tls}/path-rules.test.ts`, "toBe('chain_too_long')"],
    svid_no_uri: [`${tls}/svid-rules.test.ts`, "{ sans: [], subject: peerId.uri }, 'svid_no_uri']"],
    svid_multiple_uris: [`${tls}/svid-rules.test.ts`, "uris(peerId.uri, local.spiffeId.uri), 'svid_multiple_uris']"],
    svid_is_ca: [`${tls}/svid-rules.test.ts`, "{ basicConstraints: { ca: true } }, 'svid_is_ca']"],
    svid_key_usage: [`${tls}/svid-rules.test.ts`, "{ keyUsage: 'absent' }, 'svid_key_usage']"],
    svid_id_syntax: [`${tls}/svid-rules.test.ts`, "uris('spiffe://cluster.local'), 'svid_id_syntax']"],
    svid_id_too_long: [`${tls}/svid-rules.test.ts`, "'svid_id_too_long']"],
    trust_domain: [`${program}/trust-domains.test.ts`, "refusedAs('trust_domain')"],
    peer_identity: [`${program}/static-tunnels.test.ts`, "{ outcome: 'handshake', reason: 'peer_identity' }"],
    revoked: [`${program}/revocation.test.ts`, "reason: 'revoked', outcome: 'handshake' }"],
    resumed: [`${tls}/node-traps.test.ts`, "toBe('resumed')"],
    protocol_version: [`${tls}/handshake-attacks.test.ts`, "toBe('protocol_version')"],
    no_shared_cipher: [`${tls}/handshake-attacks.test.ts`, "toBe('no_shared_cipher')"],
    alpn: [`${tls}/handshake-attacks.test.ts`, "toBe('alpn')"],
    bad_record: [`${tls}/handshake-attacks.test.ts`, "toBe('bad_record')"],
    timeout: [`${proxy}/inbound.test.ts`, "{ outcome: 'handshake', reason: 'timeout', direction: 'inbound' }"],
    reset: [`${program}/static-tunnels.test.ts`, "toMatchObject({ outcome: 'handshake', reason: 'reset' })"],
    plaintext_in_strict: ['e2e/mesh.test.ts', "logged('api', 'plaintext_in_strict')).toMatchObject("],
    internal: ['unit/identity/refusal.test.ts', "['EMFILE', 'internal']"],
  },
  denied: {
    default_deny: [`${proxy}/inbound.test.ts`, "{ outcome: 'denied', reason: 'default_deny' }"],
    policy_deny: [`${proxy}/policy-life.test.ts`, "{ reason: 'policy_deny', direction: 'inbound' })).toMatchObject({"],
    policy_error: [`${proxy}/policy-life.test.ts`, "{ reason: 'policy_error' })).toMatchObject({ outcome: 'denied'"],
    policy_unavailable: [`${proxy}/tunnel.test.ts`, "{ outcome: 'denied', reason: 'policy_unavailable' }"],
    self_call: [`${proxy}/outbound.test.ts`, "port: 15001 } }, 'self_call']"],
    reserved_port: [`${proxy}/inbound.test.ts`, "'10.0.0.7:15000', 'reserved_port']"],
    not_this_pod: [`${proxy}/inbound.test.ts`, "'192.0.2.7:80', 'not_this_pod']"],
    no_original_destination: [`${proxy}/outbound.test.ts`, "{ goingTo: undefined }, 'no_original_destination']"],
    bad_authority: [`${proxy}/inbound.test.ts`, "{ outcome: 'denied', reason: 'bad_authority' }"],
    no_endpoint: [`${proxy}/outbound.test.ts`, "known({ ready: false }) }, 'no_endpoint']"],
    unknown_destination: [`${proxy}/outbound.test.ts`, "({ kind: 'unknown' }) }, 'unknown_destination']"],
    mtls_required: ['unit/policy/admit.test.ts', "{ minimum: 'mutual_tls' }, 'mtls_required']"],
    control_plane_unavailable: [`${proxy}/outbound.test.ts`, "reason: 'control_plane_unavailable',"],
    peer_refused: [`${proxy}/tunnel.test.ts`, "{ outcome: 'denied', reason: 'peer_refused', id: inbound.id }"],
    connection_limit: ['e2e/mesh.test.ts', `'"connection_limit"')).toMatchObject({ outcome: 'denied' })`],
    handshake_limit: [
      `${proxy}/crowds.test.ts`,
      "line({ reason: 'handshake_limit' })).toMatchObject({ outcome: 'denied' })",
    ],
    descriptor_limit: [
      `${program}/descriptors.test.ts`,
      "line({ reason: 'descriptor_limit' })).toMatchObject({ outcome: 'denied' })",
    ],
    memory_pressure: [`${proxy}/memory.test.ts`, "args: [direction, 'memory_pressure'] }"],
    draining: ['unit/proxy/pool.test.ts', "rejects.toMatchObject({ reason: 'draining' })"],
    not_ready: [`${program}/static-tunnels.test.ts`, "toMatchObject({ reason: 'not_ready' })"],
    identity_expired: [`${program}/outage.test.ts`, "{ outcome: 'denied', reason: 'identity_expired' }"],
    internal: ['unit/proxy/account.test.ts', "{ kind: 'denied', reason: 'internal',"],
  },
  closed: {
    eof: ['e2e/mesh.test.ts', "reason: 'eof',"],
    idle: [`${proxy}/slow-writers.test.ts`, "toMatchObject({ reason: 'idle', bytesSent: 31 })"],
    half_close_timeout: [`${proxy}/relay.test.ts`, "toBe('half_close_timeout')"],
    reset: [`${proxy}/relay.test.ts`, "running.closed).toBe('reset')"],
    upstream_refused: ['e2e/mesh.test.ts', "{ outcome: 'closed', reason: 'upstream_refused' }"],
    upstream_timeout: [`${proxy}/dials.test.ts`, "toEqual(new Set(['upstream_timeout']))"],
    upstream_unreachable: [
      `${proxy}/names.test.ts`,
      "{ reason: 'upstream_unreachable' })).toMatchObject({ outcome: 'closed' })",
    ],
    tunnel_lost: [`${proxy}/tunnel-faults.test.ts`, "toMatchObject({ reason: 'tunnel_lost' })"],
    revoked: [`${program}/revocation.test.ts`, "reason: 'revoked', outcome: 'closed' }"],
    bundle_change: [`${proxy}/proofs.test.ts`, "toMatchObject({ reason: 'bundle_change' })"],
    policy_change: [`${proxy}/policy-life.test.ts`, "{ reason: 'policy_change' })).toMatchObject({"],
    peer_certificate_expired: [`${proxy}/proofs.test.ts`, "toMatchObject({ reason: 'peer_certificate_expired' })"],
    drain_deadline: [`${proxy}/stop.test.ts`, "toMatchObject({ reason: 'drain_deadline' })"],
  },
  renewal: {
    unreachable: ['integration/agent/control-client.test.ts', "toBe('unreachable')"],
    server_untrusted: [`${program}/outage.test.ts`, "'server_untrusted', impostor({"],
    timeout: [`${program}/outage.test.ts`, "{ source: 'control_plane', reason: 'timeout' }"],
    http_401: [`${program}/outage.test.ts`, "'http_401', lies("],
    http_403: [`${program}/outage.test.ts`, "'http_403', lies("],
    http_429: [`${program}/outage.test.ts`, "'http_429', lies("],
    http_5xx: [`${program}/outage.test.ts`, "'http_5xx', lies("],
    too_large: [`${program}/outage.test.ts`, "'too_large', lies("],
    bad_json: ['integration/agent/control-client.test.ts', "toBe('bad_json')"],
    bad_pem: [files, "told('bad_pem')"],
    key_mismatch: [files, "told('key_mismatch')"],
    wrong_identity: [`${program}/outage.test.ts`, "'wrong_identity', forges("],
    revoked: [`${program}/revocation.test.ts`, "line({ reason: 'revoked', source: 'files' })).toMatchObject("],
    chain_invalid: [`${program}/outage.test.ts`, "'chain_invalid',"],
    bundle_empty: [files, "told('bundle_empty')"],
    not_yet_valid: [files, "told('not_yet_valid')"],
    already_expired: [`${program}/outage.test.ts`, "'already_expired', forges("],
    ttl_too_short: [`${program}/outage.test.ts`, "'ttl_too_short', forges("],
    ttl_too_long: ['unit/agent/identity-sources/control-plane.test.ts', "[31 * day, 'ttl_too_long']"],
    token_missing: [`${program}/control-plane-trouble.test.ts`, "expectRefused(agent, 'token_missing')"],
  },
  proof: {
    renewed: ['e2e/lifecycle.test.ts', 'direction="inbound",result="renewed"'],
    not_newer: [`${proxy}/proofs.test.ts`, "toMatchObject({ peerId: apiId, result: 'not_newer', connections: 1 })"],
    refused: [`${proxy}/proofs.test.ts`, "toMatchObject({ peerId: apiId, result: 'refused', connections: 1 })"],
    not_supported: [`${proxy}/proof-strangers.test.ts`, "result: 'not_supported',"],
    unreachable: [`${proxy}/proofs.test.ts`, "toMatchObject({ peerId: apiId, result: 'unreachable', connections: 1 })"],
  },
  gate: {
    listeners: ['unit/metrics/sidecar-metrics.test.ts', 'remora_ready{gate="listeners"} 0'],
    identity: ['integration/agent/pages.test.ts', "body: 'identity: The certificate has expired"],
    policy: [`${program}/control-plane-trouble.test.ts`, "toContain('policy: ')"],
    interception: ['e2e/lifecycle.test.ts', "expect(await ready()).toContain('interception')"],
    not_draining: ['e2e/lifecycle.test.ts', "15021/healthz/ready`)).toContain('not_draining')"],
  },
  application: {
    unreachable: [appMetrics, "['is not there', 'unreachable'"],
    timeout: [appMetrics, "expectOursAlone(await scraped, 'timeout')"],
    status: [appMetrics, "['answers 500', 'status'"],
    content_type: [appMetrics, "['compresses', 'content_type'"],
    too_large: [appMetrics, "'too_large',"],
    invalid: [appMetrics, "['breaks the grammar', 'invalid'"],
    reserved: [appMetrics, "'reserved', () =>"],
  },
  applicationScrape: {
    success: [application, 'toEqual({ success: 1 })'],
    unreachable: [application, "['closes at once', 'unreachable',"],
    timeout: [application, "expectOursAlone(await scraped, 'timeout')"],
    status: [application, "['answers 500', 'status',"],
    content_type: [application, "'content_type',"],
    too_large: [application, "'too_large',"],
    invalid: [application, "['breaks the grammar', 'invalid',"],
    reserved: [application, "'reserved',"],
  },
  suppressed: {
    output_blocked: [
      `${program}/stalled-output.test.ts`,
      'remora_log_lines_suppressed_total\\{reason="output_blocked"\\} (\\d+)',
    ],
  },
};

/** In no file of src/ is one of them made; whoever makes one needs a test that reaches it. */
export const unreached: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  denied: {
    stream_limit: 'HTTP/2 itself holds both ends to the streams of a tunnel, and beyond them another tunnel is opened',
  },
  closed: {
    max_age: 'waits for a maximum age of connections',
    draining: 'a drain lets connections go on until its deadline, which is drain_deadline',
    internal: 'what fails while bytes are carried is the leg of one side, which is reset or tunnel_lost',
  },
};
