import { EventEmitter } from 'node:events';
import type { Http2Session } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import { expect, it } from 'vitest';
import { unsentBytes } from '../../../src/libc.ts';
import { closeSession } from '../../../src/proxy/transport/hbone/end-session.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { until } from '../../support/loopback-mesh.ts';
import { socketPair } from '../../support/sockets.ts';

it('N25: a tunnel that is closed is not ended while its peer takes bytes, and is when it takes none', async () => {
  const clock = createFakeClock();
  const [near, far] = await socketPair(true);
  const session = Object.assign(new EventEmitter(), { closed: true, destroy: () => undefined });
  try {
    far.pause();
    near.write(Buffer.alloc(1024 * 1024));
    closeSession(session as unknown as Http2Session, near as TLSSocket, clock);
    for (let looks = 0; looks < 2; looks += 1) {
      const before = unsentBytes(near);
      far.resume();
      await until(() => unsentBytes(near) !== before);
      far.pause();
      await clock.advance(5000);
      expect(near.destroyed).toBe(false);
    }
    await clock.advance(10_000);
    expect(near.destroyed).toBe(true);
  } finally {
    near.destroy();
    far.destroy();
  }
});
