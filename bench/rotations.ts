import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Sample } from '../soak/slope.ts';
import { lastHalf, slopePerMinute } from '../soak/slope.ts';
import { runDataPlane } from '../test/support/data-plane.ts';
import { apiId, meshIdentity } from '../test/support/loopback-mesh.ts';
import { readAll } from '../test/support/sockets.ts';

/*
 * Whether rotations and handshakes with an intermediate leave memory behind: two data planes in this process rotate, and
 * after each rotation a connection makes a new tunnel. What is left after a collection of garbage is shown for each step;
 * the slope is that of the second half.
 *
 *   node bench/rotations.ts [rotations, 1000] [steps, 20]
 */

const rotations = Number(process.argv[2] ?? 1000);
const steps = Number(process.argv[3] ?? 20);
const kibibyte = 1024;

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const application = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
await once(application.listen(0, '127.0.0.1'), 'listening');
const target = { ip: '127.0.0.1', port: (application.address() as AddressInfo).port };
const api = await runDataPlane({ identity: meshIdentity('api'), deliveries: [target] });
const web = await runDataPlane({
  identity: meshIdentity('web'),
  declared: [{ target, peer: apiId }],
  hbonePort: api.addresses.hbone[0]?.port ?? 0,
});

async function rotate(generation: number): Promise<void> {
  for (const [name, sidecar] of [
    ['web', web],
    ['api', api],
  ] as const) {
    sidecar.identity = meshIdentity(name, generation);
    sidecar.identityChanged(sidecar.identity);
  }
  const client = connect({ host: '127.0.0.1', port: web.addresses.declared[0]?.port ?? 0, allowHalfOpen: true });
  client.end('hello');
  await readAll(client);
}

/** What the test of it keeps by itself is dropped: only what the data planes hold is to be seen. */
function forget(): void {
  for (const { observed, lines } of [web, api]) {
    observed.length = 0;
    lines.length = 0;
  }
}

const resident: Sample[] = [];
const heap: Sample[] = [];
let generation = 1;
for (let step = 1; step <= steps; step += 1) {
  for (let count = 0; count < rotations / steps; count += 1) await rotate(++generation);
  forget();
  // Sockets that end need a turn before they can be collected, and what hung on them another one.
  for (let turn = 0; turn < 5; turn += 1) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    collectGarbage();
  }
  const { rss, heapUsed } = process.memoryUsage();
  // A rotation takes the place of a minute.
  resident.push({ atMs: generation * 60_000, value: rss });
  heap.push({ atMs: generation * 60_000, value: heapUsed });
  const tunnels = [...web.pool.tunnels()].length;
  console.log(`${generation - 1} rotations: rss ${kib(rss)} KiB, heap ${kib(heapUsed)} KiB, tunnels ${tunnels}`);
}
const slope = (samples: readonly Sample[]) => `${Math.round(slopePerMinute(lastHalf(samples)))} bytes`;
console.log(`each rotation of both sides, with a handshake, left: rss ${slope(resident)}, heap ${slope(heap)}`);
web.stop();
api.stop();
application.close();

function kib(bytes: number): number {
  return Math.round(bytes / kibibyte);
}
