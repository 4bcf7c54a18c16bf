import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo, Server } from 'node:net';
import { createServer as createTcpServer } from 'node:net';
import { PassThrough } from 'node:stream';
import { afterEach, describe, expect, it } from 'vitest';
import { startHealthServer } from '../../../src/agent/health.ts';
import { run } from '../../../src/cli/wait/command.ts';
import { waitUntilReady } from '../../../src/cli/wait/wait.ts';
import { systemClock } from '../../../src/clock.ts';
import { UnavailableError, UsageError } from '../../../src/errors.ts';
import type { Host } from '../../../src/host.ts';
import { createReadiness } from '../../../src/lifecycle.ts';
import { createLog } from '../../../src/log.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  closing.push(
    () => server.close(),
    () => server.closeAllConnections(),
  );
  return `http://127.0.0.1:${await listening(server)}/healthz/ready`;
}

function wait(...args: string[]): Promise<number> {
  const host = { args, env: {}, stdout: new PassThrough(), stderr: new PassThrough() } as unknown as Host;
  return run(host);
}

describe('remora wait', () => {
  it('ends with 0 when the sidecar is ready', async () => {
    const url = await serve((_request, response) => response.end('ready\n'));
    expect(await wait('--url', url)).toBe(0);
  });

  it('waits until every gate is open', async () => {
    const readiness = createReadiness(['identity', 'policy']);
    const server = await startHealthServer({ ip: '127.0.0.1', port: 0 }, { readiness, log: createLog('silent') });
    closing.push(() => server.close());
    let asked = 0;
    const url = await serve((request, response) => {
      asked++;
      if (asked === 2) readiness.open('identity');
      if (asked === 3) readiness.open('policy');
      void fetch(`http://127.0.0.1:${server.address?.port}${request.url}`).then(async (answer) =>
        response.writeHead(answer.status).end(await answer.text()),
      );
    });
    expect(await wait('--url', url)).toBe(0);
    expect(asked).toBe(3);
  });

  it('ends with 69 after the deadline and quotes the closed gates on one line', async () => {
    const url = await serve((_request, response) =>
      response.writeHead(503).end('identity: The token file is missing or empty\npolicy: Not yet\n'),
    );
    const failure = await wait('--url', url, '--timeout', '300ms').catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(UnavailableError);
    expect(failure).toMatchObject({
      exitCode: 69,
      message: `The sidecar at ${new URL(url).host} is not ready after 300ms: identity: The token file is missing or empty; policy: Not yet`,
    });
  });

  it('says that nothing listens', async () => {
    const server = createTcpServer();
    const port = await listening(server);
    await new Promise((resolve) => server.close(resolve));
    const waited = await wait('--url', `http://127.0.0.1:${port}/`, '--timeout', '200ms').catch(String);
    expect(waited).toContain('is not ready after 200ms: nothing listens there');
  });

  it('gives up on time although somebody takes the connection and never answers', async () => {
    const server = createTcpServer((socket) => closing.push(() => socket.destroy()));
    const port = await listening(server);
    closing.push(() => server.close());
    const clock = createFakeClock();
    const accepted = once(server, 'connection');
    const waiting = waitUntilReady(clock, new URL(`http://127.0.0.1:${port}/`), 1000);
    await accepted;
    await clock.advance(1000);
    expect(await waiting).toEqual({ kind: 'late', why: 'nothing has answered yet' });
  });

  it('does not read an endless answer', async () => {
    const url = await serve((_request, response) => {
      response.writeHead(503);
      const fill = () => {
        while (!response.destroyed && response.write('x'.repeat(4096)));
      };
      response.on('drain', fill);
      fill();
    });
    expect(await waitUntilReady(systemClock, new URL(url), 500)).toEqual({ kind: 'late', why: 'x'.repeat(1000) });
  });

  it('does not pass control characters on to the terminal', async () => {
    const url = await serve((_request, response) => response.writeHead(503).end('\u001b[2Jgate: x\r\n'));
    expect(await waitUntilReady(systemClock, new URL(url), 200)).toEqual({ kind: 'late', why: '\uFFFD[2Jgate: x' });
  });

  it.each([
    [['--timeout', '60'], "--timeout is '60', expected a duration such as 60s, at most 1h"],
    [['--timeout', '0s'], "--timeout is '0s'"],
    [['--timeout', '2h'], "--timeout is '2h'"],
    [['--url', 'https://127.0.0.1/'], "--url is 'https://127.0.0.1/'"],
    [['--url', 'x'], "--url is 'x'"],
    [['now'], 'too many arguments'],
  ])('refuses %j', async (args, words) => {
    const failure = await wait(...args).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(UsageError);
    expect(String(failure)).toContain(words);
  });
});
