import { once } from 'node:events';
import type { ClientHttp2Session } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { connect, createServer } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { http2Peer } from '../../support/http2-peer.ts';
import type { Agent } from './agent-program.ts';
import { killPrograms, page, readyAgent } from './agent-program.ts';
import { authority, idOf, useFolder, writeIdentity } from './identity-files.ts';

/*
 * Goal: whoever reads the log of a sidecar, and stops to, harms no connection. Method: the real program, whose standard
 * output is not read, with more lines than a pipe and its bound have room for.
 */

useFolder();

const cleanups: (() => void)[] = [];
afterEach(() => {
  killPrograms();
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

async function peer({ ports }: Agent, name: string): Promise<ClientHttp2Session> {
  const session = await http2Peer(connect({ host: '127.0.0.1', port: ports.hbone }), authority, name);
  cleanups.push(() => session.destroy());
  return session;
}

async function exchange(session: ClientHttp2Session, to: string): Promise<string> {
  const stream = session.request({ ':method': 'CONNECT', ':authority': to }, { endStream: false });
  stream.end('hello');
  let text = '';
  for await (const chunk of stream) text += String(chunk);
  return text;
}

/** A sidecar in front of an echo, and a peer that it serves. Then nobody reads the log any more. */
async function unread(): Promise<{ agent: Agent; serve(connections: number): Promise<void> }> {
  const application = createServer({ allowHalfOpen: true }, (socket) =>
    socket.on('error', () => undefined).pipe(socket),
  );
  await once(application.listen(0, '127.0.0.1'), 'listening');
  cleanups.push(() => application.close());
  const { port } = application.address() as AddressInfo;
  const agent = await readyAgent({
    ...writeIdentity('api'),
    deliver: `127.0.0.1:${port}`,
    allowPeers: idOf('web'),
    // What is left out here is left out because nobody reads, and not because it is too much.
    accessLogRate: '1000000',
  });
  const web = await peer(agent, 'web');
  agent.process.stdout?.pause();
  const serve = async (connections: number) => {
    for (let done = 0; done < connections; done += 100) {
      const texts = await Promise.all(Array.from({ length: 100 }, () => exchange(web, `127.0.0.1:${port}`)));
      expect(new Set(texts)).toEqual(new Set(['hello']));
    }
  };
  return { agent, serve };
}

it('X11: a log that nobody reads stalls no connection, holds a bounded number of lines, and tells of the others', async () => {
  const { agent, serve } = await unread();
  await serve(5000);
  const { text } = await page(agent.ports.metrics, '/metrics');
  const counted = Number(/remora_log_lines_suppressed_total\{reason="output_blocked"\} (\d+)/.exec(text)?.[1]);
  expect(counted).toBeGreaterThan(1000);
  agent.process.stdout?.resume();
  const { suppressed } = await agent.line({ reason: 'output_blocked' });
  expect(suppressed).toBe(counted);
  expect(agent.lines.filter(({ outcome }) => outcome === 'closed')).toHaveLength(5000 - counted);
});

it('X11: a log that nobody reads does not keep the process from ending', async () => {
  const { agent, serve } = await unread();
  await serve(2000);
  expect(await agent.stop()).toMatchObject({ code: 0, stderr: '' });
});
