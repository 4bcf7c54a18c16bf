import { once } from 'node:events';
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { Mesh } from '../support/mesh.ts';
import { registryText, startMesh } from '../support/mesh.ts';
import type { RunningProgram } from '../support/pods.ts';
import { noPodsBecause } from '../support/pods.ts';

/*
 * Goal: a rolling restart under load loses no request, with sidecars as without.
 * Method: a client pod and a Service of two pods under a load that never tries anything again. One pod after the other is
 * told to end and marked as terminating at the same moment, as Kubernetes does it, and is started again and marked as ready.
 * There is no drain delay: new connections meet a sidecar that has gone before anybody was told.
 * The same is done once without sidecars; rules of the test then choose the endpoint, as kube-proxy's do.
 */
const service = { name: 'api', v4: '10.96.0.10', v6: 'fd96::10', pods: ['api1', 'api2'], ports: [8080] } as const;
const addresses = {
  web: { v4: '10.77.0.11', v6: 'fd77::11' },
  api1: { v4: '10.77.0.12', v6: 'fd77::12' },
  api2: { v4: '10.77.0.13', v6: 'fd77::13' },
} as const;
type Name = keyof typeof addresses;
type Replica = (typeof service.pods)[number];

/** Native sidecars are told to end when the application has ended, others at the same time. */
type Order = 'together' | 'application first';

interface Losses {
  readonly sent: number;
  readonly lost: readonly string[];
}

describe.skipIf(noPodsBecause !== undefined)(`a rolling restart under load ${noPodsBecause ?? ''}`, () => {
  let mesh: Mesh<Name> | undefined;
  afterEach(() => mesh?.close());

  it.each(['together', 'application first'] as const)(
    'K2: loses no request with sidecars, when pods end %s',
    async (order) => {
      const { sent, lost } = await restartAll(await start(true), order);
      expect(lost).toEqual([]);
      expect(sent).toBeGreaterThan(100);
    },
  );

  it('loses no request without sidecars either, so that the applications are worth their measure', async () => {
    const { sent, lost } = await restartAll(await start(false), 'together');
    expect(lost).toEqual([]);
    expect(sent).toBeGreaterThan(100);
  });

  it('K3: resets an idle connection that its application leaves open at the drain deadline, which costs no request', async () => {
    const run = await start(true, { application: ['stubborn'], sidecar: ['--drain-deadline', '300ms'] });
    const load = run.startLoad(['idle']);
    const replica = await run.askIdle(load);
    run.stopSidecar(replica);
    await run.sidecarEnded(replica, 1);
    await load.line((line) => line.includes('"idle closed"'));
    await run.askIdle(load);
    expect(await run.finish(load)).toEqual({ sent: 3, lost: [] });
  });

  async function start(isMeshed: boolean, args: { application?: string[]; sidecar?: string[] } = {}): Promise<Run> {
    const spec = (name: Name) => ({ ...addresses[name], isMeshed, agent: args.sidecar ?? [] });
    const pods = { web: spec('web'), api1: spec('api1'), api2: spec('api2') };
    mesh = await startMesh<Name>({ pods, services: [{ ...service, pods: [...service.pods] }] });
    const run = createRun(mesh, isMeshed);
    for (const replica of service.pods) await run.startApplication(replica, args.application);
    await run.direct(new Set());
    return run;
  }
});

type Run = ReturnType<typeof createRun>;

/** The restart of every pod, each when the one before it serves again. */
async function restartAll(run: Run, order: Order): Promise<Losses> {
  let load = run.startLoad();
  for (const replica of service.pods) await run.answeredBy(load, replica);
  for (const replica of service.pods) {
    await run.restart(replica, order, load);
    await run.answeredBy(load, replica);
  }
  const before = await run.endLoad(load, order);
  await run.startSidecar('web');
  load = run.startLoad();
  for (const replica of service.pods) await run.answeredBy(load, replica);
  const after = await run.finish(load);
  return { sent: before.sent + after.sent, lost: [...before.lost, ...after.lost] };
}

function createRun(mesh: Mesh<Name>, isMeshed: boolean) {
  const applications: Partial<Record<Replica, RunningProgram>> = {};
  const answers = (load: RunningProgram, from: number) =>
    load.lines.slice(from).map((line) => JSON.parse(line) as { kind?: string; by?: string });
  const shortAnswers = (load: RunningProgram, from = 0) =>
    answers(load, from)
      .filter(({ kind }) => kind === 'short')
      .map(({ by }) => by);

  const startApplication = async (name: Replica, args: readonly string[] = []) => {
    const { v4 } = addresses[name];
    const application = mesh.pods[name].start('test/support/pod-programs/rolling-server.ts', [name, v4, ...args]);
    applications[name] = application;
    await application.line((line) => line === 'ready');
  };

  /** Tells everybody which pods are terminating, and does not wait until they know. */
  const direct = async (terminating: ReadonlySet<Replica>) => {
    if (isMeshed) return publish(terminating);
    const ips = service.pods.filter((name) => !terminating.has(name)).map((name) => addresses[name].v4);
    const map = ips.map((ip, index) => `${index} : ${ip}`).join(', ');
    const rules = `add table ip service; delete table ip service; table ip service { chain output {
      type nat hook output priority -100; ip daddr ${service.v4} dnat to numgen inc mod ${ips.length} map { ${map} }; }; }`;
    await mesh.pods.web.sh(`nft -f - <<'END'\n${rules}\nEND`);
  };

  const publish = async (terminating: ReadonlySet<Replica>) => {
    const specs = { web: spec('web'), api1: spec('api1'), api2: spec('api2') };
    const text = registryText<Name>({ pods: specs, services: [{ ...service, pods: [...service.pods] }] });
    const objects = text.split('\n---\n').map((object) => JSON.stringify(JSON.parse(object, reviver(terminating))));
    const file = join(mesh.folder, 'registry', 'mesh.yaml');
    await writeFile(`${file}.new`, objects.join('\n---\n'));
    await rename(`${file}.new`, file);
  };
  const spec = (name: Name) => ({ ...addresses[name], isMeshed });

  /** Resolves when `load` has been answered by this replica from now on. */
  const answeredBy = async (load: RunningProgram, replica: Replica) => {
    const from = load.lines.length;
    await load.line(() => shortAnswers(load, from).includes(replica));
  };
  /** Resolves when so many new connections in a row have gone to others that it cannot be chance. */
  const leftBy = async (load: RunningProgram, replica: Replica) => {
    const from = load.lines.length;
    await load.line(() => {
      const last = shortAnswers(load, from).slice(-40);
      return last.length === 40 && !last.includes(replica);
    });
  };

  const stopSidecar = (name: Name) => mesh.agents[name]?.process.kill('SIGTERM');
  const sidecarEnded = async (name: Name, code = 0) => {
    const agent = mesh.agents[name];
    if (agent !== undefined) expect(await exitOf(agent)).toBe(code);
  };
  const startSidecar = async (name: Name) => {
    if (isMeshed) await mesh.startAgent(name);
  };
  /** Ends the load alone. */
  const finish = async (load: RunningProgram): Promise<Losses> => {
    load.process.kill('SIGTERM');
    const report = JSON.parse(await load.line((line) => line.includes('"sent"')));
    expect(await exitOf(load)).toBe(0);
    return report;
  };

  return {
    direct,
    startApplication,
    startSidecar,
    stopSidecar,
    sidecarEnded,
    answeredBy,
    finish,
    startLoad: (args: readonly string[] = []) =>
      mesh.pods.web.start('test/support/pod-programs/rolling-client.ts', [`${service.v4}:8080`, ...args]),
    /** Uses the connection that is idle otherwise, and resolves with who has answered. */
    async askIdle(load: RunningProgram) {
      const from = load.lines.length;
      load.process.stdin?.write('ask\n');
      const isAnswer = ({ kind }: { kind?: string }) => kind === 'idle';
      await load.line(() => answers(load, from).some(isAnswer));
      return answers(load, from).find(isAnswer)?.by as Replica;
    },
    async restart(replica: Replica, order: Order, load: RunningProgram) {
      const application = applications[replica];
      if (application === undefined) throw new Error(`${replica} has no application`);
      application.process.kill('SIGTERM');
      if (order === 'together') stopSidecar(replica);
      await direct(new Set([replica]));
      await leftBy(load, replica);
      application.process.stdin?.write('close\n');
      expect(await exitOf(application)).toBe(0);
      if (order === 'application first') stopSidecar(replica);
      await sidecarEnded(replica);
      await startSidecar(replica);
      await startApplication(replica);
      await direct(new Set());
    },
    /** Ends the client pod. */
    async endLoad(load: RunningProgram, order: Order): Promise<Losses> {
      const finished = finish(load);
      if (order === 'together') stopSidecar('web');
      const report = await finished;
      if (order === 'application first') stopSidecar('web');
      await sidecarEnded('web');
      return report;
    },
  };
}

/** Marks the endpoints of these pods as Kubernetes marks those of pods that are being deleted. */
function reviver(terminating: ReadonlySet<string>) {
  return (_key: string, value: { targetRef?: { name: string }; conditions?: object } | null) => {
    const name = value?.targetRef?.name;
    if (name === undefined || !terminating.has(name)) return value;
    return { ...value, conditions: { ready: false, serving: true, terminating: true } };
  };
}

async function exitOf({ process }: RunningProgram): Promise<number | null> {
  if (process.exitCode !== null) return process.exitCode;
  const [code] = (await once(process, 'exit')) as [number | null];
  return code;
}
