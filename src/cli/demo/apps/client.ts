/**
 * An ordinary client: asks each URL in turn, one every EVERY_MS milliseconds. It knows nothing of a mesh.
 *
 *   node client.ts TEXT EVERY_MS URL...
 *
 * `http:` and `https:` ask in turn over a connection of their own and over one that is kept; `h2:` speaks HTTP/2 over
 * TLS; `tcp:` keeps one connection to an echo server open from beginning to end. Everything that is sent carries TEXT.
 * Prints what happened so far as a line of JSON, twice a second and once more when SIGTERM has ended it: for each URL
 * how many requests were sent, how many were answered, and what was seen instead of an answer. An answer counts when it
 * carries TEXT.
 */
import * as http from 'node:http';
import * as http2 from 'node:http2';
import * as https from 'node:https';
import type { Socket } from 'node:net';
import { connect } from 'node:net';

interface Target {
  readonly url: string;
  sent: number;
  ok: number;
  readonly saw: Record<string, number>;
  ask(): Promise<string>;
}

const [text = '', everyMs, ...urls] = process.argv.slice(2);
const patienceMs = 5000;

function requestOver(client: typeof http | typeof https, url: string, agent: http.Agent | false): Promise<string> {
  return new Promise((resolve, reject) => {
    // What serves a mesh is not known to the certificate store of an ordinary client.
    const options = { method: 'POST', agent, timeout: patienceMs, rejectUnauthorized: false };
    const request = client.request(url, options, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => resolve(`${response.statusCode} ${Buffer.concat(chunks)}`));
      response.on('error', reject);
    });
    request.on('timeout', () => request.destroy(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' })));
    request.on('error', reject);
    request.end(text);
  });
}

function httpAsker(client: typeof http | typeof https, url: string): () => Promise<string> {
  const kept = new client.Agent({ keepAlive: true });
  let asked = 0;
  return () => requestOver(client, url, asked++ % 2 === 0 ? false : kept);
}

function http2Asker(url: string): () => Promise<string> {
  return () =>
    new Promise((resolve, reject) => {
      const session = http2.connect(url.replace('h2:', 'https:'), { rejectUnauthorized: false });
      session.setTimeout(patienceMs, () =>
        session.destroy(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' })),
      );
      session.on('error', reject);
      const stream = session.request({ ':path': '/', ':method': 'POST' });
      stream.on('error', reject);
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => resolve(`${Buffer.concat(chunks)}`));
      stream.on('close', () => {
        session.close();
        reject(Object.assign(new Error('the connection was closed'), { code: 'CLOSED' }));
      });
      stream.end(text);
    });
}

/** One connection for all; a line goes out and is expected back. */
function echoAsker(url: string): () => Promise<string> {
  const { hostname, port } = new URL(url);
  const host = hostname.replace(/^\[|\]$/g, '');
  let socket: Socket | undefined;
  let number = 0;
  const opened = (): Socket => {
    const fresh = connect({ host, port: Number(port) });
    fresh.setMaxListeners(100);
    fresh.on('error', () => undefined);
    fresh.once('close', () => {
      if (socket === fresh) socket = undefined;
      if (!isStopping) lost(url);
    });
    return fresh;
  };
  onStop.push(() => void socket?.end());
  return () => {
    socket ??= opened();
    const current = socket;
    const line = `${text} ${number++}\n`;
    return new Promise((resolve, reject) => {
      let received = '';
      const done = (settle: () => void) => {
        current.off('data', onData).off('close', onClose);
        settle();
      };
      const onData = (chunk: Buffer) => {
        received += chunk;
        if (received.includes(line)) done(() => resolve(line));
      };
      const onClose = () => done(() => reject(Object.assign(new Error('closed'), { code: 'CLOSED' })));
      current.on('data', onData).on('close', onClose);
      current.write(line);
    });
  };
}

/** A connection that should have stayed open counts as a request that was not answered. */
function lost(url: string): void {
  const target = targets.find((candidate) => candidate.url === url);
  if (target === undefined) return;
  target.sent += 1;
  target.saw.CLOSED = (target.saw.CLOSED ?? 0) + 1;
}

function askerOf(url: string): () => Promise<string> {
  if (url.startsWith('http:')) return httpAsker(http, url);
  if (url.startsWith('https:')) return httpAsker(https, url);
  return url.startsWith('h2:') ? http2Asker(url) : echoAsker(url);
}

async function askOnce(target: Target): Promise<void> {
  target.sent += 1;
  let seen: string;
  try {
    const answer = await target.ask();
    if (answer.includes(text)) {
      target.ok += 1;
      return;
    }
    seen = 'another answer';
  } catch (error) {
    seen = (error as NodeJS.ErrnoException).code ?? (error as Error).message;
  }
  target.saw[seen] = (target.saw[seen] ?? 0) + 1;
}

const onStop: (() => void)[] = [];
let isStopping = false;
const targets: Target[] = urls.map((url) => ({ url, sent: 0, ok: 0, saw: {}, ask: askerOf(url) }));
const pending = new Set<Promise<void>>();
let turn = 0;

const asking = setInterval(() => {
  const target = targets[turn++ % targets.length];
  if (target === undefined) return;
  const asked = askOnce(target).finally(() => pending.delete(asked));
  pending.add(asked);
}, Number(everyMs));

const print = () => process.stdout.write(`${JSON.stringify({ targets: targets.map(({ ask, ...rest }) => rest) })}\n`);
const printing = setInterval(print, 500);

process.once('SIGTERM', async () => {
  clearInterval(asking);
  clearInterval(printing);
  await Promise.allSettled(pending);
  isStopping = true;
  for (const stop of onStop) stop();
  process.stdout.write(`${JSON.stringify({ targets: targets.map(({ ask, ...rest }) => rest), isDone: true })}\n`, () =>
    process.exit(0),
  );
});
