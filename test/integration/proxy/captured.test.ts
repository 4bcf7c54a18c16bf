import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import * as tls from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import type { PolicyState } from '../../../src/control-api.ts';
import type { Mode } from '../../../src/policy/mode.ts';
import { maxHelloRecordBytes } from '../../../src/proxy/inbound/client-hello.ts';
import { createSlots } from '../../../src/proxy/slots.ts';
import type { CapturedPort } from '../../support/captured-port.ts';
import { cutFirstFlight, meshClient, openCapturedPort } from '../../support/captured-port.ts';
import type { DataPlaneOptions } from '../../support/data-plane.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { createTestAuthority } from '../../support/identities.ts';
import { ending, readAll } from '../../support/sockets.ts';
import {
  clientHello,
  earlyDataExtensions,
  extension,
  record,
  recordTypes,
  tls13Extensions,
} from '../tls/client-hello.ts';

/*
 * Goal: whatever a connection to a captured port begins with, it is taken for what it is in each mode, and what begins like
 * TLS never becomes plaintext. Method: the data plane in this process, told what the kernel would say; clients that are
 * bare TCP, node:tls, and hellos that no library would send.
 */

const ports: CapturedPort[] = [];
afterEach(() => {
  for (const port of ports.splice(0)) port.close();
});

async function open(
  mode: Mode,
  onConnection?: (socket: Socket) => void,
  options?: Partial<DataPlaneOptions>,
  authorization: PolicyState['authorization'] = [],
) {
  const port = await openCapturedPort({ mode, authorization }, onConnection, options);
  ports.push(port);
  return port;
}

/** For a client that speaks at once, however busy the machine is: its silence lasts no time. */
const openStill = (mode: Mode) => open(mode, undefined, { clock: createFakeClock() });

const echo = (socket: Socket) => void socket.pipe(socket);
const otherAuthority = createTestAuthority('elsewhere.example');
const own = otherAuthority.issue({ id: 'ns/shop/sa/own' });
const ownTls = tls.createServer(
  { key: own.key.export({ type: 'pkcs8', format: 'pem' }), cert: own.chainPem, ALPNProtocols: ['http/1.1'] },
  (socket) => void socket.on('error', () => undefined).pipe(socket),
);
/** An application that has a TLS of its own. */
const speaksTls = (socket: Socket) => void ownTls.emit('connection', socket);

const handshake = (content: Uint8Array) => record(recordTypes.handshake, content);
const meshHello = (...extensions: Buffer[]) =>
  clientHello({
    extensions: [...tls13Extensions().slice(0, -1), extension(16, Buffer.from('\0\x06\x05istio')), ...extensions],
  });

/** While nobody here can accept it. */
function dialSayReset(port: number): void {
  const client = `require('node:net').connect(${port}, '127.0.0.1', function () { this.write('FLUSHALL', () => this.resetAndDestroy()); })`;
  expect(spawnSync(process.execPath, ['-e', client]).status).toBe(0);
}

async function refused(port: CapturedPort, bytes: Uint8Array, reason: string): Promise<void> {
  const client = await port.dial();
  client.write(bytes);
  expect(await ending(client)).toBe('reset');
  expect(await port.plane.line({ outcome: 'handshake', reason })).toMatchObject({ direction: 'inbound' });
  expect(port.plane.observed).toContainEqual({ event: 'handshakeFailed', args: ['inbound', reason] });
  expect(port.reached).toEqual([]);
}

describe('plaintext', () => {
  it.each(['PERMISSIVE', 'DISABLE'] as const)('T5: is carried under %s, without an identity', async (mode) => {
    const port = await open(mode, echo);
    const client = await port.dial();
    client.end('GET / HTTP/1.1\r\n\r\n');
    expect(String(await readAll(client))).toBe('GET / HTTP/1.1\r\n\r\n');
    const line = await port.plane.line({ reason: 'eof' });
    expect(line).toMatchObject({ transport: 'plaintext', security: 'plaintext', bytesSent: 18 });
    expect(line.peerId).toBeUndefined();
  });

  it('T4: is refused under STRICT as plaintext_in_strict', async () => {
    await refused(await open('STRICT'), Buffer.from('GET / HTTP/1.1\r\n\r\n'), 'plaintext_in_strict');
  });

  it.each(['DISABLE', 'PERMISSIVE'] as const)('escapes no rule about its address by a reset under %s', async (mode) => {
    const rules = [{ from: [{ ipBlocks: ['127.0.0.0/8'] }] }];
    const port = await open(mode, undefined, {}, [{ name: 'shop/deny', action: 'DENY', rules }]);
    dialSayReset(port.plane.addresses.inbound[0]?.port ?? 0);
    const line = await port.plane.line({ reason: 'reset' });
    expect(line.detail).toBe('The peer was gone before the kernel could be asked who it is');
    expect(line.peerAddress).toBe('unknown');
    expect(port.reached).toEqual([]);
  });

  it('is gone, whatever it has said, when it was reset before it was accepted', async () => {
    const port = await open('DISABLE');
    dialSayReset(port.plane.addresses.inbound[0]?.port ?? 0);
    await port.plane.line({ reason: 'reset' });
    expect(port.reached).toEqual([]);
  });

  it('is carried to its last byte when it ends at once', async () => {
    const port = await open('PERMISSIVE', echo);
    for (const text of ['', 'a', 'a'.repeat(300_000)]) {
      const client = await port.dial();
      client.end(text);
      expect((await readAll(client)).length).toBe(text.length);
    }
  });

  it('T11: may begin like a record of TLS that is no handshake under PERMISSIVE, and is bad_record under STRICT', async () => {
    for (const bytes of [record(recordTypes.applicationData, Buffer.from('data')), record(99, Buffer.from('data'))]) {
      const port = await open('PERMISSIVE', echo);
      const client = await port.dial();
      client.end(bytes);
      expect(await readAll(client)).toEqual(bytes);
      await refused(await open('STRICT'), bytes, 'bad_record');
    }
  });
});

describe("the application's own TLS", () => {
  const clientOf = async (port: CapturedPort, options: tls.ConnectionOptions) => {
    const secure = tls.connect({ socket: await port.dial(), ca: otherAuthority.bundlePem, ...options });
    return secure.on('error', () => undefined);
  };
  const check = { checkServerIdentity: () => undefined };

  it.each(['PERMISSIVE', 'DISABLE'] as const)('T7: passes untouched under %s', async (mode) => {
    const port = await open(mode, speaksTls);
    for (const ALPNProtocols of [[], ['http/1.1', 'h2']]) {
      const secure = await clientOf(port, { ALPNProtocols, ...check });
      await once(secure, 'secureConnect');
      expect(secure.getPeerX509Certificate()?.raw).toEqual(own.certificate.der);
      secure.end('hello');
      expect(String(await readAll(secure))).toBe('hello');
    }
    expect(await port.plane.line({ reason: 'eof' })).toMatchObject({ security: 'plaintext' });
  });

  it('T7: is refused under STRICT as alpn', async () => {
    const port = await open('STRICT');
    const secure = await clientOf(port, check);
    expect(await ending(secure)).toBe('reset');
    expect(await port.plane.line({ reason: 'alpn' })).toMatchObject({ outcome: 'handshake' });
  });

  it('T23: is what offers no protocol of the mesh, however many it offers', async () => {
    const many = Array.from({ length: 50 }, (_, i) => `istio-${i}`.padEnd(255, '.'));
    const port = await open('PERMISSIVE', speaksTls);
    const secure = await clientOf(port, { ALPNProtocols: [...many, 'http/1.1'], ...check });
    await once(secure, 'secureConnect');
    expect(secure.alpnProtocol).toBe('http/1.1');
  });
});

describe('mutual TLS of the mesh', () => {
  const everyByte = (flight: Buffer) => Array.from(flight, (byte) => Buffer.of(byte));
  const everyByteARecord = (flight: Buffer) => [Buffer.concat(everyByte(flight.subarray(5)).map(handshake))];
  const huge = { ALPNProtocols: [...Array.from({ length: 80 }, (_, i) => `${i}`.padEnd(255, '-')), 'istio'] };

  describe.each(['STRICT', 'PERMISSIVE'] as const)('under %s', (mode) => {
    it.each<[string, tls.ConnectionOptions, (flight: Buffer) => readonly Buffer[]]>([
      ['T8: with TLS 1.3 alone', {}, (flight) => [flight]],
      ['T9: in segments of one byte', {}, everyByte],
      ['T10: in records of one byte', {}, everyByteARecord],
      [
        'T10: with a post-quantum key share in two segments',
        { ecdhCurve: 'X25519MLKEM768' },
        (flight) => [flight.subarray(0, 700), flight.subarray(700)],
      ],
      ['T10: over 16 KiB', huge, (flight) => [flight]],
      [
        'T10: over 16 KiB in segments of 1,000 bytes',
        huge,
        (flight) =>
          Array.from({ length: Math.ceil(flight.length / 1000) }, (_, i) => flight.subarray(i * 1000, i * 1000 + 1000)),
      ],
    ])('%s is carried', async (_name, options, cut) => {
      const port = await open(mode, echo);
      const secure = meshClient(cutFirstFlight(await port.dial(), cut), options);
      await once(secure, 'secureConnect');
      secure.write('hello');
      expect(String((await once(secure, 'data'))[0])).toBe('hello');
      expect(port.plane.observed.filter(({ event }) => event === 'handshakeSucceeded')).toHaveLength(1);
      expect([...port.plane.accounts.live()]).toMatchObject([
        { facts: { transport: 'direct', security: 'mutual_tls' } },
      ]);
    });

    it('T23: is no identity by its protocol alone', async () => {
      const port = await openStill(mode);
      const secure = meshClient(await port.dial(), { key: undefined, cert: undefined });
      expect(await ending(secure)).toBe('reset');
      expect(await port.plane.line({ reason: 'no_client_cert' })).toMatchObject({ outcome: 'handshake' });
      expect(port.reached).toEqual([]);
    });

    it('T20: carries no early data', async () => {
      const port = await openStill(mode);
      const client = await port.dial();
      client.write(handshake(meshHello(...earlyDataExtensions())));
      client.write(record(recordTypes.applicationData, Buffer.alloc(5000)));
      await once(client, 'data');
      client.end();
      await port.plane.line({ outcome: 'handshake' });
      expect(port.reached).toEqual([]);
    });
  });
});

describe.each(['STRICT', 'PERMISSIVE'] as const)('what begins like TLS and is none, under %s', (mode) => {
  it.each<[string, Buffer]>([
    ['T6: plaintext after the first byte', Buffer.from('\x16GET / HTTP/1.1\r\n')],
    ['T6: another handshake message', handshake(Buffer.of(2, 0, 0, 0))],
    ['T11: a record of 0xffff bytes', Buffer.of(0x16, 3, 1, 0xff, 0xff)],
    ['T11: an empty record', Buffer.of(0x16, 3, 1, 0, 0)],
    [
      'T10: records without end',
      Buffer.concat(Array(Math.ceil(maxHelloRecordBytes / 6)).fill(Buffer.of(0x16, 3, 1, 0, 1, 1))),
    ],
    ['T26: 200 KiB of extensions', handshake(Buffer.concat([Buffer.of(1, 3, 0x20, 0), Buffer.alloc(16_000)]))],
  ])('%s is bad_record', async (_name, bytes) => {
    await refused(await openStill(mode), bytes, 'bad_record');
  });
});

describe('a client that does not finish', () => {
  const handshakeTimeoutMs = 10_000;
  const started = async (mode: Mode): Promise<{ port: CapturedPort; clock: FakeClock; client: Socket }> => {
    const clock = createFakeClock();
    const port = await open(mode, undefined, { clock });
    const idle = clock.pending;
    const client = await port.dial();
    await expect.poll(() => clock.pending).toBeGreaterThan(idle);
    return { port, clock, client };
  };

  it('T12: and says nothing is refused under STRICT at the deadline, as timeout', async () => {
    const { port, clock, client } = await started('STRICT');
    await clock.advance(handshakeTimeoutMs - 1);
    expect(port.plane.lines).toEqual([]);
    await clock.advance(1);
    expect(await ending(client)).toBe('reset');
    expect(await port.plane.line({ reason: 'timeout' })).toMatchObject({
      detail: expect.stringContaining('said nothing'),
    });
  });

  it.each(['STRICT', 'PERMISSIVE'] as const)(
    'T13: and sends a byte now and then is refused under %s at the same deadline',
    async (mode) => {
      const { port, clock, client } = await started(mode);
      for (const byte of handshake(meshHello()).subarray(0, 9)) {
        client.write(Buffer.of(byte));
        await new Promise((soon) => setImmediate(soon));
        await clock.advance(handshakeTimeoutMs / 10);
      }
      expect(port.plane.lines).toEqual([]);
      await clock.advance(handshakeTimeoutMs / 10);
      expect(await ending(client)).toBe('reset');
      expect(await port.plane.line({ reason: 'timeout' })).toMatchObject({
        detail: expect.stringContaining('ClientHello'),
      });
      expect(port.reached).toEqual([]);
    },
  );

  it.each(['STRICT', 'PERMISSIVE'] as const)(
    'T14: and ends or resets in its hello is one line with the reason reset, under %s',
    async (mode) => {
      const port = await openStill(mode);
      for (const leave of [(client: Socket) => client.end(), (client: Socket) => client.resetAndDestroy()]) {
        const client = await port.dial();
        client.write(handshake(meshHello()).subarray(0, 50), () => leave(client));
        await expect.poll(() => port.plane.lines.length).toBe(1);
        expect(port.plane.lines.splice(0)).toMatchObject([{ outcome: 'handshake', reason: 'reset' }]);
      }
      expect(port.reached).toEqual([]);
    },
  );

  it('X1: holds unfinished hellos of very many peers in bounded memory, and those of others are read', async () => {
    const port = await open('STRICT');
    const clients = await Promise.all(Array.from({ length: 200 }, () => port.dial()));
    // Each holds as much as it has sent at least, and twice that at most.
    const unfinished = [Buffer.of(1, 2, 1, 0x44), ...Array.from({ length: 120 }, () => Buffer.alloc(1000))];
    for (const client of clients) client.resume().write(Buffer.concat(unfinished.map(handshake)));
    const left = () => clients.filter(({ destroyed }) => !destroyed).length;
    await expect.poll(left).toBeLessThan(140);
    expect(await port.plane.line({ reason: 'handshake_limit' })).toMatchObject({
      outcome: 'denied',
      detail: expect.stringContaining('Hellos that are not finished'),
    });
    (await port.dial()).write(handshake(clientHello()));
    await port.plane.line({ reason: 'alpn' });
    expect(left()).toBeGreaterThan(60);

    const cut = left();
    for (const client of clients) client.destroy();
    const ended = () => port.plane.observed.filter(({ args }) => args[1] === 'reset').length;
    await expect.poll(ended).toBe(cut);
    // More than one read takes.
    const cipherSuites = Array.from({ length: 30_000 }, (_, suite) => suite);
    const extensions = [...tls13Extensions(), extension(21, Buffer.alloc(60_000))];
    const long = clientHello({ cipherSuites, extensions });
    for (let nth = 0; nth < 10; nth += 1) {
      const later = await port.dial();
      for (let at = 0; at < long.length; at += 16_000) later.write(handshake(long.subarray(at, at + 16_000)));
    }
    await expect.poll(() => port.plane.observed.filter(({ args }) => args[1] === 'alpn').length).toBe(11);
  });

  it('X1: gives its place to a newcomer', async () => {
    const port = await open('STRICT', undefined, { parts: { connections: createSlots(4) } });
    const clients = await Promise.all([1, 2, 3].map(() => port.dial()));
    expect(await Promise.race(clients.map(ending))).toBe('reset');
    expect(await port.plane.line({ reason: 'handshake_limit' })).toMatchObject({ outcome: 'denied' });
  });
});
