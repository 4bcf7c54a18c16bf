import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { maxWorkloads, parseJson, paths, problem, workloadsReply } from '../../../src/control-api.ts';
import type { ControlPlane } from '../../../src/control-plane/control-plane.ts';
import { controlPlaneDefaults, startControlPlane } from '../../../src/control-plane/control-plane.ts';
import type { RegistryObjects } from '../../../src/control-plane/store/objects.ts';
import { captureLog } from '../../support/captured-log.ts';
import { call, webPod } from '../../support/control-plane-client.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { objectsOf, plain, pod } from '../../support/registry-yaml.ts';

const anyPort = { ip: '127.0.0.1', port: 0 };
const settings = { ...controlPlaneDefaults, listen: anyPort, metricsListen: anyPort, clusterName: 'east' };
const first = objectsOf(pod({ name: 'p', ip: '10.0.0.1' }), plain());
let store: { objects: RegistryObjects; changed(): void };
let plane: ControlPlane;
beforeEach(async () => {
  store = { objects: first, changed: () => undefined };
  plane = await startControlPlane(
    {
      clock: createFakeClock(),
      log: captureLog().log,
      store: {
        current: () => store.objects,
        subscribe(listener) {
          const others = store.changed;
          store.changed = () => {
            others();
            listener(store.objects);
          };
          return () => undefined;
        },
        close: async () => undefined,
      },
    },
    settings,
  );
});
afterEach(() => plane.close());

const ask = async (addresses: readonly string[]) =>
  call(plane, paths.workloads, { token: await plane.mintToken(webPod), body: { addresses } });
const workloads = async (...addresses: string[]) => parseJson(workloadsReply, (await ask(addresses)).text).workloads;

describe('POST /v1/workloads', () => {
  it('names the pods at the addresses, and leaves out what is none', async () => {
    expect(await workloads('10.0.0.1', '10.0.0.2', '::ffff:10.0.0.1')).toMatchObject([
      {
        address: '10.0.0.1',
        name: 'p',
        namespace: 'shop',
        cluster: 'east',
        services: [{ port: 8080, service: 'web.shop' }],
      },
      { address: '::ffff:10.0.0.1', name: 'p' },
    ]);
  });

  it('answers from the registry of now', async () => {
    store.objects = objectsOf(pod({ name: 'q', ip: '10.0.0.1', labels: 'app: other' }), plain());
    store.changed();
    expect(await workloads('10.0.0.1')).toMatchObject([{ name: 'q', app: 'other', services: [] }]);
  });

  it('takes no more addresses than fit into a reply, and no request without a token', async () => {
    expect((await ask(Array(maxWorkloads).fill('10.0.0.1'))).status).toBe(200);
    expect((await ask(Array(maxWorkloads + 1).fill('10.0.0.1'))).status).toBe(400);
    const refused = await call(plane, paths.workloads, { body: { addresses: [] } });
    expect(parseJson(problem, refused.text)).toMatchObject({ status: 401, reason: 'token_missing' });
  });
});
