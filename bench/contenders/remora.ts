import { join, resolve } from 'node:path';
import type { EndFiles } from '../certificates.ts';
import { spiffeIdOf } from '../certificates.ts';
import type { Contender, Ground } from '../contender.ts';
import { freePorts, runProgram, startServer } from '../programs.ts';

const root = resolve(import.meta.dirname, '../..');
const buildDeadlineMs = 60_000;

export interface RemoraContender extends Contender {
  /** Of both ends. */
  readonly metricsPorts: readonly number[];
}

/** Remora's bundle as the image has it, made from the checkout as it is now; both ends as static tunnels. */
export async function startRemora({ folder, client, server, backendPort }: Ground): Promise<RemoraContender> {
  const bundle = join(folder, 'remora');
  await runProgram(
    process.execPath,
    [join(root, 'scripts/build.mjs'), 'src/main.ts', bundle, '--image'],
    buildDeadlineMs,
  );
  const [port = 0, tlsPort = 0, clientTlsPort = 0, ...metricsPorts] = await freePorts(5);
  const [ofServer = 0, ofClient = 0] = metricsPorts;
  const start = async (files: EndFiles, hbonePort: number, metricsPort: number, tunnel: readonly string[]) =>
    startServer(process.execPath, [
      join(bundle, 'main.mjs'),
      'agent',
      ...['--certificate-file', files.certificate, '--key-file', files.key, '--bundle-file', files.roots],
      ...(await ownPorts(hbonePort, metricsPort)),
      ...tunnel,
    ]);
  const deliver = ['--deliver', `127.0.0.1:${backendPort}`, '--allow-peers', spiffeIdOf('web')];
  const listen = ['--listen', `127.0.0.1:${port}`, '--target', `127.0.0.1:${backendPort}`];
  const to = ['--peer', spiffeIdOf('api'), '--via', `127.0.0.1:${tlsPort}`];
  const pids = [
    await start(server, tlsPort, ofServer, deliver),
    await start(client, clientTlsPort, ofClient, [...listen, ...to]),
  ];
  return { name: 'Remora', port, tlsPort, pids, metricsPorts };
}

/** Keeps a sidecar on loopback, and off the ports of everybody else. */
async function ownPorts(hbonePort: number, metricsPort: number): Promise<string[]> {
  const [health = 0, admin = 0] = await freePorts(2);
  return [
    ...['--hbone-bind', '127.0.0.1', '--hbone-port', String(hbonePort)],
    ...['--metrics-bind', '127.0.0.1', '--metrics-port', String(metricsPort)],
    ...['--health-bind', '127.0.0.1', '--health-port', String(health)],
    ...['--admin-listen', `127.0.0.1:${admin}`],
  ];
}
