import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { parse } from 'valibot';
import { afterEach, describe, expect, it } from 'vitest';
import { explainPage } from '../../../src/explain-api.ts';
import { readAll } from '../../support/sockets.ts';
import type { Agent } from './agent-program.ts';
import { freePorts, killPrograms, page, readyAgent, runProgram } from './agent-program.ts';
import { idOf, useFolder, writeIdentity } from './identity-files.ts';

/*
 * Goal: `remora explain` beside the two ends of a static tunnel. Method: the real program three times: both sidecars, and
 * the command that asks them; then a real connection.
 */

useFolder();
const closing: (() => unknown)[] = [];
afterEach(() => {
  killPrograms();
  for (const close of closing.splice(0)) close();
});

async function application(): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => sockets.add(socket.on('error', () => undefined).end('hello')));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  closing.push(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

const explain = (agent: Agent, ...args: string[]) =>
  runProgram(['explain', ...args], { env: { REMORA_ADMIN_LISTEN: `127.0.0.1:${agent.ports.admin}` } });

/** Sidecars `db` and `web`: whoever dials `listen` reaches the application by the name `localhost`. */
async function pair(allowed: string) {
  const port = await application();
  const [listen = 0] = await freePorts(1);
  const db = await readyAgent({ ...writeIdentity('db'), deliver: `127.0.0.1:${port}`, allowPeers: idOf(allowed) });
  const web = await readyAgent({
    ...writeIdentity('web'),
    listen: `127.0.0.1:${listen}`,
    target: `localhost:${port}`,
    peer: idOf('db'),
    via: `127.0.0.1:${db.ports.hbone}`,
  });
  const dial = async () => {
    const socket = connect({ host: '127.0.0.1', port: listen, allowHalfOpen: true }).on('error', () => undefined);
    closing.push(() => socket.destroy());
    const text = String(await readAll(socket).catch(() => ''));
    socket.end();
    return text;
  };
  return { db, web, port, listen, dial };
}

describe('remora explain beside a static tunnel', () => {
  it('says at both ends that a connection will be carried, and it is', async () => {
    const { db, web, port, listen, dial } = await pair('web');
    for (const asked of [`127.0.0.1:${listen}`, `localhost:${port}`]) {
      const { code, stdout, stderr } = await explain(web, '--to', asked);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout.split('\n')[0]).toMatch(
        new RegExp(`^localhost:${port} would be reached through mutual TLS .* as ${idOf('db')}$`),
      );
      expect(stdout).toContain(
        `Tunnel      from 127.0.0.1:${listen} to localhost:${port} through 127.0.0.1:${db.ports.hbone}, declared by hand`,
      );
    }
    const { code, stdout } = await explain(db, '--from', idOf('web'), '--port', String(port), '--json');
    expect(code).toBe(0);
    expect(parse(explainPage, JSON.parse(stdout))).toMatchObject({
      kind: 'from',
      hasControlPlane: false,
      ports: [{ verdict: { kind: 'carried' }, permittedBy: 'It is among the allowed peers of this sidecar' }],
    });
    expect(await dial()).toBe('hello');
  });

  it('says at the end that refuses who is refused and why, and tells of the refusal by its id at both ends', async () => {
    const { db, web, dial } = await pair('shop');
    const foreseen = await explain(db, '--from', idOf('web'));
    expect(foreseen).toMatchObject({ code: 1, stderr: '' });
    expect(foreseen.stdout).toContain(`default_deny: ${idOf('web')} is not among the allowed peers`);
    expect(await dial()).toBe('');
    const { id } = await web.line({ direction: 'outbound', reason: 'peer_refused' });
    const here = await explain(web, String(id));
    expect(here.stdout).toContain(`Id          ${id}, outbound`);
    expect(here.stdout).toContain('Other side  ');
    expect(here.stdout).toMatch(
      /If it were made now:\n\nlocalhost:\d+ would be attempted through mutual TLS .*, but the last one FAILED/,
    );
    const there = await explain(db, String(id));
    expect(there).toMatchObject({ code: 1, stderr: '' });
    expect(there.stdout).toContain(`Id          ${id}, inbound`);
    expect(there.stdout).toContain('If it were made now:');
  });

  it('says that it sees nothing else, and answers a question that is none with 400', async () => {
    const { web } = await pair('web');
    const elsewhere = await explain(web, '--to', '10.0.0.7:80');
    expect(elsewhere.code).toBe(0);
    expect(elsewhere.stdout.split('\n')[0]).toBe(
      '10.0.0.7:80 would not pass this sidecar: it captures nothing, and has no tunnel for it',
    );
    const { status, text } = await page(web.ports.admin, '/explain?to=nowhere');
    expect({ status, text }).toEqual({
      status: 400,
      text: expect.stringMatching(
        /^The destination is 'nowhere', expected an address or a name with a port, such as .*\n$/,
      ),
    });
    expect(await explain(web, '--to', 'nowhere')).toEqual({ code: 2, stdout: '', stderr: `remora: ${text}` });
  });
});
