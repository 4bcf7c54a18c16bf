import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import {
  caller,
  capturedPort,
  dialService,
  echo,
  endPeers,
  idOf,
  later,
  mesh,
  registryOf,
  unreachable,
} from '../../support/direct-peers.ts';

/*
 * Goal: what speaks TLS and is not Node.js is understood on the port of an application, in both roles. Method: OpenSSL's own
 * client and server, as processes, against a sidecar in this one.
 */

afterEach(endPeers);

/** `openssl` with the certificate of a workload. */
function openssl(command: 's_client' | 's_server', workload: string, ...args: string[]) {
  const folder = mkdtempSync(join(tmpdir(), 'remora-test-openssl-'));
  const { key, chainPem } = mesh.issue({ id: `ns/shop/sa/${workload}` });
  const keyPem = key.export({ type: 'pkcs8', format: 'pem' }) as string;
  writeFileSync(join(folder, 'own.pem'), `${chainPem}${keyPem}`);
  writeFileSync(join(folder, 'roots.pem'), mesh.bundlePem);
  const own = [
    '-cert',
    join(folder, 'own.pem'),
    '-cert_chain',
    join(folder, 'own.pem'),
    '-key',
    join(folder, 'own.pem'),
  ];
  const child = spawn('openssl', [command, ...own, '-CAfile', join(folder, 'roots.pem'), ...args]);
  later(() => {
    child.kill();
    rmSync(folder, { recursive: true, force: true });
  });
  const said = { text: '' };
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (said.text += String(chunk)));
  return { child, said };
}

async function until(child: ChildProcess, said: { readonly text: string }, words: string): Promise<void> {
  while (!said.text.includes(words)) {
    if (child.exitCode !== null) throw new Error(`openssl has ended: ${said.text}`);
    await once(child.stdout ?? child, 'data');
  }
}

describe('OpenSSL on the port of an application', () => {
  it('is let in as a client, and reaches the application', async () => {
    const plane = await capturedPort(await echo());
    const port = plane.addresses.inbound[0]?.port;
    const offered = ['-alpn', 'istio-peer-exchange,istio', '-quiet'];
    const { child, said } = openssl('s_client', 'web', '-connect', `127.0.0.1:${port}`, ...offered);
    child.stdin.write('hello from openssl\n');
    await until(child, said, 'hello from openssl');
    child.kill();
    expect(await plane.line({ direction: 'inbound' })).toMatchObject({ transport: 'direct', peerId: idOf('web') });
  });

  it('T23: is refused when it offers istio-peer-exchange alone', async () => {
    const plane = await capturedPort(await unreachable());
    const port = plane.addresses.inbound[0]?.port;
    const { child } = openssl('s_client', 'web', '-connect', `127.0.0.1:${port}`, '-alpn', 'istio-peer-exchange');
    await once(child, 'exit');
    expect(await plane.line({ direction: 'inbound' })).toMatchObject({ outcome: 'handshake', reason: 'alpn' });
  });

  it('is dialled as a server, which asks for our certificate, and ends in order', async () => {
    const server = openssl('s_server', 'api', '-accept', '127.0.0.1:0', '-alpn', 'istio', '-Verify', '4', '-tls1_3');
    await until(server.child, server.said, 'ACCEPT 127.0.0.1:');
    const [, port] = /ACCEPT 127\.0\.0\.1:(\d+)/.exec(server.said.text) ?? [];
    const plane = await caller(registryOf({ address: `127.0.0.1:${port}` }));
    const socket = await dialService(plane);
    socket.write('asked by the application\n');
    await until(server.child, server.said, 'asked by the application');
    expect(server.said.text).toContain('ALPN protocols selected: istio');
    server.child.stdin.write('answered by openssl\n');
    expect(String((await once(socket, 'data'))[0])).toBe('answered by openssl\n');
    // At the beginning of a line it ends the connection, and says so.
    server.child.stdin.write('Q\n');
    await once(socket, 'end');
    socket.end();
    expect(await plane.line({ direction: 'outbound' })).toMatchObject({ transport: 'direct', peerId: idOf('api') });
  });
});
