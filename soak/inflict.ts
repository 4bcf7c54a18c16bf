import type { RunningProgram } from '../test/support/pods.ts';
import { runInPod } from './applications.ts';
import type { PodName } from './faults.ts';
import { servers } from './faults.ts';
import type { SoakMesh } from './mesh.ts';
import { allEndpoints, applicationPort, pods } from './mesh.ts';
import { denyIdentity, rewritePolicies, switchModes } from './reload.ts';
import type { PlannedFault } from './schedule.ts';

/** Takes a fault back, and resolves when what it had stopped is ready again. */
export type Undo = () => Promise<void>;

export interface Victims {
  readonly mesh: SoakMesh;
  /** Aborted when the load is over, however it ends. */
  readonly over: AbortSignal;
  /** Ends the server application of a pod in its way, and starts it again. */
  endServer(pod: PodName): Promise<void>;
  startServer(pod: PodName): Promise<void>;
}

/** Does what a fault says; resolves when it is in force. */
export async function inflict(
  // The time is drawn from the seed of the run, so what is drawn from it is as well.
  { kind, pod = 'api', atMs: seed }: PlannedFault,
  { mesh, over, ...applications }: Victims,
): Promise<Undo> {
  const sidecar = mesh.sidecars[pod];
  switch (kind) {
    case 'sidecar-killed':
      await sidecar.end('SIGKILL');
      return () => sidecar.start();
    case 'sidecar-stopped':
      await sidecar.end('SIGTERM');
      return () => sidecar.start();
    case 'sidecar-frozen':
      sidecar.signal('SIGSTOP');
      return async () => sidecar.signal('SIGCONT');
    case 'control-plane-killed':
      await mesh.controlPlane.end('SIGKILL');
      return () => mesh.controlPlane.start();
    case 'tunnels-reset':
      return rules(mesh, pod, tunnelResets);
    case 'packets-lost':
      return rulesOnLink(mesh, pod, 'numgen random mod 100 < 5 drop');
    case 'partitioned':
      return rulesOnLink(mesh, pod, 'drop');
    case 'server-restarted':
      await applications.endServer(pod);
      return () => applications.startServer(pod);
    case 'identity-denied':
      return denyIdentity({ mesh, over }, pod);
    case 'endpoint-removed':
      await mesh.register({ behind: servers.filter((name) => name !== pod), terminating: [] });
      return () => mesh.register(allEndpoints);
    case 'endpoint-terminating':
      await mesh.register({ behind: servers, terminating: servers.filter((name) => name === pod) });
      return () => mesh.register(allEndpoints);
    case 'strangers':
      return stopping(runInPod(mesh.pods.stranger, 'strangers', [15006, 15008, applicationPort].map(at(pod))));
    case 'scrape-flood':
      return stopping(runInPod(mesh.pods.stranger, 'scrapers', [15020, 15021].map(pageAt(pod))));
    case 'policies-rewritten':
      return rewritePolicies({ mesh, over }, seed);
    case 'modes-switched':
      return switchModes({ mesh, over }, seed);
    default:
      return kind satisfies never;
  }
}

const at = (pod: PodName) => (port: number) => `${pods[pod].v4}:${port}`;
const pageAt = (pod: PodName) => (port: number) =>
  `http://${pods[pod].v4}:${port}/${port === 15021 ? 'healthz/ready' : 'metrics'}`;

const stopping = (program: RunningProgram) => () => program.stop();

/** In both directions, so that both ends hear of it as soon as anything moves; not the resets themselves. */
const tunnelResets = tableOf(
  'inet',
  [
    ['input', ['iifname "eth0" tcp dport 15008', 'iifname "eth0" tcp sport 15008']],
    ['output', ['oifname "eth0" tcp dport 15008', 'oifname "eth0" tcp sport 15008']],
  ],
  'tcp flags & rst == 0 reject with tcp reset',
);

function tableOf(family: string, hooks: readonly (readonly [string, readonly string[]])[], verdict: string): string {
  const chains = hooks.map(([hook, matches]) => {
    const rules = matches.map((match) => `${match} ${verdict}\n`).join('');
    return `chain ${hook} {\ntype filter hook ${hook} priority -10\n${rules}}\n`;
  });
  return `nft -f - <<'END'\ntable ${family} soak {\n${chains.join('')}}\nEND`;
}

async function rules(mesh: SoakMesh, pod: PodName, script: string): Promise<Undo> {
  await mesh.pods[pod].sh(script);
  return async () => void (await mesh.pods[pod].sh('nft delete table inet soak'));
}

/** At the link and not in the pod, whose kernel would tell the sender of what it drops itself. */
async function rulesOnLink(mesh: SoakMesh, pod: PodName, verdict: string): Promise<Undo> {
  const port = mesh.linkPort(pod);
  await mesh.onLink(tableOf('bridge', [['forward', [`iifname "${port}"`, `oifname "${port}"`]]], verdict));
  return () => mesh.onLink('nft delete table bridge soak');
}
