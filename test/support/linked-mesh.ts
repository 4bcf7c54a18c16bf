import { sidecarUid } from '../../src/ports.ts';
import type { TestLink } from './link.ts';
import { linkPods } from './link.ts';
import type { Mesh } from './mesh.ts';
import { startMesh } from './mesh.ts';
import type { RunningProgram, TestPod } from './pods.ts';

/** `web` and `api` have sidecars; their only way to each other is a link with faults. */
export const linkedPods = {
  web: { v4: '10.77.0.11', v6: 'fd77::11', isMeshed: true },
  // Whoever is not captured at the client reaches these two ports without any sidecar.
  api: { v4: '10.77.0.12', v6: 'fd77::12', isMeshed: true, init: ['--exclude-inbound-ports', '7002,7003'] },
  /** Outside of the mesh, and not behind the link. */
  outside: { v4: '10.77.0.200', v6: 'fd77::200', isMeshed: false },
} as const;
/** The Service of `api`. */
export const apiService = { v4: '10.96.0.10', v6: 'fd96::10' };
const ports = [7001, 7002, 7003, 7004, 7005];
type Name = keyof typeof linkedPods;

/** What a client program says at its end. */
export interface ClientAnswer {
  readonly text?: string;
  readonly ended?: string;
  readonly isEqual?: boolean;
  readonly bytes?: number;
  readonly failed?: string;
}

export interface Downloads {
  /** How many arrived with the right hash. */
  readonly whole: number;
  readonly tookMs: number;
}

export interface LinkedMesh extends Mesh<Name> {
  readonly link: TestLink;
  /** The application in `api`. */
  readonly server: RunningProgram;
  /** Runs a client in `web` to its end. */
  client(args: readonly (string | number)[]): Promise<ClientAnswer>;
  /** Downloads so many bytes so many times at once, through both sidecars or without any. */
  downloads(way: 'meshed' | 'direct', bytes: number, count: number): Promise<Downloads>;
  /** Starts a connection that echoes the lines of its standard input. */
  long(host: string): Promise<RunningProgram>;
  /** Uploads and downloads so many bytes at once, through both sidecars, over IPv4 and IPv6. */
  bothWays(bytes: number): Promise<readonly [ClientAnswer, ClientAnswer]>;
  /** Drops what matches in the pods while `work` runs: before it is delivered, or before it is sent. */
  dropping(pods: readonly Name[], hook: 'input' | 'output', match: string, work: () => Promise<void>): Promise<void>;
  /** Puts a sidecar without tunnels, with further settings, in the place of `web`'s; what TCP has learned is forgotten. */
  startAnew(agent?: readonly string[]): Promise<void>;
  /** The value of one line of a sidecar's metrics page, 0 where there is none. */
  metric(name: Name, labelled: string): Promise<number>;
  /** How many tunnels `web` has made. */
  handshakes(): Promise<number>;
  /** The sum of one counter of the kernels of both pods, such as `TcpRetransSegs`. */
  kernelCount(name: string): Promise<number>;
  /** Application bytes that the sidecars of `web` and `api` have read for uploads. */
  uploaded(): Promise<{ readonly web: number; readonly api: number }>;
  /** The first line of a sidecar's log, past or future, with all of these parts. */
  logged(name: Name, ...parts: string[]): Promise<Record<string, unknown>>;
}

/** What a whole transfer answers. */
export const wholeTransfer = (bytes: number) => [
  { isEqual: true, ended: 'end' },
  { isEqual: true, bytes },
];

/** Starts the mesh with further settings of the sidecars, applications in `api` and `outside`, and a clean link. */
export async function startLinkedMesh(settings: Partial<Record<Name, readonly string[]>> = {}): Promise<LinkedMesh> {
  const { web, api, outside } = linkedPods;
  const pods = { web: { ...web, agent: settings.web ?? [] }, api: { ...api, agent: settings.api ?? [] }, outside };
  const services = [{ name: 'api', ...apiService, pods: ['api'] as const, ports }];
  const mesh = await startMesh<Name>({ pods, services });
  try {
    const link = await linkPods(mesh.pods.web, mesh.pods.api);
    const serve = async (pod: TestPod) => {
      const server = pod.start('test/support/pod-programs/server.ts', ['0.0.0.0', '::']);
      await server.line((line) => line === 'ready');
      return server;
    };
    const [server] = await Promise.all([serve(mesh.pods.api), serve(mesh.pods.outside)]);
    return { ...mesh, link, server, ...actions(mesh) };
  } catch (error) {
    await mesh.close();
    throw error;
  }
}

function actions(mesh: Mesh<Name>): Omit<LinkedMesh, 'link' | 'server' | keyof Mesh<Name>> {
  const { web, api } = mesh.pods;
  const client: LinkedMesh['client'] = async (args) => {
    const program = web.start('test/support/pod-programs/client.ts', args.map(String));
    return JSON.parse(await program.line((line) => line.startsWith('{') && !line.includes('started')));
  };
  const count = async (pod: typeof web, name: string) =>
    Number((await pod.sh(`nstat -asz ${name}`)).split('\n')[1]?.split(/\s+/)[1]);
  const metric: LinkedMesh['metric'] = async (name, labelled) => {
    const line = (await mesh.metrics(name)).split('\n').find((line) => line.startsWith(`${labelled} `));
    return Number(line?.slice(labelled.length) ?? 0);
  };
  const sent = (name: Name, direction: string) =>
    metric(name, `remora_bytes_total{direction="${direction}",flow="sent"}`);
  return {
    client,
    async downloads(way, bytes, count) {
      // The sidecar's own connections are not captured.
      const [host, uid] = way === 'meshed' ? [apiService.v4, 1000] : [linkedPods.api.v4, sidecarUid];
      const args = [host, '7003', String(bytes), String(count)];
      return JSON.parse(await web.start('test/support/pod-programs/parallel.ts', args, { uid }).line(Boolean));
    },
    async long(host) {
      const program = web.start('test/support/pod-programs/client.ts', ['long', host, '7001']);
      program.process.stdin?.write('first\n');
      await program.line((line) => line.includes('first'));
      return program;
    },
    bothWays: (bytes) =>
      Promise.all([client(['upload', apiService.v4, 7002, bytes]), client(['download', apiService.v6, 7003, bytes])]),
    async dropping(names, hook, match, work) {
      const chain = `add chain inet hole swallow { type filter hook ${hook} priority filter; }`;
      const rules = `add table inet hole; ${chain}; add rule inet hole swallow ${match} drop`;
      for (const name of names) await mesh.pods[name].sh(`nft '${rules}'`);
      await work().finally(async () => {
        for (const name of names) await mesh.pods[name].sh('nft delete table inet hole');
      });
    },
    async startAnew(agent) {
      await mesh.agents.web?.stop();
      for (const pod of [web, api]) await pod.sh('ip tcp_metrics flush');
      await mesh.startAgent('web', agent);
    },
    metric,
    handshakes: () => metric('web', 'remora_tls_handshakes_total{direction="outbound",result="success",reason=""}'),
    kernelCount: async (name) => (await count(web, name)) + (await count(api, name)),
    uploaded: async () => ({ web: await sent('web', 'outbound'), api: await sent('api', 'inbound') }),
    async logged(name, ...parts) {
      const line = await mesh.agents[name]?.line((line) => parts.every((part) => line.includes(part)));
      return JSON.parse(line ?? '{}');
    },
  };
}
