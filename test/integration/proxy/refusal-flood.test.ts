import { once } from 'node:events';
import type { ClientHttp2Session } from 'node:http2';
import { constants } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { connect, createServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { refusalLineLimits } from '../../../src/proxy/refusal-lines.ts';
import type { RunningDataPlane } from '../../support/data-plane.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { http2Peer } from '../../support/http2-peer.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';

/*
 * Goal: whoever is refused again and again, peer or stranger, fills no disk with log lines, loses no count of what it did,
 * and keeps nobody else waiting. Method: the data plane in this process with a clock that stands still, so that the limit
 * gives no second line back; peers that speak HTTP/2 with Node.js's own client.
 */

const authority = createTestAuthority('cluster.local');
const idOf = (name: string) => `spiffe://cluster.local/ns/shop/sa/${name}`;
const { burst, summaryMs } = refusalLineLimits;

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

async function scene({ maxConnections = 10_000 } = {}) {
  const application = createServer((socket) => socket.on('error', () => undefined).pipe(socket));
  await once(application.listen(0, '127.0.0.1'), 'listening');
  cleanups.push(() => application.close());
  const { port } = application.address() as AddressInfo;
  const clock = createFakeClock();
  const plane = await runDataPlane({
    identity: createTestIdentity(authority, { namespace: 'shop', serviceAccount: 'api' }),
    deliveries: [{ ip: '127.0.0.1', port }],
    allowedPeers: [idOf('web')],
    clock,
    adjust: (settings) => ({ ...settings, listen: { ...settings.listen, maxConnections } }),
  });
  cleanups.push(() => plane.stop());
  return { plane, clock, to: `127.0.0.1:${port}` };
}

async function dial(plane: RunningDataPlane) {
  const socket = connect({ host: '127.0.0.1', port: plane.addresses.hbone[0]?.port ?? 0 });
  socket.on('error', () => undefined);
  cleanups.push(() => socket.destroy());
  await once(socket, 'connect');
  return socket;
}

async function peer(plane: RunningDataPlane, serviceAccount: string): Promise<ClientHttp2Session> {
  const session = await http2Peer(await dial(plane), authority, serviceAccount);
  cleanups.push(() => session.destroy());
  return session;
}

function ask(session: ClientHttp2Session, to: string) {
  const stream = session.request({ ':method': 'CONNECT', ':authority': to }, { endStream: false });
  stream.on('error', () => undefined);
  return stream;
}

async function echoed(session: ClientHttp2Session, to: string, text: string): Promise<string> {
  const stream = ask(session, to);
  stream.write(text);
  const [data] = await once(stream, 'data');
  stream.end();
  return String(data);
}

const times = <T>(count: number, make: (index: number) => T) =>
  Array.from({ length: count }, (_, index) => make(index));
const events = ({ observed }: RunningDataPlane, name: string) => observed.filter(({ event }) => event === name);

async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setImmediate(resolve));
}

describe('a flood of refusals', () => {
  it('X11: of one peer writes a bounded number of lines, is counted whole, and others are served meanwhile', async () => {
    const { plane, clock, to } = await scene();
    const stranger = await peer(plane, 'stranger');
    const web = await peer(plane, 'web');
    const rounds = 20;
    for (let round = 0; round < rounds; round += 1) {
      const streams = times(100, () => ask(stranger, to));
      expect(await echoed(web, to, `round ${round}`)).toBe(`round ${round}`);
      for (const stream of streams.slice(0, 50)) stream.close(constants.NGHTTP2_CANCEL);
      await Promise.all(streams.map((stream) => stream.closed || once(stream.resume(), 'close')));
    }
    const refusals = () => [...events(plane, 'connectionDenied'), ...events(plane, 'connectionFailed')];
    await until(() => refusals().length === 100 * rounds);
    await until(() => events(plane, 'connectionClosed').length === rounds);

    const kinds = new Set(refusals().map(({ event, args }) => `${event} ${args[1]}`)).size;
    const linesBefore = plane.lines.length;
    expect(linesBefore).toBeLessThanOrEqual(kinds * burst + rounds);
    expect(plane.lines.filter(({ peerId, outcome }) => peerId === idOf('web') && outcome === 'closed')).toHaveLength(
      rounds,
    );
    await clock.advance(summaryMs);
    const summaries = plane.lines.slice(linesBefore);
    expect(summaries).toContainEqual(expect.objectContaining({ level: 'warn', reason: 'default_deny' }));
    const suppressed = summaries.reduce((sum, line) => sum + Number(line.suppressed), 0);
    expect(suppressed).toBe(100 * rounds + rounds - linesBefore);
    expect(events(plane, 'logLineSuppressed')).toHaveLength(suppressed);
  });

  it('X11: of strangers who send garbage writes a bounded number of lines, and a peer gets in meanwhile', async () => {
    const { plane, clock, to } = await scene();
    const count = 300;
    const garbage = times(count, async () => {
      const socket = await dial(plane);
      const closed = once(socket, 'close');
      socket.end('GET / HTTP/1.1\r\n\r\n');
      await closed;
    });
    expect(await echoed(await peer(plane, 'web'), to, 'hello')).toBe('hello');
    await Promise.all(garbage);
    await until(() => events(plane, 'handshakeFailed').length === count);
    const about = plane.lines.filter(({ outcome }) => outcome === 'handshake');
    expect(about.length).toBeLessThan(count / 2);
    await clock.advance(summaryMs);
    const suppressed = plane.lines.reduce((sum, line) => sum + Number(line.suppressed ?? 0), 0);
    expect(about.length + suppressed).toBe(count);
  });

  it('X11: at the limit of a listener writes a bounded number of lines, is counted whole, and ends no tunnel', async () => {
    const { plane, clock, to } = await scene({ maxConnections: 1 });
    const web = await peer(plane, 'web');
    const count = 300;
    await Promise.all(times(count, async () => once(await dial(plane), 'close')));
    await until(() => events(plane, 'connectionDenied').length === count);
    const written = plane.lines.filter(({ reason }) => reason === 'connection_limit');
    expect(written).toHaveLength(burst);
    expect(await echoed(web, to, 'hello')).toBe('hello');
    await clock.advance(summaryMs);
    expect(plane.lines).toContainEqual(
      expect.objectContaining({ direction: 'inbound', reason: 'connection_limit', suppressed: count - burst }),
    );
  });
});
