/**
 * Dials one `host:port` over and over, several at a time, until its standard input ends; then prints how often a
 * connection landed where, or how it failed: `{"capture":5120,"ECONNREFUSED":3}`. Prints the first of each kind, such as
 * `first capture`, when it comes.
 */
import { connect } from 'node:net';
import { splitHostPort } from '../../../src/addresses.ts';

const parallel = 4;
const { host, port } = splitHostPort(process.argv[2] ?? '') ?? { host: '', port: 0 };
const outcomes: Record<string, number> = {};
let isStopping = false;
process.stdin.resume().once('end', () => {
  isStopping = true;
});

function dial(): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const finish = (outcome: string) => {
      socket.destroy();
      resolve(outcome);
    };
    socket.setTimeout(2000, () => finish('timeout'));
    socket.on('error', (error: NodeJS.ErrnoException) => finish(error.code ?? 'error'));
    socket.on('end', () => finish('closed'));
    socket.on('data', (chunk) => finish(JSON.parse(chunk.toString()).at));
  });
}

async function work(): Promise<void> {
  while (!isStopping) {
    const outcome = await dial();
    if (outcomes[outcome] === undefined) process.stdout.write(`first ${outcome}\n`);
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  }
}

await Promise.all(Array.from({ length: parallel }, work));
process.stdout.write(`${JSON.stringify(outcomes)}\n`);
