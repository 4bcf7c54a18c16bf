/** How an ordinary client asks a URL, by its scheme. */
import * as http from 'node:http';
import * as http2 from 'node:http2';
import * as https from 'node:https';
import type { Socket } from 'node:net';
import { connect } from 'node:net';

/** Asks once and resolves with the answer; rejects with what was seen instead. */
export interface Asker {
  ask(text: string): Promise<string>;
  close(): void;
}

const patienceMs = 5000;

/** `onLost` hears of a connection that should have stayed open. */
export function createAsker(url: string, onLost: () => void): Asker {
  switch (new URL(url).protocol) {
    case 'http:':
      return httpAsker(http, url);
    case 'https:':
      return httpAsker(https, url);
    case 'h2:':
      return { ask: (text) => askHttp2(url.replace(/^h2/, 'https'), text), close: () => undefined };
    default:
      return echoAsker(url, onLost);
  }
}

/** In turn over a connection of its own and over one that is kept. */
function httpAsker(client: typeof http | typeof https, url: string): Asker {
  const kept = new client.Agent({ keepAlive: true });
  let asked = 0;
  return {
    ask: (text) => askHttp(client, url, asked++ % 2 === 0 ? false : kept, text),
    close: () => kept.destroy(),
  };
}

function askHttp(client: typeof http | typeof https, url: string, agent: http.Agent | false, text: string) {
  return new Promise<string>((resolve, reject) => {
    // What serves a mesh is not known to the certificate store of an ordinary client.
    const options = { method: 'POST', agent, timeout: patienceMs, rejectUnauthorized: false };
    const request = client.request(url, options, (response) => {
      let answer = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        answer += chunk;
      });
      response.on('end', () => resolve(answer));
      response.on('error', reject);
    });
    request.on('timeout', () => request.destroy(failure('ETIMEDOUT')));
    request.on('error', reject);
    request.end(text);
  });
}

function askHttp2(url: string, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const session = http2.connect(url, { rejectUnauthorized: false });
    session.setTimeout(patienceMs, () => session.destroy(failure('ETIMEDOUT')));
    session.on('error', reject);
    session.on('close', () => reject(failure('CLOSED')));
    const stream = session.request({ ':path': '/', ':method': 'POST' });
    let answer = '';
    stream.setEncoding('utf8');
    stream.on('data', (chunk: string) => {
      answer += chunk;
    });
    stream.on('end', () => {
      // A connection that is lost ends its streams first, and says so only then.
      if (answer !== '') resolve(answer);
      session.close();
    });
    // The session tells why.
    stream.on('error', () => undefined);
    stream.end(text);
  });
}

/** One connection from beginning to end; a line goes out and is expected back. */
function echoAsker(url: string, onLost: () => void): Asker {
  const { hostname, port } = new URL(url);
  const host = hostname.replace(/^\[|\]$/g, '');
  let socket: Socket | undefined;
  let isClosing = false;
  let number = 0;
  const open = (): Socket => {
    const fresh = connect({ host, port: Number(port) });
    fresh.setMaxListeners(0);
    fresh.on('error', () => undefined);
    fresh.once('close', () => {
      socket = undefined;
      if (!isClosing) onLost();
    });
    return fresh;
  };
  return {
    ask(text) {
      socket ??= open();
      number += 1;
      return echo(socket, `${text} ${number}\n`);
    },
    close() {
      isClosing = true;
      socket?.end();
    },
  };
}

function echo(socket: Socket, line: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let received = '';
  const onData = (chunk: Buffer) => {
    received += chunk;
    if (received.includes(line)) resolve(line);
  };
  const onClose = () => reject(failure('CLOSED'));
  socket.on('data', onData).on('close', onClose);
  socket.write(line);
  return promise.finally(() => socket.off('data', onData).off('close', onClose));
}

function failure(code: string): Error {
  return Object.assign(new Error(code), { code });
}
