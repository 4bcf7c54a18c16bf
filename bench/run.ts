import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Backend } from './backend.ts';
import { startBackend } from './backend.ts';
import { writeCertificates } from './certificates.ts';
import type { Contender } from './contender.ts';
import { startHaproxy } from './contenders/haproxy.ts';
import { startNginx } from './contenders/nginx.ts';
import { startRemora } from './contenders/remora.ts';
import type { Figures } from './figures.ts';
import { createFigures } from './figures.ts';
import { measure } from './measure.ts';
import type { Measurement } from './measurements.ts';
import { residentBytes } from './proc.ts';
import { endPrograms } from './programs.ts';
import { checkTunnel, whenReady } from './ready.ts';

export interface RunOptions {
  readonly rounds: number;
  readonly seconds: number;
  readonly measurements: readonly Measurement[];
  /** Is told what goes on. */
  progress(text: string): void;
}

const idle = { name: 'memory, idle', unit: 'MiB' };
const loaded = { name: 'memory, after load', unit: 'MiB' };

/** Starts everything, measures all contenders in turns, and ends and removes everything, also when it fails. */
export async function run(options: RunOptions): Promise<Figures> {
  const folder = mkdtempSync(join(tmpdir(), 'remora-bench-'));
  const removeFolder = () => rmSync(folder, { recursive: true, force: true });
  process.once('exit', removeFolder);
  try {
    const backend = await startBackend(folder);
    await whenReady({ name: 'The backend', port: backend.port });
    return await measureAll(await startContenders(folder, backend, options), backend, options);
  } finally {
    await endPrograms();
    removeFolder();
  }
}

async function startContenders(folder: string, { port }: Backend, { progress }: RunOptions): Promise<Contender[]> {
  const files = writeCertificates(folder);
  const contenders: Contender[] = [];
  for (const start of [startHaproxy, startNginx, startRemora]) {
    const contender = await start({ folder, ...files, backendPort: port });
    await whenReady(contender);
    await checkTunnel(contender, files.client);
    progress(`${contender.name} is up: mutual TLS, version and cipher as expected`);
    contenders.push(contender);
  }
  return contenders;
}

/**
 * One load goes through each contender before the next load does, and who is first changes with the round: what disturbs
 * the machine for a while meets all of them.
 */
async function measureAll(contenders: Contender[], backend: Backend, options: RunOptions): Promise<Figures> {
  const figures = createFigures();
  for (const { name, pids } of contenders) figures.add(idle, name, mebibytes(pids));
  for (let round = 0; round < options.rounds; round++) {
    for (const measurement of options.measurements) {
      for (const contender of rotated(contenders, round)) {
        options.progress(`round ${round + 1} of ${options.rounds}: ${measurement.name} through ${contender.name}`);
        const result = await measure(measurement, contender, backend, options.seconds);
        for (const metric of measurement.metrics) figures.add(metric, contender.name, metric.from(result));
      }
    }
    for (const { name, pids } of contenders) figures.add(loaded, name, mebibytes(pids));
  }
  return figures;
}

const mebibytes = (pids: readonly number[]) => residentBytes(pids) / (1024 * 1024);

const rotated = <T>(values: readonly T[], by: number): T[] => {
  const start = by % values.length;
  return [...values.slice(start), ...values.slice(0, start)];
};
