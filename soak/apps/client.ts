import { once } from 'node:events';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as wait } from 'node:timers/promises';
import { diceOf } from '../dice.ts';
import type { Channel } from './channel.ts';
import { createChannel, SymptomError, symptomOf } from './channel.ts';
import { patternOf } from './pattern.ts';
import { nowMs, print } from './reports.ts';
import type { Errand, Target, Work } from './work.ts';
import { errandOf } from './work.ts';

/*
 * An ordinary application that dials others and checks every byte; it knows nothing of a mesh. `client.ts JOB`; when its
 * standard input ends it finishes what it has begun and ends.
 */

/** What it is told, as JSON in its only argument. */
export interface ClientJob {
  readonly name: string;
  readonly seed: number;
  readonly port: number;
  readonly targets: readonly [Target, ...Target[]];
  /** Connections at once. */
  readonly lanes: number;
  /** Longest pause of a lane between two connections. */
  readonly thinkMs: number;
}

/** Whoever was refused comes back a little later. */
const failedPauseMs = 250;

const job = JSON.parse(process.argv[2] ?? '') as ClientJob;
let next = 0;
let isStopping = false;
let done: Record<string, number> = {};
let bytes = 0;

const report = setInterval(() => {
  print({ type: 'progress', done, bytes });
  [done, bytes] = [{}, 0];
}, 1000);
createInterface({ input: process.stdin }).on('close', () => {
  isStopping = true;
});

print({ type: 'ready' });
await Promise.all(Array.from({ length: job.lanes }, lane));
clearInterval(report);
print({ type: 'progress', done, bytes });

async function lane(): Promise<void> {
  while (!isStopping) {
    const errand = errandOf(job.seed, job.name, next++, job.targets);
    const hasFailed = !(await run(errand));
    await wait(hasFailed ? failedPauseMs : diceOf(job.seed, 'think', errand.work.id).whole(0, job.thinkMs));
  }
}

/** False when it did not go as it was meant to, which is told then. */
async function run({ work, target, address }: Errand): Promise<boolean> {
  const startedMs = nowMs();
  const socket = connect({ host: address, port: job.port, allowHalfOpen: true, noDelay: true });
  const { abort } = work;
  let isAborted = false;
  const channel = createChannel(socket, (moved) => {
    if (abort?.by !== 'client' || isAborted || moved < abort.afterBytes) return;
    isAborted = true;
    // Not within the read or write that has moved the byte.
    setImmediate(() => socket.resetAndDestroy());
  });
  let server: string | undefined;
  try {
    const heard = Promise.withResolvers<void>();
    heard.promise.catch(() => undefined);
    await once(socket, 'connect');
    socket.write(`${JSON.stringify(work)}\n`);
    const hear = async () => {
      server = await channel.readLine();
      heard.resolve();
    };
    await Promise.all([hear().catch(heard.reject), heard.promise, talk(socket, channel, work, heard.promise)]);
    await channel.close();
    if (abort !== undefined) throw new SymptomError('early-end', 'The connection was to be cut, and ended');
  } catch (error) {
    const { symptom, message } = symptomOf(error);
    socket.destroy();
    if (!(symptom === 'reset' && (isAborted || abort?.by === 'server'))) {
      const phase = server === undefined ? 'open' : 'carried';
      print({
        type: 'failure',
        ...{ at: job.name, side: 'client', peer: server ?? target, id: work.id, kind: work.kind, symptom, phase },
        ...{ atMs: nowMs(), startedMs, detail: message },
      });
      return false;
    }
  } finally {
    bytes += channel.moved;
  }
  done[work.kind] = (done[work.kind] ?? 0) + 1;
  return true;
}

async function talk(socket: ReturnType<typeof connect>, channel: Channel, work: Work, heard: Promise<void>) {
  const [up, down] = [patternOf(`${work.id}/up`), patternOf(`${work.id}/down`)];
  const send = async (isLast: boolean) => {
    if (work.pauseMs > 0) await channel.pause(work.pauseMs);
    await channel.send(up, work.up);
    if (isLast && work.endsFirst) socket.end();
  };
  const receive = async () => {
    await heard;
    await channel.receive(down, work.down, work.readPauseMs);
  };
  if (work.isDuplex) await Promise.all([send(true), receive()]);
  else {
    for (let round = 1; round <= work.rounds; round++) {
      await send(round === work.rounds);
      await receive();
    }
  }
  await channel.receiveEnd();
  if (!work.endsFirst) socket.end();
}
