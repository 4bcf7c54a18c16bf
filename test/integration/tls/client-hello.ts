import { createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto';

/** Hellos that no library would send, byte by byte (RFC 8446 §4.1.2). */
export const recordTypes = { alert: 21, handshake: 22, applicationData: 23 } as const;

const uint16 = (value: number) => Buffer.of(value >> 8, value & 0xff);
const block8 = (...parts: readonly Uint8Array[]) => withLength(1, Buffer.concat(parts));
const block16 = (...parts: readonly Uint8Array[]) => withLength(2, Buffer.concat(parts));

function withLength(bytes: number, content: Buffer): Buffer {
  const length = Buffer.alloc(bytes);
  length.writeUIntBE(content.length, 0, bytes);
  return Buffer.concat([length, content]);
}

export function record(type: number, content: Uint8Array, version = 0x0303): Buffer {
  return Buffer.concat([Buffer.of(type), uint16(version), block16(content)]);
}

export function extension(type: number, content: Uint8Array): Buffer {
  return Buffer.concat([uint16(type), block16(content)]);
}

/** A ClientHello message without its record. */
export function clientHello(
  options: {
    readonly version?: number;
    readonly cipherSuites?: readonly number[];
    readonly extensions?: readonly Uint8Array[];
  } = {},
): Buffer {
  const { version = 0x0303, cipherSuites = [0x1301, 0x1302, 0x1303], extensions = tls13Extensions() } = options;
  const body = Buffer.concat([
    uint16(version),
    randomBytes(32),
    block8(randomBytes(32)),
    block16(...cipherSuites.map(uint16)),
    block8(Buffer.of(0)),
    ...(extensions.length === 0 ? [] : [block16(...extensions)]),
  ]);
  return Buffer.concat([Buffer.of(1), withLength(3, body)]);
}

/** What a hello for TLS 1.3 needs, with a key share for X25519. */
export function tls13Extensions(): Buffer[] {
  const { x = '' } = createPublicKey(generateKeyPairSync('x25519').privateKey).export({ format: 'jwk' });
  const share = Buffer.concat([uint16(0x001d), block16(Buffer.from(x, 'base64url'))]);
  return [
    extension(43, block8(uint16(0x0304))),
    extension(10, block16(uint16(0x001d), uint16(0x0017))),
    extension(13, block16(uint16(0x0403), uint16(0x0804), uint16(0x0807))),
    extension(51, block16(share)),
    extension(16, block16(block8(Buffer.from('h2')))),
  ];
}

/** Early data offered under a key that the server cannot know; the last one must be the last extension of the hello. */
export function earlyDataExtensions(): Buffer[] {
  const identity = Buffer.concat([block16(randomBytes(32)), Buffer.alloc(4, 1)]);
  return [
    extension(45, block8(Buffer.of(1))),
    extension(42, Buffer.alloc(0)),
    extension(41, Buffer.concat([block16(identity), block16(block8(randomBytes(32)))])),
  ];
}
