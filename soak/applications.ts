import { createInterface } from 'node:readline';
import type { RunningProgram, TestPod } from '../test/support/pods.ts';
import type { ClientJob } from './apps/client.ts';
import type { Failure, Report } from './apps/reports.ts';
import type { Target } from './apps/work.ts';
import { SoakError } from './errors.ts';
import type { PodName } from './faults.ts';
import { clients, servers } from './faults.ts';
import type { SoakMesh } from './mesh.ts';
import { applicationPort, pods, serviceAddresses } from './mesh.ts';
import { service } from './verdict.ts';

/** What the applications have told so far. */
export interface Tally {
  readonly failures: Failure[];
  /** Ids of the connections that servers took, in the order in which they told. */
  readonly taken: string[];
  /** Connections that are done, by kind. */
  readonly done: Record<string, number>;
  bytes: number;
}

/** The applications of all pods. */
export interface Applications {
  readonly tally: Tally;
  startServer(pod: PodName): Promise<void>;
  endServer(pod: PodName): Promise<void>;
  startClients(seed: number): Promise<void>;
  /** Lets the clients finish what they have begun; rejects when one does not. */
  endClients(): Promise<void>;
}

const lanes = 16;
const thinkMs = 60;
/** Longer than any connection takes, and than the minute after which one has stalled. */
const endDeadlineMs = 120_000;

/** An ordinary user of a pod runs a script of `apps/`. */
export function runInPod(pod: TestPod, script: string, args: readonly string[]): RunningProgram {
  return pod.start(`soak/apps/${script}.ts`, args);
}

export function createApplications(mesh: SoakMesh, onLost: (why: string) => void): Applications {
  const tally: Tally = { failures: [], taken: [], done: {}, bytes: 0 };
  const running = new Map<string, RunningProgram>();
  const start = async (name: string, pod: PodName, script: string, args: readonly string[]) => {
    const program = runInPod(mesh.pods[pod], script, args);
    running.set(name, program);
    if (program.process.stdout) {
      createInterface({ input: program.process.stdout }).on('line', (line) => take(tally, JSON.parse(line)));
    }
    program.process.once('exit', (code, signal) => {
      if (running.get(name) === program) onLost(`The application ${name} ended with ${code ?? signal}`);
    });
    await program.line((line) => line.includes('"ready"'));
  };
  return {
    tally,
    startServer: (pod) => start(`server-${pod}`, pod, 'server', [pod, String(applicationPort)]),
    async endServer(pod) {
      const program = running.get(`server-${pod}`);
      running.delete(`server-${pod}`);
      await program?.stop('SIGTERM');
    },
    async startClients(seed) {
      for (const pod of clients) {
        const job: ClientJob = { name: pod, seed, port: applicationPort, targets: targetsOf(pod), lanes, thinkMs };
        await start(`client-${pod}`, pod, 'client', [JSON.stringify(job)]);
      }
    },
    async endClients() {
      for (const pod of clients) await endClient(`client-${pod}`, running);
    },
  };
}

async function endClient(name: string, running: Map<string, RunningProgram>): Promise<void> {
  const program = running.get(name);
  running.delete(name);
  if (program === undefined) return;
  const { process } = program;
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new SoakError(`${name} does not come to an end`)), endDeadlineMs);
  process.stdin?.end();
  const closed = new Promise<void>((resolve) => process.once('close', () => resolve()));
  if (process.exitCode === null) await Promise.race([closed, late]).finally(() => clearTimeout(timer));
  clearTimeout(timer);
}

/** A pod that dials its own address is not captured, so it calls itself through the Service only. */
function targetsOf(client: PodName): [Target, ...Target[]] {
  const own = servers.filter((name) => name !== client);
  return [
    { name: service, addresses: [serviceAddresses.v4, serviceAddresses.v6] },
    ...own.map((name): Target => ({ name, addresses: [pods[name].v4, pods[name].v6] })),
  ];
}

function take(tally: Tally, report: Report): void {
  switch (report.type) {
    case 'ready':
      return;
    case 'progress':
      for (const [kind, count] of Object.entries(report.done)) tally.done[kind] = (tally.done[kind] ?? 0) + count;
      tally.bytes += report.bytes;
      return;
    case 'taken':
      tally.taken.push(...report.ids);
      return;
    case 'failure':
      tally.failures.push(report);
      return;
    default:
      report satisfies never;
  }
}
