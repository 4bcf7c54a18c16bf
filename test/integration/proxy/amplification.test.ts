import { once } from 'node:events';
import { connect } from 'node:net';
import * as tls from 'node:tls';
import { afterEach, expect, it } from 'vitest';
import type { RunningDataPlane } from '../../support/data-plane.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';

/*
 * Goal: whoever proves nothing gets little for what it sends. Method: the data plane in this process, a stranger, and the
 * bytes of its socket. What it costs in CPU is for bench/asymmetry.ts.
 */

const authority = createTestAuthority('cluster.local', { intermediates: 2 });

let plane: RunningDataPlane;
afterEach(() => plane.stop());

it('X12: a stranger without a certificate gets at most four times the bytes that it sends', async () => {
  plane = await runDataPlane({
    identity: createTestIdentity(authority, { namespace: 'shop', serviceAccount: 'api' }),
    deliveries: [{ ip: '127.0.0.1', port: 9 }],
  });
  const socket = connect({ host: '127.0.0.1', port: plane.addresses.hbone[0]?.port ?? 0 });
  socket.on('error', () => undefined);
  tls.connect({ socket, ALPNProtocols: ['h2'], rejectUnauthorized: false }).on('error', () => undefined);
  await once(socket, 'close');
  expect(await plane.line({ outcome: 'handshake' })).toMatchObject({ reason: 'no_client_cert' });
  expect(socket.bytesRead).toBeGreaterThan(1000);
  expect(socket.bytesRead).toBeLessThan(4 * socket.bytesWritten);
});
