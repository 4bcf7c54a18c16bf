import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { dirname } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { CrlSpec } from '../../support/crls.ts';
import { makeCrl } from '../../support/crls.ts';
import { ending } from '../../support/sockets.ts';
import type { Agent } from './agent-program.ts';
import { freePorts, killPrograms, page, readyAgent } from './agent-program.ts';
import type { IdentityFiles } from './identity-files.ts';
import { authority, idOf, newPath, useFolder, writeIdentity } from './identity-files.ts';

/*
 * Goal: a revocation list that is put into a file takes effect in a running mesh without a restart and without a control
 * plane. Method: the real program twice on loopback, identities and lists in files, an application that echoes.
 */

useFolder();

const closing: (() => void)[] = [];
afterEach(() => {
  killPrograms();
  for (const close of closing.splice(0)) close();
});

async function echo(): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => undefined));
    socket.pipe(socket);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  closing.push(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

interface Pair {
  readonly server: Agent;
  readonly client: Agent;
  /** Connects through both sidecars. */
  dial(): Socket;
}

async function startPair(
  server: Readonly<Record<string, string>>,
  client: Readonly<Record<string, string>>,
): Promise<Pair> {
  const [listen = 0] = await freePorts(1);
  const port = await echo();
  const behind = await readyAgent({
    ...writeIdentity('db'),
    deliver: `127.0.0.1:${port}`,
    allowPeers: idOf('web'),
    ...server,
  });
  const before = await readyAgent({
    listen: `127.0.0.1:${listen}`,
    target: `127.0.0.1:${port}`,
    peer: idOf('db'),
    via: `127.0.0.1:${behind.ports.hbone}`,
    ...client,
  });
  const dial = () => {
    const socket = connect(listen, '127.0.0.1').on('error', () => undefined);
    closing.push(() => socket.destroy());
    return socket;
  };
  return { server: behind, client: before, dial };
}

async function echoes(socket: Socket): Promise<string> {
  socket.write('hello');
  return String((await once(socket, 'data'))[0]);
}

/** Puts a list in the place of the one before, in one step. */
function writeList(path: string, spec: Partial<CrlSpec> = {}): string {
  const written = newPath('crl');
  writeFileSync(written, makeCrl({ issuer: authority.issuer, ...spec }).pem);
  renameSync(written, path);
  return path;
}

const serialOf = ({ certificateFile }: IdentityFiles) =>
  Buffer.from(new X509Certificate(readFileSync(certificateFile)).serialNumber, 'hex');

describe('a revocation list in a file', () => {
  it('C28: closes the live connections of whoever it names, refuses new ones, and takes a new certificate', async () => {
    const crlFiles = writeList(newPath('list'));
    const files = writeIdentity('web');
    const { server, client, dial } = await startPair({ crlFiles }, files);
    const live = dial();
    expect(await echoes(live)).toBe('hello');
    writeList(crlFiles, { number: 2, revoked: [serialOf(files)] });
    expect(await ending(live)).toBe('reset');
    expect(await server.line({ direction: 'inbound', reason: 'revoked', outcome: 'closed' })).toMatchObject({
      peerId: idOf('web'),
    });
    expect(await ending(dial())).toBe('reset');
    expect(await server.line({ direction: 'inbound', reason: 'revoked', outcome: 'handshake' })).toMatchObject({
      detail: expect.stringMatching(
        /^The client was refused: the certificate \S+ is on the revocation list of its issuer$/,
      ),
    });
    writeIdentity('web', { volume: dirname(files.certificateFile) });
    await client.line({ msg: 'Identity renewed', generation: 2 });
    expect(await echoes(dial())).toBe('hello');
  });

  it('C29: lets nobody in while it is missing where that was chosen, until it is there', async () => {
    const crlFiles = newPath('list');
    const { server, dial } = await startPair({ crlFiles, staleCrl: 'refuse' }, writeIdentity('web'));
    expect(await ending(dial())).toBe('reset');
    const line = await server.line({ direction: 'inbound', reason: 'revoked' });
    expect(line.detail).toContain(`it is not known who is revoked: ${crlFiles} cannot be read (ENOENT)`);
    writeList(crlFiles);
    await server.line({ msg: 'Revocation lists in force' });
    expect(await echoes(dial())).toBe('hello');
  });

  it('that names our own certificate ends it in words, until the next one is there', async () => {
    const crlFiles = writeList(newPath('list'));
    const files = writeIdentity('web');
    const { client, dial } = await startPair({}, { ...files, crlFiles });
    expect(await echoes(dial())).toBe('hello');
    const serial = serialOf(files);
    writeList(crlFiles, { number: 2, revoked: [serial] });
    expect(await client.line({ msg: 'Not ready' })).toMatchObject({ gate: 'identity' });
    expect(await client.line({ reason: 'revoked', source: 'files' })).toMatchObject({
      detail: `No peer accepts the certificate: the certificate ${serial.toString('hex').toUpperCase()} is on the revocation list of its issuer`,
    });
    expect((await page(client.ports.health, '/healthz/ready')).status).toBe(503);
    writeIdentity('web', { volume: dirname(files.certificateFile) });
    await client.line({ msg: 'Identity renewed', generation: 3 });
    expect((await page(client.ports.health, '/healthz/ready')).status).toBe(200);
    expect(await echoes(dial())).toBe('hello');
  });
});
