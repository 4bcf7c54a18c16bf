import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { Agent } from './agent-program.ts';
import { killPrograms, page, startAgent } from './agent-program.ts';
import { connectedPair, dial, echoes, gone } from './connected-pair.ts';
import { idOf, useFolder, writeIdentity } from './identity-files.ts';

/*
 * Goal: what is logged, and in which form, is as it was set, at the start or while the sidecar runs. Method: the real
 * program, its standard output and its admin page.
 */

useFolder();
const closing: (() => unknown)[] = [];
afterEach(async () => {
  killPrograms();
  for (const close of closing.splice(0)) await close();
});

async function logging({ ports }: Agent, query?: string): Promise<{ status: number; body: unknown }> {
  const url = `http://127.0.0.1:${ports.admin}/logging`;
  const asked = query === undefined ? fetch(url) : fetch(`${url}?${query}`, { method: 'POST' });
  const response = await asked;
  const text = await response.text();
  return { status: response.status, body: response.status === 200 ? JSON.parse(text) : text };
}

/** Ends a connection, and returns when the sidecar is done with it too. */
async function end({ ports }: Agent, socket: Socket): Promise<void> {
  socket.end();
  await gone(socket);
  const open = async () => JSON.parse((await page(ports.admin, '/connections')).text).connections.length;
  while ((await open()) > 0);
}

describe('what is logged', () => {
  it('is changed at /logging, without a restart and without touching what is open', async () => {
    const { web, socket, listen } = await connectedPair(closing);
    expect(await logging(web)).toEqual({ status: 200, body: { level: 'info', accessLog: 'all' } });
    expect(await logging(web, 'accessLog=off&level=debug')).toMatchObject({
      status: 200,
      body: { before: { level: 'info', accessLog: 'all' }, after: { level: 'debug', accessLog: 'off' } },
    });
    await web.line({ msg: 'What is logged was changed' });
    await echoes(socket, 'still here');
    await end(web, socket);
    expect(await logging(web, 'accessLog=all')).toMatchObject({ status: 200 });
    const second = dial(listen);
    await echoes(second, 'and logged');
    await end(web, second);
    expect(await web.line({ reason: 'eof' })).toMatchObject({ bytesSent: 'and logged'.length });
    expect(web.lines.filter(({ reason }) => reason === 'eof')).toHaveLength(1);
    expect(await logging(web, 'level=loud')).toEqual({
      status: 400,
      body: 'This is no level, expected level=debug|info|warn|error|silent or accessLog=all|failures|off\n',
    });
  });
});

it('is one line of text an entry for people, without colours, where that is set', async () => {
  const settings = { ...writeIdentity('db'), deliver: '127.0.0.1:9', allowPeers: idOf('web'), logFormat: 'text' };
  const agent = await startAgent(settings);
  const out = agent.process.stdout;
  let text = '';
  while (out !== null && !text.includes(' Ready')) text += String((await once(out, 'data'))[0]);
  const { code, stdout, stderr } = await agent.stop();
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const lines = stdout.trimEnd().split('\n');
  expect(lines.length).toBeGreaterThan(3);
  for (const line of lines) expect(line).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z (?:info {2}|warn {2})[A-Z][\x20-\x7e]*$/);
  expect(stdout).toMatch(/ Stopping signal=SIGTERM\n/);
});
