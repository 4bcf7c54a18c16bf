import type { Server, Socket } from 'node:net';
import { createServer } from 'node:net';
import { createChannel, symptomOf } from './channel.ts';
import { patternOf } from './pattern.ts';
import { nowMs, print } from './reports.ts';
import type { Work } from './work.ts';

/*
 * An ordinary application that is dialled and checks every byte; it knows nothing of a mesh. `server.ts NAME PORT`. On
 * SIGTERM it resets what is open and ends: a process that is killed would say a clean end instead.
 */

const [name = '', port = ''] = process.argv.slice(2);
const open = new Set<Socket>();
let taken: string[] = [];
let isStopping = false;
const tellTaken = () => {
  if (taken.length > 0) print({ type: 'taken', ids: taken });
  taken = [];
};

const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
  open.add(socket);
  socket.once('close', () => open.delete(socket));
  void serve(socket);
});
server.listen({ host: '::', port: Number(port) }, () => print({ type: 'ready' }));
setInterval(tellTaken, 500);

process.once('SIGTERM', () => {
  isStopping = true;
  server.close();
  for (const socket of open) socket.resetAndDestroy();
  tellTaken();
  process.stdout.write('', () => process.exit(0));
});

async function serve(socket: Socket): Promise<void> {
  const startedMs = nowMs();
  let work: Work | undefined;
  let isAborted = false;
  const channel = createChannel(socket, (moved) => {
    const abort = work?.abort;
    if (abort?.by !== 'server' || isAborted || moved < abort.afterBytes) return;
    isAborted = true;
    setImmediate(() => socket.resetAndDestroy());
  });
  try {
    work = JSON.parse(await channel.readLine()) as Work;
    taken.push(work.id);
    socket.write(`${name}\n`);
    await answer(socket, channel, work);
  } catch (error) {
    const { symptom, message } = symptomOf(error);
    socket.destroy();
    const isMeant = symptom === 'reset' && (isAborted || work?.abort?.by === 'client');
    // A client that was cut before its first byte has asked for nothing.
    if (isMeant || (work === undefined && symptom === 'reset') || isStopping) return;
    print({
      type: 'failure',
      ...{ at: name, side: 'server', peer: clientOf(work), id: work?.id, kind: work?.kind, symptom, phase: 'carried' },
      ...{ atMs: nowMs(), startedMs, detail: message },
    });
  }
}

const clientOf = (work: Work | undefined) => work?.id.replace(/-\d+$/, '');

async function answer(socket: Socket, channel: ReturnType<typeof createChannel>, work: Work): Promise<void> {
  const [up, down] = [patternOf(`${work.id}/up`), patternOf(`${work.id}/down`)];
  const send = async (isLast: boolean) => {
    await channel.send(down, work.down);
    // An end that is on its way would come before the reset.
    if (isLast && work.abort === undefined) socket.end();
  };
  if (work.isDuplex) await Promise.all([channel.receive(up, work.up), send(true)]);
  else {
    for (let round = 1; round <= work.rounds; round++) {
      await channel.receive(up, work.up);
      await send(round === work.rounds);
    }
  }
  await channel.receiveEnd();
  await channel.close();
}
