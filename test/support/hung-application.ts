import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { connect } from 'node:net';

/** An application that listens and accepts nothing: the kernel's queue is full, and whoever dials gets no answer. */
export interface HungApplication {
  readonly port: number;
  /** Connections that are being dialled towards it. */
  dialled(): number;
  /** It accepts again; so the dials of others end. */
  kill(): void;
}

const listens = `
  const server = require('node:net').createServer();
  server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => process.stdout.write(String(server.address().port)));
`;
const synSent = '02';

/** A process that is stopped, as one that is stuck, behind a queue that this test has filled. */
export async function hungApplication(): Promise<HungApplication> {
  const child = spawn(process.execPath, ['-e', listens], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [text] = (await once(child.stdout, 'data')) as [Buffer];
  const port = Number(text);
  child.kill('SIGSTOP');
  const towards = () => statesTowards(port);
  const filling: Socket[] = [];
  const dialled = () => towards().filter((state) => state === synSent).length;
  while (dialled() === 0) {
    const socket = connect(port, '127.0.0.1').on('error', () => undefined);
    filling.push(socket);
    // Loopback answers within the turn in which it answers at all.
    await new Promise((resolve) => setImmediate(resolve));
  }
  const own = dialled();
  return {
    port,
    dialled: () => dialled() - own,
    kill() {
      for (const socket of filling) socket.destroy();
      child.kill('SIGKILL');
    },
  };
}

/** The states of the TCP connections to a port of 127.0.0.1, proc(5). */
function statesTowards(port: number): string[] {
  const remote = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const rows = readFileSync('/proc/net/tcp', 'utf8').split('\n').slice(1);
  return rows
    .map((row) => row.trim().split(/\s+/))
    .filter(([, , to]) => to === remote)
    .map(([, , , state = '']) => state);
}
