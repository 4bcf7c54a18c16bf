import { codeOf } from '../errors.ts';
import type { HandshakeReason } from '../outcomes.ts';

/** What OpenSSL and Node.js call the failures of a certificate (X509_V_ERR_*, without the prefix). */
const certificateCodes: Readonly<Record<string, HandshakeReason>> = {
  CERT_HAS_EXPIRED: 'expired',
  CERT_NOT_YET_VALID: 'not_yet_valid',
  CERT_CHAIN_TOO_LONG: 'chain_too_long',
  CERT_REVOKED: 'revoked',
  INVALID_PURPOSE: 'bad_purpose',
  PATH_LENGTH_EXCEEDED: 'path_length',
  UNABLE_TO_GET_ISSUER_CERT: 'untrusted',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'untrusted',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'untrusted',
  UNABLE_TO_DECRYPT_CERT_SIGNATURE: 'untrusted',
  UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY: 'untrusted',
  CERT_SIGNATURE_FAILURE: 'untrusted',
  ERROR_IN_CERT_NOT_BEFORE_FIELD: 'untrusted',
  ERROR_IN_CERT_NOT_AFTER_FIELD: 'untrusted',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'untrusted',
  SELF_SIGNED_CERT_IN_CHAIN: 'untrusted',
  INVALID_CA: 'untrusted',
  CERT_UNTRUSTED: 'untrusted',
  CERT_REJECTED: 'untrusted',
  UNSPECIFIED: 'untrusted',
};

/** Failures of the handshake itself, by a part of their code, the first that fits. */
const handshakeCodes: readonly (readonly [RegExp, HandshakeReason])[] = [
  // Alerts about a certificate are the peer's verdict on ours: its log says more.
  [
    /^ERR_SSL_.*ALERT_(BAD_CERTIFICATE|CERTIFICATE|UNKNOWN_CA|UNSUPPORTED_CERTIFICATE|ACCESS_DENIED|USER_CANCELLED|INTERNAL|CLOSE)/,
    'reset',
  ],
  [
    /^ERR_SSL_(UNSUPPORTED_PROTOCOL|VERSION_TOO_LOW|UNKNOWN_PROTOCOL|NO_PROTOCOLS_AVAILABLE)|PROTOCOL_VERSION$|INAPPROPRIATE_FALLBACK/,
    'protocol_version',
  ],
  [/^ERR_SSL_HTTPS?_(PROXY_)?REQUEST$/, 'plaintext_in_strict'],
  [/APPLICATION_PROTOCOL$|^ERR_TLS_ALPN/, 'alpn'],
  [
    /^ERR_SSL_(NO_SHARED|NO_SUITABLE|NO_COMMON|NO_CIPHERS|MISSING_SIGALGS|WRONG_SIGNATURE_TYPE|SIGNATURE_ALGORITHMS_ERROR|WRONG_CURVE|BAD_KEY_SHARE|UNSUPPORTED_ELLIPTIC_CURVE|.*ALERT_(HANDSHAKE_FAILURE|INSUFFICIENT_SECURITY))/,
    'no_shared_cipher',
  ],
  [/^ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE$/, 'no_client_cert'],
  [/^ERR_TLS_HANDSHAKE_TIMEOUT$|^ETIMEDOUT$/, 'timeout'],
  [
    /^ERR_SSL_UNEXPECTED_EOF|^(ECONNRESET|ECONNABORTED|EPIPE|ERR_STREAM_PREMATURE_CLOSE|ERR_STREAM_DESTROYED)$/,
    'reset',
  ],
  [/^ERR_SSL_|^EPROTO$|^ERR_OSSL_/, 'bad_record'],
];

/**
 * The closed reason of what OpenSSL or the socket reports: an `authorizationError`, or the error of a `tlsClientError` or of
 * a client. What is unknown is `internal`.
 */
export function refusalOf(failure: unknown): HandshakeReason {
  const code = typeof failure === 'string' ? failure : codeOf(failure);
  if (Object.hasOwn(certificateCodes, code)) return certificateCodes[code] ?? 'untrusted';
  return handshakeCodes.find(([pattern]) => pattern.test(code))?.[1] ?? 'internal';
}
