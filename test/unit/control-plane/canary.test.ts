import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { createServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { CanaryDial } from '../../../src/control-api.ts';
import { canaryDialLimits, createCanaryDialler, dialCanary } from '../../../src/control-plane/canary.ts';
import type { Workload } from '../../../src/control-plane/token-review.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { objectsOf, pod } from '../../support/registry-yaml.ts';

const web: Workload = { namespace: 'shop', serviceAccount: 'web', pod: 'web-0', podUid: 'uid-1', expiresAtMs: 0 };
const fromPod = (podUid: string): Workload => ({ ...web, podUid });

describe('the control plane dials', () => {
  const dialled = async (documents: readonly string[], workload = web) => {
    const addresses: string[] = [];
    const dialler = createCanaryDialler({
      clock: createFakeClock(),
      store: { current: () => objectsOf(...documents) },
      dial: async (_, { ip, port }) => {
        addresses.push(`${ip} ${port}`);
        return { address: ip, outcome: 'timeout' };
      },
    });
    await dialler.dial(workload);
    return addresses;
  };

  it('each address that the registry has of the calling pod, once, on the canary port', async () => {
    const document = pod({ name: 'web-0', ip: '10.0.0.1', status: 'podIPs: [{ip: 10.0.0.1}, {ip: "fd00:0::1"}]' });
    expect(await dialled([document])).toEqual(['10.0.0.1 15002', 'fd00::1 15002']);
  });

  it.each<[string, string]>([
    ['a pod of another namespace', pod({ name: 'web-0', ip: '10.0.0.1', namespace: 'elsewhere' })],
    ['another pod', pod({ name: 'web-1', ip: '10.0.0.1' })],
    ['an earlier pod of its name', pod({ name: 'web-0', ip: '10.0.0.1', metadata: 'uid: uid-0' })],
    ['a pod on the network of its node', pod({ name: 'web-0', ip: '10.0.0.1', spec: 'hostNetwork: true' })],
    ['a loopback address', pod({ name: 'web-0', ip: '127.0.0.1' })],
    ['a link-local address', pod({ name: 'web-0', ip: '169.254.169.254' })],
  ])('never %s', async (_, document) => {
    expect(await dialled([document])).toEqual([]);
  });

  it('so many addresses of a pod and no more', async () => {
    const ips = Array.from({ length: 20 }, (_, i) => `{ip: 10.0.1.${i}}`).join(', ');
    expect(await dialled([pod({ name: 'web-0', ip: '10.0.0.1', status: `podIPs: [${ips}]` })])).toHaveLength(
      canaryDialLimits.addresses,
    );
  });
});

describe('a pod that asks', () => {
  const scene = () => {
    const clock = createFakeClock();
    const held: ((dial: CanaryDial) => void)[] = [];
    const dialler = createCanaryDialler({
      clock,
      store: { current: () => objectsOf(pod({ name: 'web-0', ip: '10.0.0.1' })) },
      dial: () => new Promise((resolve) => held.push(resolve)),
    });
    const answer = () => {
      for (const resolve of held.splice(0)) resolve({ address: '10.0.0.1:15002', outcome: 'timeout' });
    };
    return { clock, dial: dialler.dial, answer };
  };

  it('again too soon is refused, and heard again later', async () => {
    const { clock, dial, answer } = scene();
    const first = dial(web);
    answer();
    await first;
    await clock.advance(canaryDialLimits.perPodMs - 1);
    await expect(dial(web)).rejects.toMatchObject({ reason: 'too_many_requests' });
    await clock.advance(1);
    const second = dial(web);
    answer();
    expect(await second).toEqual({ dials: [{ address: '10.0.0.1:15002', outcome: 'timeout' }] });
  });

  it('beside as many others as may is refused, until one of them has its answer', async () => {
    const { dial, answer } = scene();
    const running = Array.from({ length: canaryDialLimits.calls }, (_, i) => dial(fromPod(`uid-${i}`)));
    await expect(dial(fromPod('one-more'))).rejects.toMatchObject({ reason: 'too_many_requests' });
    answer();
    await Promise.all(running);
    const next = dial(fromPod('one-more'));
    answer();
    await next;
  });

  it('among more pods than are remembered is refused, until the first of them are forgotten', async () => {
    const clock = createFakeClock();
    const dialler = createCanaryDialler({ clock, store: { current: () => objectsOf() } });
    for (let i = 0; i < canaryDialLimits.pods; i += 1) await dialler.dial(fromPod(`uid-${i}`));
    await expect(dialler.dial(web)).rejects.toMatchObject({ reason: 'too_many_requests' });
    await clock.advance(canaryDialLimits.perPodMs);
    expect(await dialler.dial(web)).toEqual({ dials: [] });
  });
});

describe('one dial', () => {
  const closing: (() => void)[] = [];
  const closeAll = () => {
    for (const close of closing.splice(0)) close();
  };
  afterEach(closeAll);

  async function listener(accept: (socket: Socket) => void) {
    const server = createServer((socket) => accept(socket.on('error', () => undefined)));
    await once(server.listen(0, '127.0.0.1'), 'listening');
    closing.push(() => server.close());
    return { ip: '127.0.0.1', port: (server.address() as AddressInfo).port };
  }
  const clock = createFakeClock();
  const secret = '0123456789abcdef0123456789abcdef';

  it('brings the answer of a sidecar, whatever pieces it comes in', async () => {
    const address = await listener((socket) => {
      socket.write(secret.slice(0, 10));
      setImmediate(() => socket.end(secret.slice(10)));
    });
    expect(await dialCanary(clock, address)).toMatchObject({ outcome: 'answered', answer: secret });
  });

  it.each(['220 mail.example ready\r\n', secret.toUpperCase(), `${secret}0`, `"}],"dials":[`])(
    'says of another answer only that it was another one: %j',
    async (text) => {
      const reply = await dialCanary(clock, await listener((socket) => socket.end(text)));
      expect(reply).toEqual({ address: expect.any(String), outcome: 'answered' });
    },
  );

  it('reads no more than a few bytes of whoever goes on talking', async () => {
    const address = await listener((socket) => {
      socket.write('x'.repeat(1_000_000));
    });
    expect(await dialCanary(clock, address)).toMatchObject({ outcome: 'answered' });
  });

  it('tells a close and a reset without a word from an answer', async () => {
    expect(await dialCanary(clock, await listener((socket) => socket.end()))).toMatchObject({ outcome: 'closed' });
    const resetting = await listener((socket) => socket.resetAndDestroy());
    expect(await dialCanary(clock, resetting)).toMatchObject({ outcome: 'closed' });
  });

  it('tells a refusal', async () => {
    const address = await listener(() => undefined);
    closeAll();
    expect(await dialCanary(clock, address)).toMatchObject({ outcome: 'refused' });
  });

  it('ends at its deadline with whoever says nothing', async () => {
    const waiting = createFakeClock();
    const accepted = Promise.withResolvers<Socket>();
    const dial = dialCanary(waiting, await listener(accepted.resolve));
    const socket = await accepted.promise;
    const closed = once(socket.resume(), 'close');
    await waiting.advance(canaryDialLimits.dialMs);
    expect(await dial).toMatchObject({ outcome: 'timeout' });
    await closed;
  });
});
