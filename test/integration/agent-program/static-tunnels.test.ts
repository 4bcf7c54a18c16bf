import { createPrivateKey } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { createTestAuthority } from '../../support/identities.ts';
import { ending, readAll } from '../../support/sockets.ts';
import type { Agent } from './agent-program.ts';
import {
  asVariables,
  freeAgentPorts,
  freePorts,
  killPrograms,
  page,
  readyAgent,
  settingsOf,
  startAgent,
  startProgram,
} from './agent-program.ts';
import type { IdentityFiles } from './identity-files.ts';
import { authority, idOf, newPath, useFolder, writeIdentity, writeText } from './identity-files.ts';

/*
 * Goal: two sidecars without capture and control plane are the two ends of a tunnel, as ghostunnel's users expect.
 * Method: the real program twice on loopback, identities in PEM files, an application at each end.
 */

useFolder();

const applications: (() => void)[] = [];
afterEach(() => {
  killPrograms();
  for (const close of applications.splice(0)) close();
});

/** An application that is asked how it treats a connection. */
async function application(onConnection: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    onConnection(socket);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  applications.push(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

const echo = (): Promise<number> => application((socket) => socket.pipe(socket));

/** The end beside the application. */
const serverEnd = (name: string, port: number, allowPeers = idOf('web'), files = writeIdentity(name)) =>
  readyAgent({ ...files, deliver: `127.0.0.1:${port}`, allowPeers });

interface ClientEnd extends Agent {
  dial(): Promise<Socket>;
}

/** The end beside the client, whose connections go to `port` behind `server`. */
async function clientEnd(
  name: string,
  server: Agent,
  port: number,
  { peer = idOf('db'), files = writeIdentity(name) } = {},
): Promise<ClientEnd> {
  const [listen = 0] = await freePorts(1);
  const running = await readyAgent({
    ...files,
    listen: `127.0.0.1:${listen}`,
    target: `127.0.0.1:${port}`,
    peer,
    via: `127.0.0.1:${server.ports.hbone}`,
  });
  return { ...running, dial: () => dial(listen) };
}

async function dial(port: number): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
  socket.on('error', () => undefined);
  applications.push(() => socket.destroy());
  await Promise.race([once(socket, 'connect'), once(socket, 'close')]).catch(() => undefined);
  return socket;
}

async function exchange(socket: Socket, text: string): Promise<string> {
  socket.write(text);
  return String((await once(socket, 'data'))[0]);
}

describe('a sidecar that is killed', () => {
  it('N21: resets what it carries, at its client and at its application', async () => {
    const seen = Promise.withResolvers<Socket>();
    const port = await application((socket) => seen.resolve(socket.pipe(socket)));
    const server = await serverEnd('db', port);
    const client = await clientEnd('web', server, port);
    const socket = await client.dial();
    expect(await exchange(socket, 'hello')).toBe('hello');
    const endings = Promise.all([ending(socket), ending(await seen.promise)]);
    for (const { process } of [client, server]) process.kill('SIGKILL');
    expect(await endings).toEqual(['reset', 'reset']);
  });

  it('N21: resets what it is still opening', async () => {
    const asked = Promise.withResolvers<Socket>();
    const silent = await application(asked.resolve);
    const [listen = 0] = await freePorts(1);
    const client = await readyAgent({
      ...writeIdentity('web'),
      listen: `127.0.0.1:${listen}`,
      target: '127.0.0.1:9',
      peer: idOf('db'),
      via: `127.0.0.1:${silent}`,
    });
    const socket = await dial(listen);
    await asked.promise;
    client.process.kill('SIGKILL');
    expect(await ending(socket)).toBe('reset');
  });
});

describe('a static tunnel', () => {
  it('carries bytes both ways, passes each end on as a half-close, and both ends tell the same story', async () => {
    const port = await application((socket) => void readAll(socket).then((request) => socket.end(`got ${request}`)));
    const server = await serverEnd('db', port);
    const client = await clientEnd('web', server, port);
    const socket = await client.dial();
    socket.end('hello');
    expect((await readAll(socket)).toString()).toBe('got hello');
    const outbound = await client.line({ direction: 'outbound' });
    const same = { reason: 'eof', bytesSent: 5, bytesReceived: 9, transport: 'hbone', security: 'mutual_tls' };
    expect(outbound).toMatchObject({ ...same, peerId: idOf('db'), localId: idOf('web') });
    expect(await server.line({ direction: 'inbound' })).toMatchObject({
      ...same,
      id: outbound.id,
      peerId: idOf('web'),
    });
    expect(await client.stop()).toMatchObject({ code: 0, stderr: '' });
    expect(await server.stop()).toMatchObject({ code: 0, stderr: '' });
  });

  it('refuses a peer that is not allowed: default_deny at one end, peer_refused at the other, under one id', async () => {
    const port = await application(() => {
      throw new Error('The application must not be reached');
    });
    const server = await serverEnd('db', port, idOf('web'));
    const client = await clientEnd('batch', server, port);
    const socket = await client.dial();
    socket.write('let me in');
    expect(await ending(socket)).toBe('reset');
    const outbound = await client.line({ direction: 'outbound' });
    expect(outbound).toMatchObject({
      outcome: 'denied',
      reason: 'peer_refused',
      detail: 'The sidecar of the other side refused: default_deny',
    });
    expect(await server.line({ direction: 'inbound' })).toMatchObject({
      outcome: 'denied',
      reason: 'default_deny',
      id: outbound.id,
      peerId: idOf('batch'),
    });
  });

  it('S22: sends no byte to a server that proves another identity, and says peer_identity', async () => {
    const port = await application(() => {
      throw new Error('The application must not be reached');
    });
    const server = await serverEnd('impostor', port);
    const client = await clientEnd('web', server, port);
    const socket = await client.dial();
    socket.write('secret');
    expect(await ending(socket)).toBe('reset');
    const line = await client.line({ direction: 'outbound' });
    expect(line).toMatchObject({ outcome: 'handshake', reason: 'peer_identity' });
    expect(line.detail).toContain(idOf('impostor'));
    expect((await page(client.ports.metrics, '/metrics')).text).toContain(
      'remora_tls_handshakes_total{direction="outbound",result="failure",reason="peer_identity"} 1',
    );
    const inbound = await server.line({ direction: 'inbound' });
    expect(inbound).toMatchObject({ outcome: 'handshake', reason: 'reset' });
    expect(inbound).not.toHaveProperty('bytesSent');
  });

  it('C1: refuses a server whose root is not in the bundle file as untrusted', async () => {
    const port = await echo();
    const server = await serverEnd(
      'db',
      port,
      idOf('web'),
      writeIdentity('db', { by: createTestAuthority('cluster.local') }),
    );
    const client = await clientEnd('web', server, port);
    expect(await ending(await client.dial())).toBe('reset');
    expect(await client.line({ direction: 'outbound' })).toMatchObject({ outcome: 'handshake', reason: 'untrusted' });
  });

  it('C1: is refused by a server that does not know its root, which says untrusted, while it says reset', async () => {
    const port = await echo();
    const server = await serverEnd('db', port);
    const files = writeIdentity('web', { by: createTestAuthority('cluster.local') });
    writeFileSync(files.bundleFile, readFileSync(files.bundleFile, 'utf8') + authority.bundlePem);
    const client = await clientEnd('web', server, port, { files });
    expect(await ending(await client.dial())).toBe('reset');
    expect(await client.line({ direction: 'outbound' })).toMatchObject({
      outcome: 'handshake',
      reason: 'reset',
      detail: 'The peer closed the connection after the handshake; it may have refused our certificate',
    });
    expect(await server.line({ direction: 'inbound' })).toMatchObject({ outcome: 'handshake', reason: 'untrusted' });
  });

  it('closes what it dialled when it has no bundle for the trust domain of the peer', async () => {
    const accepted = Promise.withResolvers<Socket>();
    const hbone = await application(accepted.resolve);
    const client = await clientEnd('web', { ports: { hbone } } as Agent, 5432, {
      peer: 'spiffe://partner.example/ns/shop/sa/db',
    });
    expect(await ending(await client.dial())).toBe('reset');
    expect(await client.line({ direction: 'outbound' })).toMatchObject({
      outcome: 'handshake',
      reason: 'trust_domain',
    });
    expect(await ending(await accepted.promise)).toBe('reset');
  });

  it('N1: resets the client when nothing listens behind the server, and both ends say upstream_refused', async () => {
    const [port = 0] = await freePorts(1);
    const server = await serverEnd('db', port);
    const client = await clientEnd('web', server, port);
    expect(await ending(await client.dial())).toBe('reset');
    expect(await client.line({ direction: 'outbound' })).toMatchObject({ reason: 'upstream_refused' });
    expect(await server.line({ direction: 'inbound' })).toMatchObject({ reason: 'upstream_refused' });
  });

  it('reaches nothing but what was declared, whatever the peer asks for', async () => {
    const declared = await echo();
    const other = await application(() => {
      throw new Error('The application must not be reached');
    });
    const server = await serverEnd('db', declared);
    const client = await clientEnd('web', server, other);
    expect(await ending(await client.dial())).toBe('reset');
    expect(await client.line({ direction: 'outbound' })).toMatchObject({ reason: 'peer_refused' });
    expect(await server.line({ direction: 'inbound' })).toMatchObject({ reason: 'not_this_pod' });
  });
});

describe('identities in files', () => {
  it('R1: shows a replaced certificate on new connections, and lets the running ones go on', async () => {
    const port = await echo();
    // Only the watch can notice anything.
    const settings = { filePollInterval: '1h' };
    const [webVolume, dbVolume] = [newPath('web'), newPath('db')];
    const server = await serverEnd('db', port, idOf('web'), {
      ...writeIdentity('db', { volume: dbVolume }),
      ...settings,
    });
    const files = { ...writeIdentity('web', { volume: webVolume }), ...settings };
    const client = await clientEnd('web', server, port, { files });
    const running = await client.dial();
    expect(await exchange(running, 'before')).toBe('before');

    writeIdentity('web', { volume: webVolume });
    writeIdentity('db', { volume: dbVolume });
    const renewed = await client.line({ msg: 'Identity renewed', generation: 2 });
    await server.line({ msg: 'Identity renewed', generation: 2 });
    expect(await exchange(await client.dial(), 'after')).toBe('after');
    expect(await exchange(running, 'still here')).toBe('still here');
    const { text } = await page(client.ports.metrics, '/metrics');
    expect(text).toContain('remora_tls_handshakes_total{direction="outbound",result="success",reason=""} 2');
    expect(text).toContain('remora_certificate_renewals_total{source="files",result="success",reason=""} 2');
    const shown = JSON.parse((await page(client.ports.admin, '/certs')).text);
    expect(shown).toMatchObject({ generation: 2, chain: [{ serial: renewed.serial }, {}] });
  });

  it('R21: keeps the identity in use while the files do not fit together, names them once, and takes the next', async () => {
    const port = await echo();
    const volume = newPath('web');
    const server = await serverEnd('db', port);
    const files = { ...writeIdentity('web', { volume }), filePollInterval: '100ms' };
    const client = await clientEnd('web', server, port, { files });
    writeFileSync(files.keyFile, 'no key');
    const unreadable = await client.line({ reason: 'bad_pem' });
    expect(unreadable.detail).toContain(files.keyFile);
    writeIdentity('web', { volume });
    await client.line({ msg: 'Identity renewed', generation: 2 });
    const other = readFileSync(writeIdentity('web').keyFile);
    writeFileSync(files.keyFile, other);
    const mismatching = await client.line({ reason: 'key_mismatch' });
    expect(mismatching.detail).toContain(`${files.certificateFile} with ${files.keyFile}`);
    expect(await exchange(await client.dial(), 'kept')).toBe('kept');
    expect((await page(client.ports.health, '/healthz/ready')).status).toBe(200);
    writeIdentity('web', { volume });
    await client.line({ msg: 'Identity renewed', generation: 3 });
    expect(client.lines.filter(({ reason }) => reason === 'bad_pem' || reason === 'key_mismatch')).toHaveLength(2);
  });

  it.each([
    ['the key file is missing', (files) => rmSync(files.keyFile), 'bad_pem', 'keyFile'],
    ['the bundle file is empty', (files) => writeFileSync(files.bundleFile, ''), 'bundle_empty', 'bundleFile'],
    [
      'the certificate file holds the key',
      (files) => copyFileSync(files.keyFile, files.certificateFile),
      'bad_pem',
      'certificateFile',
    ],
    [
      'the key is of another certificate',
      (files) => copyFileSync(writeIdentity('web').keyFile, files.keyFile),
      'key_mismatch',
      'keyFile',
    ],
    [
      'the root is another one',
      (files) =>
        copyFileSync(writeIdentity('web', { by: createTestAuthority('cluster.local') }).bundleFile, files.bundleFile),
      'chain_invalid',
      'certificateFile',
    ],
  ] as const satisfies readonly [string, (files: IdentityFiles) => void, string, string][])(
    'stays up and not ready while %s, says why in one line, and recovers',
    async (_, spoil, reason, named) => {
      const volume = newPath('web');
      const files = writeIdentity('web', { volume });
      spoil(files);
      const [listen = 0] = await freePorts(1);
      const tunnel = { listen: `127.0.0.1:${listen}`, target: '127.0.0.1:5432', peer: idOf('db') };
      const agent = await startAgent({ ...files, ...tunnel, filePollInterval: '100ms' });
      const line = await agent.line({ level: 'warn' });
      expect(line).toMatchObject({ reason, remedy: expect.any(String) });
      expect(line.detail).toContain(files[named]);
      const ready = await page(agent.ports.health, '/healthz/ready');
      expect(ready).toEqual({ status: 503, text: `identity: ${line.msg} (${line.detail})\n` });
      expect((await page(agent.ports.health, '/livez')).status).toBe(200);
      expect(await ending(await dial(listen))).toBe('reset');
      expect(await agent.line({ direction: 'outbound' })).toMatchObject({ reason: 'not_ready' });
      rmSync(volume, { recursive: true });
      writeIdentity('web', { volume });
      await agent.line({ msg: 'Ready' });
      expect(await agent.stop()).toMatchObject({ code: 0, stderr: '' });
      expect(agent.lines.filter((other) => other.reason === reason)).toHaveLength(1);
    },
  );
});

describe('the pages of a static tunnel', () => {
  it('have every metric family, the chain without its key, readiness, and the connections', async () => {
    const port = await echo();
    const server = await serverEnd('db', port);
    const files = writeIdentity('web');
    const client = await clientEnd('web', server, port, { files });
    await exchange(await client.dial(), 'hello');
    const { text } = await page(client.ports.metrics, '/metrics');
    const families = new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name));
    expect([...families]).toEqual(expect.arrayContaining(expectedFamilies));
    expect(text).toContain('remora_connections_open{direction="outbound"} 1');
    expect(text).toContain('remora_bytes_total{direction="outbound",flow="sent"} 5');
    expect(text).toContain('remora_trust_bundle_roots{trust_domain="cluster.local"} 1');
    expect(text).toMatch(/remora_tls_negotiated_total\{.*version="TLSv1\.3".*group="X25519MLKEM768"\} 1/);

    expect(await page(client.ports.health, '/healthz/ready')).toEqual({ status: 200, text: 'ready\n' });
    const certs = (await page(client.ports.admin, '/certs')).text;
    expect(JSON.parse(certs)).toMatchObject({ spiffeId: idOf('web'), lastFailure: null, chain: [{}, {}] });
    const key = createPrivateKey(readFileSync(files.keyFile)).export({ format: 'jwk' });
    for (const shown of [certs, text, JSON.stringify(client.lines), client.stderr()]) {
      expect(shown).not.toContain('PRIVATE KEY');
      expect(shown).not.toContain(key.d);
      expect(shown).not.toContain(readFileSync(files.keyFile, 'utf8').split('\n')[1]);
    }
    expect(JSON.parse((await page(client.ports.admin, '/connections')).text)).toMatchObject({
      connections: [{ direction: 'outbound', peerId: idOf('db'), bytesSent: 5, bytesReceived: 5 }],
    });
  });
});

/** Those of the metrics contract that a sidecar without capture has. */
const expectedFamilies = [
  'remora_tls_handshakes_total',
  'remora_tls_handshake_duration_seconds',
  'remora_tls_negotiated_total',
  'remora_certificate_not_after_timestamp_seconds',
  'remora_certificate_not_before_timestamp_seconds',
  'remora_certificate_generation',
  'remora_certificate_renewals_total',
  'remora_certificate_next_renewal_timestamp_seconds',
  'remora_identity_time_to_outage_seconds',
  'remora_trust_bundle_roots',
  'remora_peers_by_root',
  'remora_clock_skew_seconds',
  'remora_connections_total',
  'remora_connections_open',
  'remora_connections_closed_total',
  'remora_connections_denied_total',
  'remora_bytes_total',
  'remora_tunnels_open',
  'remora_tunnel_streams_open',
  'remora_endpoints_set_aside',
  'remora_ready',
  'remora_control_plane_up',
  'remora_log_lines_suppressed_total',
  'remora_build_info',
];

describe('a static tunnel that is set up', () => {
  /** Settings of a client end on free ports, and the port where it listens. */
  async function clientSettings(server: Agent, port: number) {
    const [listen = 0] = await freePorts(1);
    const ports = settingsOf(await freeAgentPorts());
    const tunnel = { listen: `127.0.0.1:${listen}`, target: `127.0.0.1:${port}`, peer: idOf('db') };
    return { settings: { ...ports, ...writeIdentity('web') }, tunnel, via: `127.0.0.1:${server.ports.hbone}`, listen };
  }

  it('by environment variables carries bytes', async () => {
    const port = await echo();
    const server = await serverEnd('db', port);
    const { settings, tunnel, via, listen } = await clientSettings(server, port);
    const tunnels = `${tunnel.listen} ${tunnel.target} ${tunnel.peer} ${via}`;
    const client = startProgram(['agent'], { env: asVariables({ ...settings, tunnels }) });
    await client.line({ msg: 'Ready' });
    expect(await exchange(await dial(listen), 'hello')).toBe('hello');
  });

  it('by a YAML file carries bytes', async () => {
    const port = await echo();
    const server = await serverEnd('db', port);
    const { settings, tunnel, via, listen } = await clientSettings(server, port);
    const { hboneBind, metricsBind, healthBind, ...single } = settings;
    const lines = Object.entries(single).map(([name, value]) => `${name}: ${value}`);
    const binds = Object.entries({ hboneBind, metricsBind, healthBind }).map(([name, value]) => `${name}: [${value}]`);
    const parts = Object.entries({ ...tunnel, via }).map(([name, value]) => `    ${name}: ${value}`);
    const file = writeText('agent.yaml', [...lines, ...binds, 'tunnels:', '  -', ...parts, ''].join('\n'));
    const client = startProgram(['agent', '--config', file]);
    await client.line({ msg: 'Ready' });
    expect(await exchange(await dial(listen), 'hello')).toBe('hello');
  });
});
