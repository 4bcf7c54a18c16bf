import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import type { Address } from '../../../src/addresses.ts';
import { captureProbe } from '../../../src/ports.ts';
import { createSlots } from '../../../src/proxy/slots.ts';
import type { RunningDataPlane } from '../../support/data-plane.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';
import { ending, readAll } from '../../support/sockets.ts';

/*
 * Goal: without descriptors every captured connection is refused with its reason, and the sidecar can still prove that it
 * captures. Method: the data plane in this process, with no place for an accepted socket, told what the kernel would say.
 */

const authority = createTestAuthority('cluster.local', { intermediates: 1 });
const identity = createTestIdentity(authority, { namespace: 'shop', serviceAccount: 'web' });
const anyPort = { ip: '127.0.0.1', port: 0 };

let plane: RunningDataPlane | undefined;
afterEach(() => plane?.stop());

async function captured(direction: 'inbound' | 'outbound', destination: Address): Promise<[Socket, RunningDataPlane]> {
  const running = await runDataPlane({
    identity,
    parts: { descriptors: createSlots(0), originalDestination: () => destination },
    adjust: (settings) => ({
      ...settings,
      listen: { ...settings.listen, [direction]: [anyPort] },
      outbound: { ...settings.outbound, probeAnswer: 'it is me' },
    }),
  });
  plane = running;
  return [connect(running.addresses[direction][0]?.port ?? 0, '127.0.0.1'), running];
}

it.each(['inbound', 'outbound'] as const)('resets a captured %s connection as descriptor_limit', async (direction) => {
  const [socket, { line, observed }] = await captured(direction, { ip: '192.0.2.7', port: 80 });
  expect(await ending(socket)).toBe('reset');
  expect(await line({ outcome: 'denied' })).toMatchObject({ direction, reason: 'descriptor_limit' });
  expect(observed).toEqual([{ event: 'connectionDenied', args: [direction, 'descriptor_limit'] }]);
});

it('answers the proof of capture without a place', async () => {
  const [socket, { observed }] = await captured('outbound', { ip: captureProbe.v4, port: captureProbe.port });
  expect((await readAll(socket)).toString()).toBe('it is me');
  expect(observed).toEqual([]);
});
