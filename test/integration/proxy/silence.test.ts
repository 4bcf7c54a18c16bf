import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { PolicyState } from '../../../src/control-api.ts';
import { silenceLimits } from '../../../src/proxy/inbound/silence.ts';
import type { CapturedPort } from '../../support/captured-port.ts';
import { meshClient, openCapturedPort } from '../../support/captured-port.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { ending, readAll } from '../../support/sockets.ts';
import { clientHello, record, recordTypes } from '../tls/client-hello.ts';

/*
 * Goal: a protocol whose server speaks first works on a PERMISSIVE port, without a hang, and takes nothing from a peer that
 * means mutual TLS. Method: the data plane in this process and a clock that the test moves; what has to have happened is
 * waited for, and what must not have happened is looked for after everything else has.
 */

const { beforeDialMs, greetingMs, leastGreetingMs } = silenceLimits;
const handshakeTimeoutMs = 10_000;
const greeting = '220 ready\r\n';
const permissive: PolicyState = { mode: 'PERMISSIVE' };
const noPlaintext: PolicyState = {
  mode: 'PERMISSIVE',
  authorization: [{ name: 'shop/no-plaintext', action: 'DENY', rules: [{ from: [{ notPrincipals: ['*'] }] }] }],
};

let stage: CapturedPort & { readonly clock: FakeClock };
afterEach(() => stage.close());

async function open(policy = permissive, onConnection?: (socket: Socket) => void): Promise<void> {
  const clock = createFakeClock();
  stage = { ...(await openCapturedPort(policy, onConnection, { clock })), clock };
}

const greets = (socket: Socket) => {
  socket.write(greeting);
  socket.pipe(socket);
};

/** A client of which the sidecar knows, and that says nothing. */
async function silentClient(): Promise<Socket> {
  const before = stage.clock.pending;
  const client = await stage.dial();
  await expect.poll(() => stage.clock.pending).toBeGreaterThan(before);
  return client;
}

/** The same, when the application was dialled for it and both are listened to. */
async function dialledFor(): Promise<[client: Socket, application: Socket]> {
  const before = stage.clock.pending;
  const client = await silentClient();
  await stage.clock.advance(beforeDialMs);
  const application = await stage.next();
  // One for the end of the wait, and one for that of all waiting.
  await expect.poll(() => stage.clock.pending).toBeGreaterThanOrEqual(before + 2);
  await settled();
  return [client, application];
}

/** Long enough for what is in the kernel to have been read. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((soon) => setImmediate(soon));
}

const text = async (socket: Socket) => String((await once(socket, 'data'))[0]);

/** Until a silent client gets the greeting. */
async function waitedMs(): Promise<number> {
  const carried = () => [...stage.plane.accounts.live()].length;
  const before = carried();
  const client = await silentClient();
  const startMs = stage.clock.monotonic();
  while (carried() === before && stage.clock.monotonic() - startMs < 2 * greetingMs) {
    await stage.clock.advance(1);
    await settled();
  }
  const waited = stage.clock.monotonic() - startMs;
  expect(await text(client)).toBe(greeting);
  return waited;
}

describe('a server that speaks first', () => {
  it('T15: is dialled for a silent client, and its greeting arrives after a short wait', async () => {
    await open(permissive, greets);
    const client = await silentClient();
    await stage.clock.advance(beforeDialMs - 1);
    await settled();
    expect(stage.reached).toEqual([]);
    await stage.clock.advance(1);
    await stage.next();
    await stage.clock.advance(greetingMs - beforeDialMs - 1);
    await settled();
    expect(client.bytesRead).toBe(0);
    await stage.clock.advance(1);
    expect(await text(client)).toBe(greeting);
    client.write('EHLO');
    expect(await text(client)).toBe('EHLO');
    expect([...stage.plane.accounts.live()]).toMatchObject([
      { facts: { transport: 'plaintext', security: 'plaintext' } },
    ]);
  });

  it('T15: is remembered: the next ones wait for less, and never for nothing', async () => {
    await open(permissive, greets);
    const waits: number[] = [];
    for (let i = 0; i < 6; i += 1) waits.push(await waitedMs());
    expect(waits.slice(0, 3)).toEqual([greetingMs, greetingMs / 2, greetingMs / 4]);
    expect(waits.slice(-2)).toEqual([leastGreetingMs, leastGreetingMs]);
  });

  it('T15: whose greeting comes later is passed on at once, and teaches nothing', async () => {
    await open();
    for (let i = 0; i < 3; i += 1) {
      const [client, application] = await dialledFor();
      await stage.clock.advance(greetingMs);
      application.write(greeting);
      expect(await text(client)).toBe(greeting);
      client.destroy();
    }
    const [client, application] = await dialledFor();
    application.write(greeting);
    await stage.clock.advance(greetingMs - beforeDialMs - 1);
    await settled();
    expect(client.bytesRead).toBe(0);
  });

  it('T15: may speak TLS after its greeting: those are bytes like others', async () => {
    await open(permissive, greets);
    const [client] = await dialledFor();
    await stage.clock.advance(greetingMs);
    expect(await text(client)).toBe(greeting);
    const hello = record(recordTypes.handshake, clientHello());
    client.write(hello);
    expect((await once(client, 'data'))[0]).toEqual(hello);
  });

  it('T15: gets what the client says first, also while its greeting is held', async () => {
    await open(permissive, greets);
    const [client] = await dialledFor();
    client.end('QUIT');
    expect(String(await readAll(client))).toBe(`${greeting}QUIT`);
  });
});

describe('a client that is silent', () => {
  it('T15: and an application that is, too, stay connected, and teach nothing', async () => {
    await open();
    const [client, application] = await dialledFor();
    await stage.clock.advance(10 * handshakeTimeoutMs);
    expect([...stage.plane.accounts.live()]).toHaveLength(1);
    client.write('at last');
    expect(await text(application)).toBe('at last');
    application.write('indeed');
    expect(await text(client)).toBe('indeed');
    const [other, late] = await dialledFor();
    late.write(greeting);
    await stage.clock.advance(greetingMs - beforeDialMs - 1);
    await settled();
    expect(other.bytesRead).toBe(0);
  });

  it('T15: means mutual TLS when its hello comes late: the application that was dialled is used, and greets in it', async () => {
    await open(permissive, greets);
    const [client] = await dialledFor();
    await stage.clock.advance(greetingMs - beforeDialMs - 1);
    const secure = meshClient(client);
    const heard = once(secure, 'data');
    await once(secure, 'secureConnect');
    expect(String((await heard)[0])).toBe(greeting);
    secure.end('bye');
    expect(String(await readAll(secure))).toBe('bye');
    expect(stage.reached).toHaveLength(1);
    expect(await stage.plane.line({ reason: 'eof' })).toMatchObject({ transport: 'direct', security: 'mutual_tls' });
  });

  it('T15: and then begins a hello is held to the deadline of the handshake, and the application is reset', async () => {
    await open();
    const [client, application] = await dialledFor();
    client.write(record(recordTypes.handshake, clientHello()).subarray(0, 20));
    await settled();
    application.write(greeting);
    await stage.clock.advance(handshakeTimeoutMs);
    expect(await Promise.all([ending(client), ending(application)])).toEqual(['reset', 'reset']);
    expect(await stage.plane.line({ outcome: 'handshake' })).toMatchObject({ reason: 'timeout' });
    expect(client.bytesRead).toBe(0);
    expect(stage.plane.parts.connections.inUse).toBe(0);
  });

  it('T15: and then sends what only begins like TLS is bad_record, and the application is reset', async () => {
    await open();
    const [client, application] = await dialledFor();
    client.write('\x16nothing');
    expect(await Promise.all([ending(client), ending(application)])).toEqual(['reset', 'reset']);
    expect(await stage.plane.line({ outcome: 'handshake' })).toMatchObject({ reason: 'bad_record' });
  });

  it('G18: is not dialled for where policies permit nobody without an identity, and may still prove one', async () => {
    await open(noPlaintext, greets);
    const client = await silentClient();
    await stage.clock.advance(greetingMs);
    await settled();
    expect(stage.reached).toEqual([]);
    const secure = meshClient(client);
    expect(String((await once(secure, 'data'))[0])).toBe(greeting);

    const silent = await silentClient();
    await stage.clock.advance(handshakeTimeoutMs);
    expect(await ending(silent)).toBe('reset');
    expect(await stage.plane.line({ reason: 'timeout' })).toMatchObject({ outcome: 'handshake' });
  });

  it('G8: gets no greeting when the policy forbids it meanwhile', async () => {
    await open(permissive, greets);
    const [client, application] = await dialledFor();
    stage.plane.policy = { mode: 'STRICT' };
    await stage.clock.advance(greetingMs);
    expect(await Promise.all([ending(client), ending(application)])).toEqual(['reset', 'reset']);
    expect(client.bytesRead).toBe(0);
    expect(await stage.plane.line({ direction: 'inbound' })).toMatchObject({
      outcome: 'denied',
      reason: 'default_deny',
    });
  });

  it('takes a place among the connections once the application is dialled', async () => {
    await open();
    const client = await silentClient();
    expect(stage.plane.parts.connections.inUse).toBe(0);
    await stage.clock.advance(beforeDialMs);
    await stage.next();
    await settled();
    expect(stage.plane.parts.connections.inUse).toBe(1);
    client.resetAndDestroy();
    await stage.plane.line({ direction: 'inbound' });
    expect(stage.plane.parts.connections.inUse).toBe(0);
  });

  it('is refused when nothing listens', async () => {
    await open();
    const gone = { ip: '127.0.0.1', port: 1 };
    stage.close();
    const clock = createFakeClock();
    const parts = { originalDestination: () => gone };
    stage = { ...(await openCapturedPort(permissive, undefined, { clock, parts, deliveries: [gone] })), clock };
    const client = await silentClient();
    await clock.advance(beforeDialMs);
    expect(await ending(client)).toBe('reset');
    expect(await stage.plane.line({ direction: 'inbound' })).toMatchObject({ reason: 'upstream_refused' });
  });
});

describe.each([
  ['while it is waited for', 0],
  ['when it was waited for', greetingMs],
  ['when both are connected', handshakeTimeoutMs],
])('the end of one side %s', (_when, afterMs) => {
  it.each<[string, (one: Socket) => unknown, 'end' | 'reset']>([
    ['an end', (one) => one.end(), 'end'],
    ['a reset', (one) => one.resetAndDestroy(), 'reset'],
  ])('X18: is %s for the other', async (_name, leave, seen) => {
    await open();
    for (const isClient of [true, false]) {
      const [client, application] = await dialledFor();
      await stage.clock.advance(afterMs);
      const [one, other] = isClient ? [client, application] : [application, client];
      const ended = ending(other);
      leave(one);
      await settled();
      await stage.clock.advance(greetingMs);
      other.end();
      expect(await ended).toBe(seen);
      one.resume();
      expect(await stage.plane.line({ direction: 'inbound' })).toMatchObject({
        reason: seen === 'end' ? 'eof' : 'reset',
      });
      stage.plane.lines.splice(0);
    }
    expect(stage.plane.parts.connections.inUse).toBe(0);
  });
});

it('X18: leaves nothing behind, whenever it is given up', async () => {
  await open(permissive, greets);
  const idle = stage.clock.pending;
  for (const afterMs of [0, 1, beforeDialMs, beforeDialMs + 1, greetingMs, handshakeTimeoutMs]) {
    const client = await silentClient();
    await stage.clock.advance(afterMs);
    client.resetAndDestroy();
    await stage.plane.line({ direction: 'inbound' });
    stage.plane.lines.splice(0);
  }
  await expect.poll(() => stage.clock.pending).toBe(idle);
  expect(stage.plane.parts.connections.inUse).toBe(0);
});

it('K3: is reset at a stop', async () => {
  await open();
  const [client, application] = await dialledFor();
  stage.plane.retireInbound();
  const stopped = stage.plane.drain.finish(1000);
  await stage.clock.advance(1000);
  expect(await Promise.all([ending(client), ending(application)])).toEqual(['reset', 'reset']);
  await stopped;
  expect(await stage.plane.line({ direction: 'inbound' })).toMatchObject({ reason: 'drain_deadline' });
});
