import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { expect } from 'vitest';
import { systemClock } from '../../../src/clock.ts';
import type { ControlPlane } from '../../../src/control-plane/control-plane.ts';
import { controlPlaneDefaults, startControlPlane } from '../../../src/control-plane/control-plane.ts';
import { createLog } from '../../../src/log.ts';
import type { FakeControlPlane } from '../../support/fake-control-plane.ts';
import { startFakeControlPlane } from '../../support/fake-control-plane.ts';
import type { Gate, Way } from '../../support/gate.ts';
import { createGate } from '../../support/gate.ts';
import { createFakeStore } from '../../support/registry-source.ts';
import type { Agent, LogLine } from './agent-program.ts';
import { freePorts, page, startAgent } from './agent-program.ts';
import { idOf, newPath, writeText } from './identity-files.ts';

/** A sidecar, and what it has said since a moment. */
export interface Watched extends Agent {
  /** Resolves with the first line from now on that has these values. */
  next(match: LogLine): Promise<LogLine>;
  metric(name: string): Promise<number | undefined>;
}

/**
 * A client and an application, each behind the real sidecar, whose certificates of 10 s come from a real control plane
 * behind a gate; and a server that lies, with a certificate that the sidecars accept.
 */
export interface OutageMesh {
  readonly web: Watched;
  readonly api: Watched;
  readonly gate: Gate;
  readonly liar: FakeControlPlane;
  /** The way to the real control plane. */
  readonly honest: Way;
  /** A new connection of the client. */
  dial(): Promise<Socket>;
  close(): Promise<void>;
}

export async function startOutageMesh(settings: Readonly<Record<string, string>> = {}): Promise<OutageMesh> {
  const plane = await startPlane();
  const liar = await startFakeControlPlane();
  const honest = { kind: 'passes', port: plane.apiAddress.port } as const;
  const gate = await createGate(honest);
  const sockets = new Set<Socket>();
  const keep = (socket: Socket) => sockets.add(socket.on('error', () => undefined));
  const application = createServer({ allowHalfOpen: true }, (socket) => {
    keep(socket);
    socket.pipe(socket);
  });
  await once(application.listen(0, '127.0.0.1'), 'listening');
  const target = `127.0.0.1:${(application.address() as AddressInfo).port}`;

  const controlPlaneCaFile = writeText('ca.pem', `${plane.rootPem}${liar.caPem}`);
  const start = async (name: string, own: Readonly<Record<string, string>>): Promise<Watched> => {
    const tokenFile = newPath(`${name}.token`);
    writeFileSync(tokenFile, await plane.mintToken({ namespace: 'shop', serviceAccount: name, pod: name }));
    const agent = await startAgent({
      controlPlane: `https://localhost:${gate.port}`,
      controlPlaneCaFile,
      controlPlaneTimeout: '500ms',
      tokenFile,
      certificateLifetime: '10s',
      renewalFraction: '0.1',
      ...own,
      ...settings,
    });
    await agent.line({ msg: 'Ready' });
    return watched(agent);
  };
  const [listen = 0] = await freePorts(1);
  const api = await start('api', { deliver: target });
  const via = `127.0.0.1:${api.ports.hbone}`;
  const web = await start('web', { listen: `127.0.0.1:${listen}`, target, peer: idOf('api'), via });
  return {
    web,
    api,
    gate,
    liar,
    honest,
    async dial() {
      const socket = connect({ host: '127.0.0.1', port: listen, allowHalfOpen: true });
      keep(socket);
      await Promise.race([once(socket, 'connect'), once(socket, 'close')]).catch(() => undefined);
      return socket;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      application.close();
      await Promise.all([web.stop(), api.stop()]);
      await gate.close();
      await liar.close();
      await plane.close();
    },
  };
}

function startPlane(): Promise<ControlPlane> {
  const anyPort = { ip: '127.0.0.1', port: 0 };
  return startControlPlane(
    { clock: systemClock, log: createLog('silent'), store: createFakeStore() },
    { ...controlPlaneDefaults, listen: anyPort, metricsListen: anyPort },
  );
}

function watched(agent: Agent): Watched {
  return {
    ...agent,
    async next(match) {
      const from = agent.lines.length;
      const found = () =>
        agent.lines.slice(from).find((line) => Object.entries(match).every(([key, value]) => line[key] === value));
      await expect.poll(found, { timeout: 60_000, message: `${JSON.stringify(match)} in the log` }).toBeDefined();
      return found() ?? {};
    },
    async metric(name) {
      const { text } = await page(agent.ports.metrics, '/metrics');
      const line = text.split('\n').find((candidate) => candidate.startsWith(`${name} `));
      return line === undefined ? undefined : Number(line.slice(name.length + 1));
    },
  };
}
