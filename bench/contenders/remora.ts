import { join, resolve } from 'node:path';
import type { EndFiles } from '../certificates.ts';
import { spiffeIdOf } from '../certificates.ts';
import type { Contender, Ground } from '../contender.ts';
import { freePorts, runProgram, startServer } from '../programs.ts';

const root = resolve(import.meta.dirname, '../..');
const buildDeadlineMs = 60_000;

/** Remora's bundle as the image has it, made from the checkout as it is now; both ends as static tunnels. */
export async function startRemora({ folder, client, server, backendPort }: Ground): Promise<Contender> {
  const bundle = join(folder, 'remora');
  await runProgram(
    process.execPath,
    [join(root, 'scripts/build.mjs'), 'src/main.ts', bundle, '--image'],
    buildDeadlineMs,
  );
  const [port = 0, tlsPort = 0, clientTlsPort = 0] = await freePorts(3);
  const start = async (files: EndFiles, hbonePort: number, tunnel: readonly string[]) =>
    startServer(process.execPath, [
      join(bundle, 'main.mjs'),
      'agent',
      ...['--certificate-file', files.certificate, '--key-file', files.key, '--bundle-file', files.roots],
      ...(await ownPorts(hbonePort)),
      ...tunnel,
    ]);
  const deliver = ['--deliver', `127.0.0.1:${backendPort}`, '--allow-peers', spiffeIdOf('web')];
  const listen = ['--listen', `127.0.0.1:${port}`, '--target', `127.0.0.1:${backendPort}`];
  const to = ['--peer', spiffeIdOf('api'), '--via', `127.0.0.1:${tlsPort}`];
  const pids = [await start(server, tlsPort, deliver), await start(client, clientTlsPort, [...listen, ...to])];
  return { name: 'Remora', port, tlsPort, pids };
}

/** Keeps a sidecar on loopback, and off the ports of everybody else. */
async function ownPorts(hbonePort: number): Promise<string[]> {
  const [metrics = 0, health = 0, admin = 0] = await freePorts(3);
  return [
    ...['--hbone-bind', '127.0.0.1', '--hbone-port', String(hbonePort)],
    ...['--metrics-bind', '127.0.0.1', '--metrics-port', String(metrics)],
    ...['--health-bind', '127.0.0.1', '--health-port', String(health)],
    ...['--admin-listen', `127.0.0.1:${admin}`],
  ];
}
