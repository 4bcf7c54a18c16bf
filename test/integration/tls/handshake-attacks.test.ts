import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import * as tls from 'node:tls';
import { describe, expect, it } from 'vitest';
import { HandshakeError } from '../../../src/errors.ts';
import { noRevocations } from '../../../src/identity/revocations.ts';
import { acceptMutualTls } from '../../../src/proxy/transport/tls.ts';
import { createTestAuthority } from '../../support/identities.ts';
import { clientHello, earlyDataExtensions, record, recordTypes, tls13Extensions } from './client-hello.ts';
import type { Credentials, Outcome, Pair } from './handshake.ts';
import { local, meet, mesh, openPair, peerId, present, roles, startStranger, verdict } from './handshake.ts';

const good = () => mesh.issue({ id: peerId.uri });
const anyVersion = { minVersion: 'TLSv1', ciphers: 'DEFAULT:@SECLEVEL=0' } as const;

/** What our side makes of a client that sends these bytes and then waits, and the first record that it gets back. */
async function sendRaw(bytes: Uint8Array): Promise<{ outcome: Outcome; answer: Buffer }> {
  const pair = await openPair();
  const outcome = meet('client', pair);
  const answer = new Promise<Buffer>((resolve) => {
    pair.theirs.once('data', resolve);
    pair.theirs.once('close', () => resolve(Buffer.alloc(0)));
  });
  pair.theirs.write(bytes);
  const first = await answer;
  pair.theirs.destroy();
  return { outcome: await outcome, answer: first };
}

interface Visit {
  readonly outcome: Outcome;
  readonly reused: boolean;
  readonly session: Buffer | undefined;
}

/** A client that stays until it was let in or refused, and keeps the session that it was given. */
async function visit(credentials: Credentials | undefined, session?: Buffer, nowMs?: number): Promise<Visit> {
  const pair = await openPair();
  const client = startStranger('client', pair, credentials, session === undefined ? {} : { session }) as tls.TLSSocket;
  const givenLater = once(client, 'session') as Promise<[Buffer]>;
  givenLater.catch(() => undefined);
  const secured = once(client, 'secureConnect');
  const outcome = await meet('client', pair, nowMs === undefined ? {} : { nowMs });
  await secured;
  // A server without tickets gives out sessions all the same; nobody can resume them.
  const given = outcome.kind === 'verified' ? (await givenLater)[0] : undefined;
  const reused = client.isSessionReused();
  pair.close();
  return { outcome, reused, session: given };
}

describe('the version', () => {
  it.each(['TLSv1', 'TLSv1.1'] as const)(
    'T1: a peer that speaks at most %s is refused as protocol_version, in both roles',
    async (maxVersion) => {
      for (const role of roles) {
        expect(verdict(await present(role, good(), {}, { ...anyVersion, maxVersion }))).toBe('protocol_version');
      }
    },
  );

  it('T1: a hello of TLS 1.0 without extensions is answered with an alert and nothing else', async () => {
    const hello = clientHello({ version: 0x0301, cipherSuites: [0xc013, 0x002f], extensions: [] });
    const { outcome, answer } = await sendRaw(record(recordTypes.handshake, hello, 0x0301));
    expect(verdict(outcome)).toBe('protocol_version');
    expect(answer[0] ?? recordTypes.alert).toBe(recordTypes.alert);
  });

  it('T2: a peer that speaks at most TLS 1.2 is refused as protocol_version, in both roles', async () => {
    for (const role of roles) {
      expect(verdict(await present(role, good(), {}, { maxVersion: 'TLSv1.2' }))).toBe('protocol_version');
    }
  });

  it('T2: a peer with whom no group or signature algorithm is shared is refused as no_shared_cipher, in both roles', async () => {
    for (const role of roles) {
      expect(verdict(await present(role, good(), {}, { ecdhCurve: 'P-521' }))).toBe('no_shared_cipher');
      expect(verdict(await present(role, good(), {}, { sigalgs: 'rsa_pss_rsae_sha256' }))).toBe('no_shared_cipher');
    }
  });
});

it('a client that speaks no protocol of the mesh is refused as alpn', async () => {
  expect(verdict(await present('client', good(), {}, { ALPNProtocols: ['http/1.1'] }))).toBe('alpn');
  expect(verdict(await present('client', good(), {}, { ALPNProtocols: [] }))).toBe('alpn');
});

describe('a client without a certificate', () => {
  it('T3: is refused as no_client_cert', async () => {
    expect(verdict(await present('client', undefined))).toBe('no_client_cert');
  });

  it('T18: is refused as no_client_cert again when it resumes the session of that refusal', async () => {
    const first = await visit(undefined);
    const again = await visit(undefined, first.session);
    expect([verdict(first.outcome), verdict(again.outcome), again.reused]).toEqual([
      'no_client_cert',
      'no_client_cert',
      false,
    ]);
  });

  it('T18: is refused as no_client_cert when it resumes the session of a client that had one', async () => {
    const { session, outcome } = await visit(good());
    expect(verdict(outcome)).toBe('accepted');
    const again = await visit(undefined, session);
    expect([verdict(again.outcome), again.reused]).toEqual(['no_client_cert', false]);
  });
});

describe('a client that resumes', () => {
  it('T16: makes a full handshake, whatever session it shows', async () => {
    const credentials = good();
    const first = await visit(credentials);
    const again = await visit(credentials, first.session);
    expect([verdict(first.outcome), verdict(again.outcome), again.reused]).toEqual(['accepted', 'accepted', false]);
    expect(again.outcome.kind === 'verified' && again.outcome.connection.socket.isSessionReused()).toBe(false);
  });

  it('T17: makes a full handshake and is refused as expired when its certificate has ended', async () => {
    const notAfterMs = Math.floor(Date.now() / 1000) * 1000 + 60_000;
    const credentials = mesh.issue({ id: peerId.uri, notAfterMs });
    const first = await visit(credentials);
    const again = await visit(credentials, first.session, notAfterMs);
    expect([verdict(first.outcome), verdict(again.outcome), again.reused]).toEqual(['accepted', 'expired', false]);
  });

  it('T20: early data is skipped, and none of it is application data', async () => {
    const hello = clientHello({ extensions: [...tls13Extensions(), ...earlyDataExtensions()] });
    const early = record(recordTypes.applicationData, Buffer.alloc(8000, 0x47));
    const { outcome, answer } = await sendRaw(Buffer.concat([record(recordTypes.handshake, hello), early, early]));
    // The server says hello, so it did not take the bytes for a part of the handshake either.
    expect(answer[0]).toBe(recordTypes.handshake);
    expect(verdict(outcome)).toBe('reset');
  });

  it('T20: more early data than is skipped ends the connection as bad_record', async () => {
    const hello = clientHello({ extensions: [...tls13Extensions(), ...earlyDataExtensions()] });
    const early = record(recordTypes.applicationData, Buffer.alloc(16_000, 0x47));
    const pair = await openPair();
    const outcome = meet('client', pair);
    pair.theirs.resume();
    pair.theirs.write(Buffer.concat([record(recordTypes.handshake, hello), early, early, early, early]));
    expect(verdict(await outcome)).toBe('bad_record');
    pair.close();
  });
});

describe('one handshake among others', () => {
  it('T27: a callback that throws or never answers ends its own connection alone', async () => {
    const { key, chainPem } = good();
    const server = tls.createServer({
      key: key.export({ type: 'pkcs8', format: 'pem' }),
      cert: chainPem,
      SNICallback: (name, answer) => {
        if (name === 'throws.example') throw new Error('thrown');
        if (name === 'fails.example') answer(new Error('failed'));
        if (name === 'fine.example') answer(null);
      },
      ALPNCallback: ({ protocols }) => {
        if (protocols.includes('throws')) throw new Error('thrown');
        return protocols[0];
      },
    });
    const failed: string[] = [];
    server.on('tlsClientError', ({ message }) => failed.push(message));
    const dial = async (servername: string, protocol = 'h2') => {
      const pair = await openPair();
      server.emit('connection', pair.ours);
      const client = tls.connect({
        socket: pair.theirs,
        servername,
        ALPNProtocols: [protocol],
        rejectUnauthorized: false,
      });
      client.on('error', () => undefined);
      const settled = new Promise<void>((resolve) => {
        client.once('secureConnect', () => resolve());
        client.once('close', () => resolve());
      });
      return { pair, client, settled };
    };
    const silent = await dial('silent.example');
    for (const [name, protocol] of [['throws.example'], ['fails.example'], ['fine.example', 'throws']] as const) {
      const { pair, client, settled } = await dial(name, protocol);
      await settled;
      expect(client.destroyed).toBe(true);
      pair.close();
    }
    const fine = await dial('fine.example');
    await fine.settled;
    expect(fine.client.alpnProtocol).toBe('h2');
    expect(failed).toHaveLength(3);
    expect(silent.pair.ours.destroyed).toBe(false);
    silent.pair.close();
    fine.pair.close();
  });

  it('T27: a peer that never answers is ended by its own deadline, and others are served meanwhile', async () => {
    const pair = await openPair();
    const deadline = new AbortController();
    const silent = acceptMutualTls(
      pair.ours,
      local,
      { nowMs: Date.now, revocations: () => noRevocations },
      'tunnel',
      deadline.signal,
    );
    expect(verdict(await present('client', good()))).toBe('accepted');
    deadline.abort(new HandshakeError('timeout', 'The handshake took too long'));
    await expect(silent).rejects.toMatchObject({ reason: 'timeout' });
    expect(pair.ours.destroyed).toBe(true);
    pair.close();
  });

  it('T27: an odd server name ends no connection', async () => {
    for (const servername of ['x'.repeat(255), 'a..b', '-', 'localhost']) {
      expect(verdict(await present('client', good(), {}, { servername }))).toBe('accepted');
    }
  });
});

describe('many handshakes that fail', () => {
  it('leave no descriptor behind', async () => {
    const refused = [
      undefined,
      createTestAuthority('cluster.local').issue({ id: peerId.uri }),
      mesh.issue({ id: 'x', sans: [] }),
    ];
    const descriptors = () => readdirSync('/proc/self/fd').length;
    const round = async () => {
      await Promise.all(refused.flatMap((credentials) => roles.map((role) => present(role, credentials))));
      await sendRaw(Buffer.from('GET / HTTP/1.1\r\n\r\n'));
      await sendRaw(record(recordTypes.handshake, clientHello({ extensions: [] })));
    };
    await round();
    const before = descriptors();
    for (let i = 0; i < 20; i++) await round();
    await setImmediate();
    expect(descriptors()).toBeLessThanOrEqual(before + 4);
  });
});

describe('a client that writes before it is let in', () => {
  const megabyte = Buffer.alloc(1024 * 1024, 0x41);

  /** Lets everything that is on its way over loopback arrive: until a hundred turns in a row moved nothing. */
  async function settle({ ours }: Pair): Promise<void> {
    for (
      let turns = 0, last = -1;
      turns < 100;
      turns = last === ours.bytesRead ? turns + 1 : 0, last = ours.bytesRead
    ) {
      await setImmediate();
    }
  }

  it('T28: reaches nobody when it is refused, and its bytes are not kept', async () => {
    const pair = await openPair();
    const stranger = createTestAuthority('cluster.local').issue({ id: peerId.uri });
    const client = startStranger('client', pair, stranger) as tls.TLSSocket;
    client.once('secureConnect', () => client.write(megabyte));
    expect(verdict(await meet('client', pair))).toBe('untrusted');
    expect(pair.ours.destroyed).toBe(true);
    expect(pair.ours.bytesRead).toBeLessThan(megabyte.length);
    pair.close();
  });

  it('T28: waits in the kernel while nobody reads, and only a bounded part of it in the process', async () => {
    const pair = await openPair();
    const client = startStranger('client', pair, good()) as tls.TLSSocket;
    client.once('secureConnect', () => {
      for (let i = 0; i < 32; i++) client.write(megabyte);
    });
    const outcome = await meet('client', pair);
    expect(verdict(outcome)).toBe('accepted');
    await settle(pair);
    expect(pair.ours.bytesRead).toBeLessThan(megabyte.length);
    expect(outcome.kind === 'verified' && outcome.connection.socket.readableLength).toBeLessThan(megabyte.length);
    pair.close();
  });
});
