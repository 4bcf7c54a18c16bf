import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { Agent, request } from 'node:http';
import type { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { buffer } from 'node:stream/consumers';
import { setTimeout } from 'node:timers/promises';
import { patternOf } from './rolling-pattern.ts';

/*
 * The clients of an ordinary application, `rolling-client.ts HOST:PORT [idle]`: requests over connections that are kept, over new ones, and long
 * ones in both directions, without a pause and without ever trying one again. One more connection is used once for each
 * line of standard input, and is idle in between; with `idle` it is the only one. Prints a line for each answer, `{"kind":"short","by":"api1"}`. After
 * SIGTERM every client finishes what it does and asks once more over a new connection; then it prints
 * `{"sent":N,"lost":[...]}` and ends.
 */
const [host, port] = (process.argv[2] ?? '').split(':');
const transferBytes = 4 * 1024 * 1024;
const upload = patternOf(0, transferBytes);
const uploadHash = createHash('sha256').update(upload).digest('hex');
const lost: string[] = [];
const agents: Agent[] = [];
let sent = 0;
let isStopping = false;

function send(path: string, agent: Agent | false, body?: Buffer): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const method = body === undefined ? 'GET' : 'POST';
    const asked = request({ host, port, path, method, agent }, resolve);
    asked.on('error', reject);
    void write(asked, body).catch(reject);
  });
}

async function write(asked: ReturnType<typeof request>, body: Buffer | undefined): Promise<void> {
  for (let from = 0; body !== undefined && from < body.length && !asked.destroyed; from += 65_536) {
    asked.write(body.subarray(from, from + 65_536));
    await setTimeout(10);
  }
  asked.end();
}

async function ask(kind: string, path: string, agent: Agent | false, expected: Buffer, body?: Buffer): Promise<void> {
  sent += 1;
  try {
    const response = await send(path, agent, body);
    const answer = await buffer(response);
    const by = response.headers['served-by'];
    if (answer.equals(expected)) console.log(JSON.stringify({ kind, by }));
    else lost.push(`${kind}: ${answer.length} wrong bytes from ${by}`);
  } catch (error) {
    lost.push(`${kind}: ${(error as NodeJS.ErrnoException).code} ${(error as Error).message}`);
  }
}

function kept(): Agent {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  agents.push(agent);
  return agent;
}

const ok = Buffer.from('ok');
const short = (kind: string, agent: Agent | false) => ask(kind, '/short', agent, ok);
async function repeat(work: () => Promise<void>, pauseMs: number): Promise<void> {
  while (!isStopping) {
    await work();
    await setTimeout(pauseMs);
  }
  await short('last', false);
}

const idle = kept();
idle.on('free', (socket: Socket) => socket.once('close', () => console.log(JSON.stringify({ kind: 'idle closed' }))));
createInterface({ input: process.stdin }).on('line', () => void short('idle', idle));
process.on('SIGTERM', () => {
  isStopping = true;
});
const busy = () => [
  ...Array.from({ length: 4 }, kept).map((agent) => repeat(() => short('kept', agent), 20)),
  ...Array.from({ length: 4 }, () => repeat(() => short('short', false), 20)),
  ...Array.from({ length: 2 }, () => repeat(() => ask('download', `/bytes/${transferBytes}`, false, upload), 0)),
  ...Array.from({ length: 2 }, () => repeat(() => ask('upload', '/', false, Buffer.from(uploadHash), upload), 0)),
];
await Promise.all(process.argv[3] === 'idle' ? [repeat(async () => undefined, 20)] : busy());
// As a pool does: its connections stay until the end.
for (const agent of agents) agent.destroy();
process.stdout.write(`${JSON.stringify({ sent, lost })}\n`, () => process.exit(0));
