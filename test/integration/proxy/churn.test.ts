import { readdirSync, readlinkSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import type { Socket } from 'node:net';
import tls from 'node:tls';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { resetSocket } from '../../../src/proxy/leg.ts';
import type { DataPlaneOptions } from '../../support/data-plane.ts';
import { meshIdentity, startApplication, startLoopbackMesh, turns, until } from '../../support/loopback-mesh.ts';
import { readAll } from '../../support/sockets.ts';
import { cuts } from '../../support/wire.ts';

/*
 * Goal: whatever goes away at whatever moment, nothing throws where nobody listens, and nothing stays. Method: sockets and
 * tunnels of this process are destroyed at random; fast-check prints the seed.
 */

/** Sockets of this process, whether or not Node.js still knows them. */
function openSockets(): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:');
    } catch {
      // The one that the listing itself had open.
      return false;
    }
  }).length;
}

/** Every socket that this process holds, of whoever. */
const allSockets = () =>
  (process as unknown as { _getActiveHandles(): Socket[] })
    ._getActiveHandles()
    .filter((handle) => handle.constructor.name.endsWith('Socket') && handle.remotePort !== undefined);

const victim = fc.record({
  turns: fc.nat(12),
  which: fc.nat(1000),
  how: fc.constantFrom(
    'destroy' as const,
    'error' as const,
    'reset' as const,
    'end' as const,
    'cut' as const,
    'tunnel' as const,
  ),
});

it('X18: sockets, sessions and tunnels that are destroyed at any moment throw nothing where nobody listens, and leave nothing', async () => {
  const uncaught: unknown[] = [];
  const onUncaught = (error: unknown) => uncaught.push(error);
  // A warning is how Node.js tells of listeners that pile up.
  process.on('uncaughtException', onUncaught).on('unhandledRejection', onUncaught).on('warning', onUncaught);
  await turns(20);
  const before = openSockets();
  await fc.assert(
    fc.asyncProperty(fc.array(victim, { minLength: 5, maxLength: 15 }), async (victims) => {
      const application = await startApplication((socket) => socket.pipe(socket));
      // A tunnel that is reset in the middle of its first write is only given up at this deadline.
      const adjust: DataPlaneOptions['adjust'] = (settings) => ({
        ...settings,
        tunnels: { ...settings.tunnels, handshakeTimeoutMs: 500 },
      });
      const mesh = await startLoopbackMesh(application.port, { web: { adjust } });
      const ours = new Set(
        [mesh.web, mesh.api]
          .flatMap(({ addresses }) => [...addresses.declared, ...addresses.hbone])
          .map(({ port }) => port),
      );
      const isOurs = ({ localPort, remotePort }: Socket) =>
        [localPort, remotePort].some((port) => ours.has(port ?? 0) || port === application.port);
      const clients: Socket[] = [];
      for (const { turns: count, which, how } of victims) {
        for (let dialled = 0; dialled < 3; dialled += 1) {
          const client = mesh.dial();
          client.write(Buffer.alloc(which * 300));
          client.resume();
          clients.push(client);
        }
        await turns(count);
        const sockets = allSockets().filter(isOurs);
        const socket = sockets[which % Math.max(sockets.length, 1)];
        const tunnels = [...mesh.web.pool.tunnels()];
        if (how === 'tunnel') tunnels[which % Math.max(tunnels.length, 1)]?.destroy();
        else if (how === 'cut')
          mesh.wire.links[which % Math.max(mesh.wire.links.length, 1)]?.cut(cuts[which % cuts.length] as 'end and end');
        else if (how === 'end') socket?.end();
        else if (how === 'reset' && socket !== undefined) resetSocket(socket);
        else socket?.destroy(how === 'error' ? new Error('destroyed by the test') : undefined);
      }
      for (const client of clients) client.end();
      await mesh.web.drain.finish(100);
      await mesh.api.drain.finish(100);
      await until(() => mesh.places.inUse === 0 && mesh.web.drain.size === 0 && mesh.api.drain.size === 0);
      const count = (plane: typeof mesh.web, event: string) =>
        plane.observed.filter((seen) => seen.event === event).length;
      for (const plane of [mesh.web, mesh.api]) {
        expect(count(plane, 'connectionClosed')).toBe(count(plane, 'connectionOpened'));
        expect([...plane.accounts.live()]).toEqual([]);
      }
      mesh.stop();
      application.close();
      await until(() =>
        [mesh.web, mesh.api].every((plane) => count(plane, 'tunnelClosed') === count(plane, 'tunnelOpened')),
      );
    }),
    { numRuns: 25 },
  );
  await until(() => openSockets() <= before);
  process.off('uncaughtException', onUncaught).off('unhandledRejection', onUncaught).off('warning', onUncaught);
  expect(uncaught).toEqual([]);
});

/** Collects what is unreachable; vitest does not run with --expose-gc. */
function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}

/** Counts the TLS contexts that are made while `work` runs. */
async function contextsMade(work: () => Promise<void>): Promise<number> {
  const original = tls.createSecureContext;
  let made = 0;
  tls.createSecureContext = (options) => {
    made += 1;
    return original(options);
  };
  syncBuiltinESMExports();
  try {
    await work();
  } finally {
    tls.createSecureContext = original;
    syncBuiltinESMExports();
  }
  return made;
}

/** A mesh of an echo, and one whole exchange through it. */
async function echoMesh() {
  const application = await startApplication((socket) => socket.pipe(socket));
  const mesh = await startLoopbackMesh(application.port, {
    web: { identity: meshIdentity('web') },
    api: { identity: meshIdentity('api') },
  });
  const exchange = async () => {
    const client = mesh.dial();
    client.end('hello');
    expect((await readAll(client)).toString()).toBe('hello');
  };
  const stop = () => {
    mesh.stop();
    application.close();
  };
  return { mesh, exchange, stop };
}

it('X14: 200 tunnels of one identity share one TLS context at each end', async () => {
  const { mesh, exchange, stop } = await echoMesh();
  const made = await contextsMade(async () => {
    for (let count = 0; count < 200; count += 1) {
      await exchange();
      for (const tunnel of mesh.web.pool.tunnels()) tunnel.retire();
    }
  });
  expect(mesh.web.observed.filter(({ event }) => event === 'handshakeSucceeded')).toHaveLength(200);
  expect(made).toBe(2);
  stop();
});

it('X16: 300 rotations under traffic fail no request, and keep neither tunnels nor identities', async () => {
  const { mesh, exchange, stop } = await echoMesh();
  const rotations = 300;
  let released = 0;
  const registry = new FinalizationRegistry(() => {
    released += 1;
  });
  const rotate = (generation: number) => {
    mesh.web.identity = meshIdentity('web', generation);
    mesh.api.identity = meshIdentity('api', generation);
    registry.register(mesh.web.identity, undefined);
    registry.register(mesh.api.identity, undefined);
    mesh.web.pool.retireOthersThan(mesh.web.identity);
  };
  const running = mesh.dial();
  running.write('from the first to the last');
  const made = await contextsMade(async () => {
    for (let generation = 2; generation < 2 + rotations; generation += 1) {
      const exchanges = [exchange(), exchange(), exchange()];
      await turns(generation % 10);
      rotate(generation);
      await Promise.all(exchanges);
    }
  });
  expect(mesh.web.lines.filter(({ reason }) => reason !== 'eof')).toEqual([]);
  expect(made).toBeLessThanOrEqual(2 * (1 + rotations));
  await until(() => [...mesh.web.pool.tunnels()].length <= 2);
  // What is in use may stay, and what the last turns still hold.
  await until(() => {
    collectGarbage();
    return released >= 2 * rotations - 10;
  });
  running.end();
  expect((await readAll(running)).toString()).toBe('from the first to the last');
  stop();
});
