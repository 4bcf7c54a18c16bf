import { connect } from 'node:tls';
import type { GenericSchema, InferOutput } from 'valibot';
import { parse } from 'valibot';
import { afterEach, describe, expect, it } from 'vitest';
import {
  adminPaths,
  configPage,
  connectionsPage,
  drainReply,
  handshakesPage,
  policyPage,
  statusPage,
  tunnelsPage,
} from '../../../src/admin-api.ts';
import { createTestAuthority } from '../../support/identities.ts';
import type { Agent } from './agent-program.ts';
import { killPrograms, page, readyAgent, runProgram } from './agent-program.ts';
import { connectedPair, dial, echoes, gone } from './connected-pair.ts';
import { idOf, useFolder, writeIdentity, writeText } from './identity-files.ts';

/*
 * Goal: whoever asks a running sidecar hears how it fares, and an application of its pod can have it drain and end.
 * Method: the real program as two sidecars with a tunnel between them, its pages over HTTP, and its commands.
 */

useFolder();
const closing: (() => unknown)[] = [];
afterEach(async () => {
  killPrograms();
  for (const close of closing.splice(0)) await close();
});

const commandOf = (agent: Agent, name: string, ...args: string[]) =>
  runProgram([name, '--admin', `127.0.0.1:${agent.ports.admin}`, ...args]);

async function pageOf<Schema extends GenericSchema>(
  agent: Agent,
  path: string,
  schema: Schema,
): Promise<InferOutput<Schema>> {
  const { status, text } = await page(agent.ports.admin, path);
  expect({ path, status }).toEqual({ path, status: 200 });
  return parse(schema, JSON.parse(text));
}

async function post(agent: Agent, path: string) {
  // As an application does it: Node.js names itself, and no site.
  const response = await fetch(`http://127.0.0.1:${agent.ports.admin}${path}`, { method: 'POST' });
  return { status: response.status, reply: parse(drainReply, await response.json()) };
}

describe('a running sidecar', () => {
  it('shows the same connection and the same tunnel at both ends', async () => {
    const { db, web, socket } = await connectedPair(closing);
    const sides = await Promise.all(
      [web, db].map(async (agent) => ({
        connections: (await pageOf(agent, adminPaths.connections, connectionsPage)).connections,
        tunnels: (await pageOf(agent, adminPaths.tunnels, tunnelsPage)).tunnels,
      })),
    );
    const [atWeb, atDb] = sides;
    const [connection] = atWeb?.connections ?? [];
    expect(connection).toMatchObject({
      direction: 'outbound',
      peerAddress: `127.0.0.1:${socket.localPort}`,
      peerId: idOf('db'),
      localId: idOf('web'),
      security: 'mutual_tls',
      transport: 'hbone',
      tlsVersion: 'TLSv1.3',
      group: 'X25519MLKEM768',
      bytesSent: 5,
      bytesReceived: 5,
    });
    expect(Date.parse(connection?.peerNotAfter ?? '')).toBeGreaterThan(Date.now());
    const { id, tunnel, tunnelFrom, tunnelTo, cipher } = connection ?? {};
    const shared = { id, tunnel, tunnelFrom, tunnelTo, cipher };
    expect(atDb?.connections).toMatchObject([{ ...shared, direction: 'inbound', peerId: idOf('web') }]);
    const both = { name: tunnel, cipher, streams: 1, isRetiring: false };
    expect(atWeb?.tunnels).toMatchObject([
      { ...both, direction: 'outbound', peerId: idOf('db'), peerAddress: tunnelTo },
    ]);
    expect(atDb?.tunnels).toMatchObject([
      { ...both, direction: 'inbound', peerId: idOf('web'), peerAddress: tunnelFrom },
    ]);

    const { code, stdout } = await commandOf(web, 'connections');
    expect(code).toBe(0);
    const lines = stdout.trimEnd().split('\n');
    expect(lines[0]).toBe('1 connection: 0 inbound, 1 outbound; in 1 tunnel');
    expect(lines.at(-1)).toMatch(new RegExp(`^out +\\d+s .*/db .* 5B +5B +${tunnel} +${id}$`));
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(100);
    const { stdout: json } = await commandOf(web, 'connections', '--json');
    expect(parse(connectionsPage, JSON.parse(json)).connections[0]?.id).toBe(id);
  });

  it('tells at one glance how it fares, and exits with 0 while it is ready', async () => {
    const { db } = await connectedPair(closing);
    const status = await pageOf(db, adminPaths.status, statusPage);
    expect(status).toMatchObject({
      isReady: true,
      identity: { spiffeId: idOf('db'), isExpired: false, nextRenewal: null, lastFailure: null },
      modes: [{ port: '*', mode: 'STRICT', setBy: null, fromPolicy: 'STRICT' }],
      controlPlane: { address: null, isUp: false },
      connections: { inbound: 1, outbound: 0 },
      tunnels: { inbound: 1, outbound: 0 },
      failures: [],
      drain: { stage: 'serving', isStopping: false, open: 1 },
    });
    expect(status.gates.every(({ isOpen, why }) => isOpen && why === null)).toBe(true);
    const { code, stdout } = await commandOf(db, 'status');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Ready\n/);
    expect(stdout).toContain(`Identity:      ${idOf('db')}\n`);
    expect(stdout).toContain('1 inbound and 0 outbound connections (1 of at most ');
    expect((await pageOf(db, adminPaths.policy, policyPage)).inbound).toEqual({
      modes: [{ port: '*', mode: 'STRICT', setBy: null, fromPolicy: 'STRICT' }],
      modesLeftOut: 0,
      why: 'Without a control plane it is always STRICT',
      floor: 'DISABLE',
      allowedPeers: [idOf('web')],
    });
  });

  it('remembers the handshakes that failed, and says what to do', async () => {
    const { db } = await connectedPair(closing);
    const stranger = createTestAuthority('cluster.local').issue({ id: 'ns/shop/sa/web' });
    const socket = connect({
      host: '127.0.0.1',
      port: db.ports.hbone,
      key: stranger.key.export({ type: 'pkcs8', format: 'pem' }),
      cert: stranger.chainPem,
      ALPNProtocols: ['h2'],
      rejectUnauthorized: false,
    });
    await gone(socket.on('error', () => undefined));
    await db.line({ outcome: 'handshake' });
    const [failure, ...others] = (await pageOf(db, adminPaths.handshakes, handshakesPage)).handshakes;
    expect(others).toEqual([]);
    expect(failure).toMatchObject({ direction: 'inbound', reason: 'untrusted', presentedId: idOf('web') });
    const { code, stdout } = await commandOf(db, 'handshakes');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^1 handshake failed that the sidecar remembers: 1 untrusted\n/);
    expect(stdout).toContain(`untrusted: ${failure?.happened}\n  ${failure?.remedy}\n`);
    expect((await pageOf(db, adminPaths.status, statusPage)).failures).toMatchObject([
      { direction: 'inbound', outcome: 'handshake', reason: 'untrusted', count: 1, lastId: failure?.id },
    ]);
  });

  it('A5: shows each setting with its origin, and nothing of what is in a file or a header', async () => {
    const files = writeIdentity('db');
    const file = writeText('remora.yaml', `connectTimeout: 7s\nkeyFile: ${files.keyFile}\n`);
    const probe = {
      httpGet: {
        path: '/healthz?key=query-secret',
        port: 8080,
        scheme: 'HTTP',
        httpHeaders: [{ name: 'Authorization', value: 'Bearer header-secret' }],
      },
      timeoutSeconds: 1,
    };
    const { keyFile: _, ...flags } = files;
    const agent = await readyAgent(
      { ...flags, config: file, deliver: '127.0.0.1:5432', allowPeers: idOf('web') },
      { env: { REMORA_DRAIN_DEADLINE: '12s', REMORA_APP_PROBES: JSON.stringify({ '/app-health/a/livez': probe }) } },
    );
    const { settings } = await pageOf(agent, adminPaths.config, configPage);
    expect(settings).toMatchObject({
      keyFile: { value: files.keyFile, from: `${file} line 2` },
      connectTimeout: { value: '7s', from: `${file} line 1` },
      drainDeadline: { value: '12s', from: 'REMORA_DRAIN_DEADLINE' },
      deliver: { value: '127.0.0.1:5432', from: '--deliver' },
      capture: { value: 'false', from: 'the default' },
      controlPlane: { value: null, from: 'the default' },
    });
    const text = JSON.stringify(settings);
    expect(settings.appProbes?.value).toContain('"Authorization"');
    for (const secret of ['query-secret', 'header-secret', 'PRIVATE']) expect(text).not.toContain(secret);
  });
});

describe('POST /drain', () => {
  it('K16: takes nothing new in, goes on with what is open, and a signal ends it from there', async () => {
    const { db, web, socket, listen } = await connectedPair(closing, { drainDelay: '100ms' });
    const others = await Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        const other = dial(listen);
        await echoes(other, `connection ${index}`);
        return other;
      }),
    );
    const open = [socket, ...others];
    closing.push(() => open.map((one) => one.destroy()));

    const traffic = open.map(async (one, index) => {
      for (let round = 0; round < 100; round += 1) await echoes(one, `${index} ${round} ${'x'.repeat(10_000)}`);
    });
    expect(await post(db, adminPaths.drain)).toEqual({
      status: 202,
      reply: {
        did: 'The sidecar begins to drain, and goes on running',
        drain: { stage: 'leaving', isStopping: false, open: open.length },
      },
    });
    expect((await post(db, adminPaths.drain)).reply.did).toBe('The sidecar is draining already, and goes on running');
    await db.line({ msg: 'Draining' });
    await Promise.all(traffic);

    await gone(dial(listen));
    for (const one of open) await echoes(one, 'still here');
    for (const agent of [db, web])
      expect((await pageOf(agent, adminPaths.tunnels, tunnelsPage)).tunnels).toMatchObject([{ isRetiring: true }]);
    const { code, stdout } = await commandOf(db, 'status');
    expect(code).toBe(1);
    expect(stdout).toMatch(
      /^NOT READY: 1 gate of \d is closed\n {2}not_draining, closed since .*: The sidecar was asked to drain\n/m,
    );
    expect(stdout).toContain('Draining:      nothing new comes in; 21 connections open, then the process goes on\n');

    db.process.kill('SIGTERM');
    await db.line({ msg: 'Stopping' });
    for (const one of open) await echoes(one, 'to the end');
    for (const one of open) one.end();
    expect((await db.ended).code).toBe(0);
    expect(db.lines.filter(({ msg }) => msg === 'Draining')).toHaveLength(1);
    expect((await web.stop()).code).toBe(0);
  });
});

describe('POST /quitquitquit', () => {
  it('K16: ends the sidecar as a signal does, with 0 when nothing had to be reset', async () => {
    const { web, socket } = await connectedPair(closing);
    expect(await post(web, adminPaths.quit)).toMatchObject({
      status: 202,
      reply: { did: 'The sidecar begins to stop', drain: { isStopping: true } },
    });
    await web.line({ msg: 'Draining' });
    await echoes(socket, 'still here');
    expect((await post(web, adminPaths.quit)).reply.did).toBe('The sidecar is stopping already');
    socket.end();
    expect((await web.ended).code).toBe(0);
    expect(await web.line({ msg: 'Stopping' })).toMatchObject({ signal: 'POST /quitquitquit' });
  });

  it('ends it from a drain as well', async () => {
    const { web, socket } = await connectedPair(closing);
    await post(web, adminPaths.drain);
    await web.line({ msg: 'Draining' });
    await post(web, adminPaths.quit);
    socket.end();
    expect((await web.ended).code).toBe(0);
  });
});
