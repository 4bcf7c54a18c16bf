import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Duplex } from 'node:stream';
import * as tls from 'node:tls';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import type { HelloAnswer } from '../../../src/proxy/inbound/client-hello.ts';
import {
  isOtherRecord,
  maxHelloBytes,
  maxHelloRecordBytes,
  readClientHello,
} from '../../../src/proxy/inbound/client-hello.ts';
import { clientHello, extension, record, recordTypes, tls13Extensions } from '../../integration/tls/client-hello.ts';

/*
 * Goal: whatever a connection begins with, it is told right what it is, at a bounded price. Method: hellos that OpenSSL and
 * Node.js made, hellos that no library would make, and any cut and any change of them.
 */

/** What OpenSSL's own client sent. */
const captured: Readonly<Record<string, { readonly alpn: readonly string[]; readonly hex: string }>> = JSON.parse(
  readFileSync(join(resolve(import.meta.dirname, '../../golden/client-hellos'), 'openssl-3.0.json'), 'utf8'),
);

/** What this Node.js sends first, with its own OpenSSL. */
function helloOf(options: tls.ConnectionOptions): Promise<Buffer> {
  const { promise, resolve: sent } = Promise.withResolvers<Buffer>();
  const flights: Buffer[] = [];
  const socket = new Duplex({
    read: () => undefined,
    write(chunk: Buffer, _encoding, done) {
      if (flights.length === 0) setImmediate(() => sent(Buffer.concat(flights)));
      flights.push(chunk);
      done();
    },
  });
  tls.connect({ socket, rejectUnauthorized: false, ...options }).on('error', () => undefined);
  return promise;
}

/** Gives the bytes in pieces of these lengths, again and again, as they would come in. */
function readInPieces(bytes: Buffer, lengths: readonly number[]): { answer: HelloAnswer; asked: number } {
  let answer = readClientHello(Buffer.alloc(0));
  let asked = 0;
  let length = 0;
  for (let i = 0; answer.kind === 'more' && length < bytes.length; i += 1) {
    length = Math.min(bytes.length, length + (lengths[i % lengths.length] ?? 1));
    if (length < answer.atLeast) continue;
    answer = readClientHello(bytes.subarray(0, length), answer.progress);
    asked += 1;
  }
  return { answer, asked };
}

const handshake = (content: Uint8Array) => record(recordTypes.handshake, content);

/** The same message in records of at most so many bytes. */
function inRecords(message: Buffer, bytes: number): Buffer {
  const count = Math.ceil(message.length / bytes);
  return Buffer.concat(
    Array.from({ length: count }, (_, i) => handshake(message.subarray(i * bytes, (i + 1) * bytes))),
  );
}

/** GREASE (RFC 8701): values that mean nothing. */
const grease = (i: number) => ((i % 16) * 0x1010 + 0x0a0a) & 0xffff;
const greased = clientHello({
  cipherSuites: [grease(1), 0x1301, grease(2)],
  extensions: [extension(grease(3), Buffer.alloc(0)), ...tls13Extensions(), extension(grease(4), Buffer.of(0))],
});
const manyNames = Array.from({ length: 250 }, (_, i) => `${i}`.padEnd(255, '-'));

describe('a real ClientHello', () => {
  it.each(Object.entries(captured))('of openssl %s is read', (_command, { alpn, hex }) => {
    expect(readClientHello(Buffer.from(hex, 'hex'))).toEqual({ kind: 'hello', alpn });
  });

  it.each([
    ['without ALPN', { minVersion: 'TLSv1.2' }, []],
    ['of TLS 1.2', { maxVersion: 'TLSv1.2', ALPNProtocols: ['h2'] }, ['h2']],
    ['T8: of TLS 1.3 alone', { minVersion: 'TLSv1.3', ALPNProtocols: ['istio'] }, ['istio']],
    [
      'T10: with a post-quantum key share',
      { ecdhCurve: 'X25519MLKEM768:X25519', ALPNProtocols: ['remora'] },
      ['remora'],
    ],
    ['T23: that offers a protocol twice', { ALPNProtocols: ['istio', 'istio'] }, ['istio', 'istio']],
    ['T26: of 64 KiB', { ecdhCurve: 'X25519MLKEM768', ALPNProtocols: manyNames }, manyNames],
  ] as const)('of Node.js %s is read', async (_name, options, alpn) => {
    const hello = await helloOf(options as tls.ConnectionOptions);
    expect(readClientHello(hello)).toEqual({ kind: 'hello', alpn });
  });

  it('T10: is read as the same however it is cut into segments and records', () => {
    const hellos = Object.values(captured).map(({ alpn, hex }) => ({ alpn, bytes: Buffer.from(hex, 'hex') }));
    const lengths = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1 });
    fc.assert(
      fc.property(
        fc.constantFrom(...hellos),
        lengths,
        fc.integer({ min: 1, max: 400 }),
        ({ alpn, bytes }, cut, size) => {
          for (const whole of [bytes, inRecords(bytes.subarray(5), size)])
            expect(readInPieces(whole, cut).answer).toEqual({ kind: 'hello', alpn });
        },
      ),
    );
  });

  it('T26: with a thousand groups and GREASE everywhere is read', () => {
    const groups = Buffer.concat(Array.from({ length: 1000 }, (_, i) => Buffer.of(grease(i) >> 8, grease(i) & 0xff)));
    const extensions = [extension(10, Buffer.concat([Buffer.of(0x07, 0xd0), groups])), ...tls13Extensions()];
    for (const hello of [greased, clientHello({ extensions })])
      expect(readClientHello(handshake(hello))).toEqual({ kind: 'hello', alpn: ['h2'] });
  });

  it('is read when something follows it', () => {
    const first = handshake(clientHello());
    expect(readClientHello(Buffer.concat([first, record(20, Buffer.of(1))]))).toMatchObject({ kind: 'hello' });
  });

  it('may do without extensions', () => {
    expect(readClientHello(handshake(clientHello({ extensions: [] })))).toEqual({ kind: 'hello', alpn: [] });
  });
});

describe('what begins like a handshake and is none', () => {
  const hello = clientHello();
  const padded = (bytes: number) =>
    clientHello({ extensions: [...tls13Extensions(), extension(21, Buffer.alloc(bytes))] });
  const withoutAlpn = tls13Extensions().slice(0, -1);
  const alpn = (...content: number[]) =>
    handshake(clientHello({ extensions: [...withoutAlpn, extension(16, Buffer.of(...content))] }));
  const long = Buffer.concat([Buffer.of(1), Buffer.of(0x02, 0x01, 0x45)]);

  it.each<[string, Buffer]>([
    ['T6: plaintext after the first byte', Buffer.from('\x16GET / HTTP/1.1\r\n')],
    ['T6: zeros', Buffer.concat([Buffer.of(0x16), Buffer.alloc(40)])],
    ['T6: another handshake message', handshake(Buffer.of(2, 0, 0, 0))],
    ['T11: a record of 0xffff bytes', Buffer.of(0x16, 3, 1, 0xff, 0xff)],
    ['T11: a record of one byte more than a record has', Buffer.of(0x16, 3, 1, 0x40, 0x01)],
    ['T11: an empty record', Buffer.of(0x16, 3, 1, 0, 0)],
    ['T11: an empty record within', Buffer.concat([handshake(hello.subarray(0, 9)), handshake(Buffer.alloc(0))])],
    ['T11: a record of another kind within', Buffer.concat([handshake(hello.subarray(0, 9)), record(23, hello)])],
    ['a record of another version within', Buffer.concat([handshake(hello.subarray(0, 9)), Buffer.of(0x16, 2)])],
    ['T26: a message that is too long', handshake(Buffer.concat([long, hello]))],
    ['a message that ends in its random', handshake(Buffer.concat([Buffer.of(1, 0, 0, 20), Buffer.alloc(20)]))],
    [
      'a message that ends in an extension',
      handshake(Buffer.concat([Buffer.of(1, 0, 0, hello.length - 9), hello.subarray(4, -5)])),
    ],
    ['a message without suites', handshake(clientHello({ cipherSuites: [] }))],
    ['T23: protocols without an end', alpn(0, 9, 2, 0x68)],
    ['T23: an empty protocol', alpn(0, 1, 0)],
    ['T23: no protocols', alpn(0, 0)],
    ['T23: something behind the protocols', alpn(0, 3, 2, 0x68, 0x32, 0)],
    [
      'T23: protocols told twice',
      handshake(clientHello({ extensions: [...tls13Extensions(), ...tls13Extensions().slice(-1)] })),
    ],
    ['T10: records without end', inRecords(padded(60_000), 1)],
  ])('%s is bad', (_name, bytes) => {
    expect(readClientHello(bytes).kind).toBe('bad');
    expect(readInPieces(bytes, [1]).answer.kind).toBe('bad');
  });

  it('T6: is never taken for plaintext and never throws, whatever is changed in it', () => {
    const originals = [greased, ...Object.values(captured).map(({ hex }) => Buffer.from(hex, 'hex').subarray(5))].map(
      handshake,
    );
    const change = fc.record({ at: fc.nat(3000), to: fc.integer({ min: 0, max: 255 }), cut: fc.nat(3000) });
    fc.assert(
      fc.property(
        fc.constantFrom(...originals),
        fc.array(change, { minLength: 1, maxLength: 8 }),
        (original, changes) => {
          const bytes = Buffer.from(original);
          for (const { at, to } of changes) bytes[1 + (at % (bytes.length - 1))] = to;
          const end = Math.max(1, bytes.length - ((changes[0]?.cut ?? 0) % bytes.length));
          expect(readClientHello(bytes.subarray(0, end)).kind).not.toBe('no');
        },
      ),
      { numRuns: 2000 },
    );
  });

  it('T6: of random bytes is never taken for plaintext and gets the same answer in any pieces', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        fc.boolean(),
        fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }),
        (noise, isRecord, cut) => {
          const bytes = isRecord ? handshake(noise) : Buffer.concat([Buffer.of(0x16), noise]);
          const { kind } = readClientHello(bytes);
          expect(kind).not.toBe('no');
          expect(readInPieces(bytes, cut).answer.kind).toBe(kind);
        },
      ),
    );
  });
});

describe('what does not begin like a handshake', () => {
  it('is told at its first byte', () => {
    for (let first = 0; first < 256; first += 1)
      expect(readClientHello(Buffer.of(first)).kind).toBe(first === 0x16 ? 'more' : 'no');
  });

  it('T11: is a record of TLS by its type or its version', () => {
    for (const bytes of [
      Buffer.of(20),
      Buffer.of(21, 3),
      Buffer.of(23),
      Buffer.of(24, 9, 9),
      Buffer.of(99, 3, 3, 0, 1),
    ])
      expect(isOtherRecord(bytes)).toBe(true);
    for (const text of ['GET / HTTP/1.1', 'E', '\x03\x00\x00']) expect(isOtherRecord(Buffer.from(text))).toBe(false);
  });
});

describe('the longest hello', () => {
  /** What OpenSSL answers to a message of this length that has nothing in it. */
  function refusalOf(length: number): Promise<string | undefined> {
    const { promise, resolve: refused } = Promise.withResolvers<string | undefined>();
    const server = tls.createServer({}).on('tlsClientError', (error: NodeJS.ErrnoException) => refused(error.code));
    const socket = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });
    server.emit('connection', socket);
    const header = Buffer.of(1, length >> 16, (length >> 8) & 0xff, length & 0xff);
    socket.push(inRecords(Buffer.concat([header, Buffer.alloc(length)]), 16_384));
    return promise;
  }

  it('is the longest that OpenSSL reads', async () => {
    expect(await refusalOf(maxHelloBytes)).not.toBe('ERR_SSL_EXCESSIVE_MESSAGE_SIZE');
    expect(await refusalOf(maxHelloBytes + 1)).toBe('ERR_SSL_EXCESSIVE_MESSAGE_SIZE');
  });
});

describe('the price of a hello', () => {
  const large = clientHello({
    cipherSuites: Array.from({ length: 30_000 }, (_, i) => i),
    extensions: [...tls13Extensions(), extension(21, Buffer.alloc(40_000))],
  });

  it('is one question a record, however many bytes it has, and none of it is read twice', () => {
    const whole = inRecords(large, 16_384);
    expect(readInPieces(whole, [1])).toMatchObject({
      answer: { kind: 'hello' },
      asked: 7 * 7,
    });
  });

  it('is not more for each record: what it says of its length is read once', () => {
    const whole = inRecords(large.subarray(0, 40_000), 1);
    const concat = vi.spyOn(Buffer, 'concat');
    const { answer, asked } = readInPieces(whole, [1000]);
    const copies = concat.mock.calls.length;
    concat.mockRestore();
    expect(answer.kind).toBe('more');
    expect(asked).toBeGreaterThan(200);
    expect(copies).toBe(1);
  });

  it('ends at the bound, in records of any size', () => {
    expect(large.length).toBeLessThan(maxHelloBytes);
    for (const bytes of [1, 2, 3, 4, 16_384]) {
      const whole = inRecords(large, bytes);
      const { answer } = readInPieces(whole, [whole.length]);
      expect(answer.kind).toBe(whole.length > maxHelloRecordBytes ? 'bad' : 'hello');
    }
  });
});
