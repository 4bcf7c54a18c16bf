import { networkInterfaces } from 'node:os';
import { sidecarPorts } from '../../ports.ts';
import { findFreePorts } from './free-ports.ts';
import type { ControlPlaneSite, Place } from './launch.ts';
import { sidecarArgs, startControlPlane, startServer, writeToken } from './launch.ts';
import type { Eyes, SidecarSite } from './look.ts';
import { lookAt, untilReady } from './look.ts';
import { createLoopbackPlace } from './loopback-places.ts';
import type { Mesh, MeshParts } from './mesh.ts';
import { askEveryMs, directMs, identityOf } from './mesh.ts';
import type { Hint } from './picture.ts';
import { remoraOfCheckout } from './picture.ts';
import type { Program } from './program.ts';
import { createPageReader } from './scrape.ts';
import { openTap } from './tap.ts';
import type { Traffic } from './traffic.ts';
import { startTraffic } from './traffic.ts';
import type { WireTotals } from './wire-count.ts';
import { createWireCount, wireSince } from './wire-count.ts';

const portNames = [
  ...(['controlPlane', 'controlPlaneMetrics', 'applicationHttp', 'applicationEcho'] as const),
  ...(['webHttp', 'webEcho', 'webMetrics', 'webHealth', 'webAdmin'] as const),
  ...(['batchEcho', 'batchMetrics', 'batchHealth', 'batchAdmin'] as const),
  ...(['apiHbone', 'apiMetrics', 'apiHealth', 'apiAdmin'] as const),
] as const;
/** Every port of the mesh, on 127.0.0.1. */
type Ports = Readonly<Record<(typeof portNames)[number], number>>;

/** What is there once it has started. */
interface Running {
  readonly place: Place;
  readonly ports: Ports;
  readonly eyes: Eyes;
  readonly sites: readonly SidecarSite[];
  readonly sidecars: readonly Program[];
  readonly traffic: Traffic;
  /** What web can dial to reach api past every sidecar, over a wire that is looked at. */
  readonly directPort: number;
}

/**
 * The mesh on 127.0.0.1, for a user who may not make namespaces: two sidecars with static tunnels and deliveries instead
 * of capture. The wire between them is a relay of the demo, which sees every byte.
 */
export function createLoopbackMesh(parts: MeshParts): Mesh {
  const { crew, clock } = parts;
  const cleaning = new AsyncDisposableStack();
  let running: Running | undefined;
  const started = () => {
    if (running === undefined) throw new TypeError('The mesh has not started');
    return running;
  };
  return {
    where:
      'Processes on loopback: web, api and batch with a sidecar, legacy without, the control plane; nothing is captured',
    isCaptured: false,
    requiredRefusal: 'no_client_cert',
    async start(signal) {
      running = await start(parts, cleaning, signal);
    },
    hints: () => (running === undefined ? [] : hintsFor(running.ports)),
    look: () => lookAt(crew, started().sites, started().eyes),
    // Nothing but a tunnel reaches api, whatever the mode is.
    preview: async () => [],
    endTraffic: () => started().traffic.end(),
    async withoutSidecars() {
      const { place, eyes, sidecars, directPort } = started();
      await Promise.all(sidecars.map((sidecar) => sidecar.stop()));
      const before = await eyes.readWire();
      const args = [parts.markers.mesh, String(askEveryMs.web), `http://127.0.0.1:${directPort}/`];
      const client = crew.follow('The application web without a sidecar', place.application('client', args));
      await Promise.race([clock.sleep(directMs), crew.failure]);
      await client.stop();
      return wireSince(before, await eyes.readWire());
    },
    remove: () => cleaning.disposeAsync(),
  };
}

async function start(parts: MeshParts, cleaning: AsyncDisposableStack, signal: AbortSignal): Promise<Running> {
  const { env, clock, folder, crew, markers, uid } = parts;
  const pages = cleaning.adopt(createPageReader(), (one) => one.close());
  const place = cleaning.adopt(await createLoopbackPlace(parts.program, env), (one) => one.remove());
  const ports = await takePorts();
  const wire = createWireCount({ markers, tunnelPort: sidecarPorts.hbone });
  const tap = async (port: number, carries: 'tunnels' | 'applications') =>
    cleaning.adopt(await openTap({ ip: '127.0.0.1', port }, wire, carries, sidecarPorts.hbone), (one) => one.close());
  const tunnelTap = await tap(ports.apiHbone, 'tunnels');
  const directTap = await tap(ports.applicationHttp, 'applications');
  const eyes: Eyes = {
    readPage: pages.read,
    readWire: (): WireTotals => wire.totals(),
    nameOf: (ip) => `a client on ${ip}`,
  };

  const site = await startControlPlane(crew, {
    place,
    folder,
    uid,
    listen: `127.0.0.1:${ports.controlPlane}`,
    metricsListen: `127.0.0.1:${ports.controlPlaneMetrics}`,
    servingName: 'localhost',
  });
  signal.throwIfAborted();
  const applicationPorts = [ports.applicationHttp, ports.applicationEcho].map(String);
  await startServer(crew, place, [...applicationPorts, '127.0.0.1']);
  const sidecars = [
    await startSidecar('api', apiArgs(ports), place, site, parts),
    await startSidecar('web', webArgs(ports, tunnelTap.address.port), place, site, parts),
    await startSidecar('batch', batchArgs(ports, tunnelTap.address.port), place, site, parts),
  ];
  signal.throwIfAborted();
  const sites = [
    siteOf('web', ports.webMetrics, ports.webHealth),
    siteOf('api', ports.apiMetrics, ports.apiHealth),
    siteOf('batch', ports.batchMetrics, ports.batchHealth),
  ];
  await Promise.all(sites.map((one) => untilReady(one, eyes, crew, clock)));
  const traffic = startTraffic(crew, {
    web: {
      place,
      urls: [...loopbackIps().map((ip) => `http://${ip}:${ports.webHttp}/`), `tcp://127.0.0.1:${ports.webEcho}`],
      text: markers.mesh,
    },
    batch: { place, urls: [`tcp://127.0.0.1:${ports.batchEcho}`], text: markers.mesh },
    legacy: {
      place,
      urls: ['http:', 'h2:'].map((scheme) => `${scheme}//127.0.0.1:${ports.apiHbone}/`),
      text: markers.legacy,
    },
  });
  return { place, ports, eyes, sites, sidecars, traffic, directPort: directTap.address.port };
}

async function takePorts(): Promise<Ports> {
  const free = await findFreePorts(portNames.length);
  return Object.fromEntries(portNames.map((name, index) => [name, free[index]])) as unknown as Ports;
}

/** As they are written in URLs. */
function loopbackIps(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return all.some(({ address }) => address === '::1') ? ['127.0.0.1', '[::1]'] : ['127.0.0.1'];
}

function siteOf(name: string, metricsPort: number, healthPort: number): SidecarSite {
  return {
    name,
    metricsUrl: `http://127.0.0.1:${metricsPort}/metrics`,
    readyUrl: `http://127.0.0.1:${healthPort}/healthz/ready`,
  };
}

function apiArgs(ports: Ports): string[] {
  return [
    ...['--deliver', `127.0.0.1:${ports.applicationHttp},127.0.0.1:${ports.applicationEcho}`],
    ...['--hbone-port', `${ports.apiHbone}`, '--hbone-bind', '127.0.0.1'],
    ...serverArgs(ports.apiMetrics, ports.apiHealth, ports.apiAdmin),
  ];
}

function batchArgs(ports: Ports, via: number): string[] {
  return [
    ...tunnelArgs(`127.0.0.1:${ports.batchEcho}`, ports.applicationEcho, via),
    ...serverArgs(ports.batchMetrics, ports.batchHealth, ports.batchAdmin),
  ];
}

function tunnelArgs(listen: string, target: number, via: number): string[] {
  return [
    ...['--listen', listen],
    ...['--target', `127.0.0.1:${target}`],
    ...['--peer', identityOf('api')],
    ...['--via', `127.0.0.1:${via}`],
  ];
}

function webArgs(ports: Ports, via: number): string[] {
  return [
    ...loopbackIps().flatMap((ip) => tunnelArgs(`${ip}:${ports.webHttp}`, ports.applicationHttp, via)),
    ...tunnelArgs(`127.0.0.1:${ports.webEcho}`, ports.applicationEcho, via),
    ...serverArgs(ports.webMetrics, ports.webHealth, ports.webAdmin),
  ];
}

function serverArgs(metricsPort: number, healthPort: number, adminPort: number): string[] {
  return [
    ...['--metrics-port', `${metricsPort}`, '--metrics-bind', '127.0.0.1'],
    ...['--health-port', `${healthPort}`, '--health-bind', '127.0.0.1'],
    ...['--admin-listen', `127.0.0.1:${adminPort}`],
  ];
}

async function startSidecar(
  name: string,
  ownArgs: readonly string[],
  place: Place,
  site: ControlPlaneSite,
  parts: MeshParts,
): Promise<Program> {
  const tokenFile = await writeToken(name, site, parts, parts.uid);
  return parts.crew.followSidecar(name, place.remora([...sidecarArgs(name, site, tokenFile), ...ownArgs]));
}

function hintsFor(ports: Ports): readonly Hint[] {
  return [
    { title: 'metrics', command: `curl -s http://127.0.0.1:${ports.webMetrics}/metrics` },
    { title: 'status', command: `${remoraOfCheckout} status --admin 127.0.0.1:${ports.webAdmin}` },
    { title: 'call api', command: `curl -sSi http://127.0.0.1:${ports.webHttp}/` },
    { title: 'be refused', command: `curl -ski --http2 https://127.0.0.1:${ports.apiHbone}/` },
  ];
}
