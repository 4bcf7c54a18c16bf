import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { Address } from '../../../src/addresses.ts';
import { captureProbe } from '../../../src/ports.ts';
import { createSlots } from '../../../src/proxy/slots.ts';
import type { RunningDataPlane } from '../../support/data-plane.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';
import { ending, readAll } from '../../support/sockets.ts';

/*
 * Goal: whoever dials the canary port from outside hears the secret of the round and nothing else, and costs nothing; the
 * audit is told of the sockets that are captured now. Method: the data plane in this process, told what the kernel would say.
 */

const identity = createTestIdentity(createTestAuthority('cluster.local'), { namespace: 'shop', serviceAccount: 'web' });
const anyPort = { ip: '127.0.0.1', port: 0 };

let plane: RunningDataPlane | undefined;
afterEach(() => plane?.stop());

async function run(direction: 'inbound' | 'outbound', destination: Address, canaryAnswer?: () => string | undefined) {
  plane = await runDataPlane({
    identity,
    parts: {
      descriptors: createSlots(direction === 'inbound' ? 0 : 10),
      originalDestination: () => destination,
      registry: { lookup: () => new Promise(() => undefined) },
      ...(canaryAnswer && { canaryAnswer }),
    },
    adjust: (settings) => ({
      ...settings,
      listen: { ...settings.listen, [direction]: [anyPort] },
      outbound: { ...settings.outbound, meshNetworks: { has: () => true } },
    }),
  });
  const dial = () => connect(plane?.addresses[direction][0]?.port ?? 0, '127.0.0.1');
  return { plane, dial };
}

describe('a dial of the canary port', () => {
  const canary = { ip: '10.0.0.7', port: captureProbe.port };

  it('hears the answer of the round, and takes no place, no line and no count', async () => {
    const { dial, plane } = await run('inbound', canary, () => 'secret of the round');
    expect((await readAll(dial())).toString()).toBe('secret of the round');
    expect(plane.lines).toEqual([]);
    expect(plane.observed).toEqual([]);
  });

  it('is reset while nobody was asked to dial', async () => {
    for (const answer of [() => undefined, undefined]) {
      const { dial, plane } = await run('inbound', canary, answer);
      expect(await ending(dial())).toBe('reset');
      expect([plane.lines, plane.observed]).toEqual([[], []]);
      plane.stop();
    }
  });

  it('does not hear the answer at another port', async () => {
    const { dial, plane } = await run('inbound', { ip: '10.0.0.7', port: 80 }, () => 'secret of the round');
    expect(await ending(dial())).toBe('reset');
    expect(plane.observed).toEqual([{ event: 'connectionDenied', args: ['inbound', 'descriptor_limit'] }]);
  });
});

it('says which captured connections are open, and where they were going', async () => {
  const { dial, plane } = await run('outbound', { ip: '10.0.0.9', port: 80 });
  const open = () => [...plane.captured()].map(({ peer, destination }) => ({ peer, destination: destination() }));
  expect(open()).toEqual([]);
  const socket = dial().on('error', () => undefined);
  await once(socket, 'connect');
  await expect
    .poll(open)
    .toEqual([{ peer: { ip: '127.0.0.1', port: socket.localPort }, destination: { ip: '10.0.0.9', port: 80 } }]);
  // Cuts what it has not answered yet.
  plane.stop();
  await expect.poll(open).toEqual([]);
});
