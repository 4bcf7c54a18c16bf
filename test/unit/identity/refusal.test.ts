import { describe, expect, it } from 'vitest';
import { refusalOf } from '../../../src/identity/refusal.ts';
import { handshakeReasons } from '../../../src/outcomes.ts';

/** An error as Node.js makes it, with a code. */
function failure(code: string): Error {
  return Object.assign(new Error(`failed with ${code}`), { code });
}

describe('refusalOf', () => {
  it.each([
    ['CERT_HAS_EXPIRED', 'expired'],
    ['CERT_NOT_YET_VALID', 'not_yet_valid'],
    ['INVALID_PURPOSE', 'bad_purpose'],
    ['PATH_LENGTH_EXCEEDED', 'path_length'],
    ['CERT_CHAIN_TOO_LONG', 'chain_too_long'],
    ['CERT_REVOKED', 'revoked'],
    ['SELF_SIGNED_CERT_IN_CHAIN', 'untrusted'],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'untrusted'],
    ['UNSPECIFIED', 'untrusted'],
  ])('names the verdict of OpenSSL %s as %s, as text and as the code of an error', (code, reason) => {
    expect(refusalOf(code)).toBe(reason);
    expect(refusalOf(failure(code))).toBe(reason);
  });

  it.each([
    ['ERR_SSL_UNSUPPORTED_PROTOCOL', 'protocol_version'],
    ['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', 'protocol_version'],
    ['ERR_SSL_NO_SHARED_CIPHER', 'no_shared_cipher'],
    ['ERR_SSL_NO_SUITABLE_KEY_SHARE', 'no_shared_cipher'],
    ['ERR_SSL_NO_SUITABLE_GROUPS', 'no_shared_cipher'],
    ['ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM', 'no_shared_cipher'],
    ['ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE', 'no_shared_cipher'],
    ['ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE', 'no_shared_cipher'],
    ['ERR_SSL_NO_APPLICATION_PROTOCOL', 'alpn'],
    ['ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL', 'alpn'],
    ['ERR_SSL_HTTP_REQUEST', 'plaintext_in_strict'],
    ['ERR_SSL_HTTPS_PROXY_REQUEST', 'plaintext_in_strict'],
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'bad_record'],
    ['ERR_SSL_PACKET_LENGTH_TOO_LONG', 'bad_record'],
    ['ERR_SSL_UNEXPECTED_MESSAGE', 'bad_record'],
    ['EPROTO', 'bad_record'],
    ['ERR_SSL_SSL/TLS_ALERT_CERTIFICATE_EXPIRED', 'reset'],
    ['ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', 'reset'],
    ['ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE', 'reset'],
    ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', 'reset'],
    ['ERR_SSL_UNEXPECTED_EOF_WHILE_READING', 'reset'],
    ['ECONNRESET', 'reset'],
    ['EPIPE', 'reset'],
    ['ERR_TLS_HANDSHAKE_TIMEOUT', 'timeout'],
    ['ETIMEDOUT', 'timeout'],
    ['EMFILE', 'internal'],
    ['', 'internal'],
    ['constructor', 'internal'],
  ])('names the failure %s as %s', (code, reason) => {
    expect(refusalOf(failure(code))).toBe(reason);
    expect(handshakeReasons).toHaveProperty(reason);
  });

  it.each([undefined, null, 5, {}, new Error('no code')])('names %s, which says nothing, as internal', (value) => {
    expect(refusalOf(value)).toBe('internal');
  });
});
