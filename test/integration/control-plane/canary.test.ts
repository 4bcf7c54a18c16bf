import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createControlClient } from '../../../src/agent/control-client.ts';
import { canaryReply, parseJson, paths } from '../../../src/control-api.ts';
import type { ControlPlane } from '../../../src/control-plane/control-plane.ts';
import { controlPlaneDefaults, startControlPlane } from '../../../src/control-plane/control-plane.ts';
import { fixedStore } from '../../../src/control-plane/store/store.ts';
import { captureLog } from '../../support/captured-log.ts';
import { call, webPod } from '../../support/control-plane-client.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { json, startFakeControlPlane } from '../../support/fake-control-plane.ts';
import { objectsOf, pod } from '../../support/registry-yaml.ts';

/*
 * Goal: a pod has its own canary port dialled, and nobody has another one dialled. Method: the real API, with a registry
 * that has an address where nobody is (RFC 5737).
 */

const anyPort = { ip: '127.0.0.1', port: 0 };
let plane: ControlPlane;
beforeEach(async () => {
  const store = fixedStore(objectsOf(pod({ name: 'web-0', ip: '127.0.0.1' })));
  const settings = { ...controlPlaneDefaults, listen: anyPort, metricsListen: anyPort };
  plane = await startControlPlane({ clock: createFakeClock(), log: captureLog().log, store }, settings);
});
afterEach(() => plane.close());

describe('POST /v1/canary', () => {
  it('dials no address that a body names, and none that is not a pod address', async () => {
    const body = { address: '10.0.0.9:15002', dials: [{ address: '10.0.0.9:15002' }] };
    const reply = await call(plane, paths.canary, { token: await plane.mintToken(webPod), body });
    expect(reply.status).toBe(200);
    expect(parseJson(canaryReply, reply.text)).toEqual({ dials: [] });
  });

  it('answers a pod that asks again at once with 429', async () => {
    const token = await plane.mintToken(webPod);
    expect((await call(plane, paths.canary, { token, body: {} })).status).toBe(200);
    const refused = await call(plane, paths.canary, { token, body: {} });
    expect(refused.status).toBe(429);
    expect(refused.headers['retry-after']).toBe('5');
    expect(refused.json).toMatchObject({ reason: 'too_many_requests' });
    const other = await plane.mintToken({ ...webPod, pod: 'web-1' });
    expect((await call(plane, paths.canary, { token: other, body: {} })).status).toBe(200);
  });

  it('is for callers with a token', async () => {
    expect((await call(plane, paths.canary, { body: {} })).status).toBe(401);
  });
});

describe('what a sidecar is answered', () => {
  const asked = async (answer: ReturnType<typeof json>) => {
    const fake = await startFakeControlPlane({ answer });
    const folder = await mkdtemp(join(tmpdir(), 'remora-test-'));
    const files = { token: `${folder}/token`, ca: `${folder}/ca.pem` };
    await writeFile(files.token, 'token');
    await writeFile(files.ca, fake.caPem);
    const client = createControlClient(createFakeClock(), {
      url: fake.url,
      caFile: files.ca,
      serverName: undefined,
      tokenFile: files.token,
      timeoutMs: 10_000,
      connectTimeoutMs: 5000,
    });
    try {
      return await client.canary();
    } finally {
      await client.close();
      await fake.close();
      await rm(folder, { recursive: true });
    }
  };
  const dial = { address: '10.0.0.7:15002', outcome: 'answered', answer: 'a'.repeat(32) };

  it('is each dial', async () => {
    expect(await asked(json({ dials: [dial] }))).toEqual({ dials: [dial] });
  });

  it.each([
    ['an outcome that it does not know', { dials: [{ ...dial, outcome: 'maybe' }] }],
    ['an answer that is too long', { dials: [{ ...dial, answer: 'a'.repeat(65) }] }],
    ['more dials than a pod has addresses', { dials: Array.from({ length: 17 }, () => dial) }],
  ])('is refused with %s', async (_, reply) => {
    await expect(asked(json(reply))).rejects.toMatchObject({ reason: 'bad_json' });
  });

  it('is a failure of an older control plane, which does not know the call', async () => {
    const problem = { title: 'There is nothing at this path', status: 404, reason: 'not_found' };
    await expect(asked(json(problem, 404))).rejects.toThrow(/404|not_found/);
  });
});
