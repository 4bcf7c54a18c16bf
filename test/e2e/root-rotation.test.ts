import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { RotationStatus, StepReply } from '../../src/control-plane/rotation-status.ts';
import type { Mesh } from '../support/mesh.ts';
import { startMesh } from '../support/mesh.ts';
import { noPodsBecause } from '../support/pods.ts';

/*
 * Goal: the root of a mesh is replaced under load, and no request is lost.
 * Method: the real control plane, two real sidecars with certificates that live for 20 seconds, a load that never tries
 * anything again and a connection that is older than every certificate. An operator takes each step with the real command,
 * first too early and then when it is allowed.
 */
const lifetime = '20s';
const service = { name: 'api', v4: '10.96.0.10', v6: 'fd96::10', ports: [8080, 7001] };
const pods = {
  web: { v4: '10.77.0.11', v6: 'fd77::11', isMeshed: true },
  api: { v4: '10.77.0.12', v6: 'fd77::12', isMeshed: true },
} as const;
type Name = keyof typeof pods;

describe.skipIf(noPodsBecause !== undefined)(`a rotation of the root under load ${noPodsBecause ?? ''}`, () => {
  let mesh: Mesh<Name> | undefined;
  afterEach(() => mesh?.close());

  it('B7: adds, switches and removes, each when nobody needs the old root for it, and loses nothing', async () => {
    mesh = await startMesh<Name>({ pods, services: [{ ...service, pods: ['api'] }], certificateLifetime: lifetime });
    const run = createRun(mesh);
    const load = await run.startLoad();
    const long = await run.startLong();
    const [old = ''] = (await run.status()).roots.map(({ fingerprint }) => fingerprint);

    expect(await run.step('switch')).toMatchObject({ status: 1, reply: { kind: 'impossible' } });
    expect(await run.step('add', '--wait', '2m')).toMatchObject({ status: 0, reply: { kind: 'done' } });
    expect(await run.step('remove')).toMatchObject({ status: 1, reply: { kind: 'impossible' } });
    expect(await run.step('switch', '--wait', '2m')).toMatchObject({ status: 0, reply: { obstacles: [] } });

    const early = await run.step('remove');
    expect([early.status, early.reply.kind]).toEqual([1, 'refused']);
    expect(early.reply.obstacles.map(({ why }) => why)).toContainEqual(
      expect.stringContaining('a certificate under it'),
    );
    await long.echo('before');
    await run.onlyPeersRemember();
    const late = await run.step('remove');
    expect(late.reply.obstacles.map(({ who }) => who).sort()).toEqual(['shop/api', 'shop/web']);

    // Peers of the last hour were under it. They have other certificates now, and none of theirs has not ended.
    expect(await run.step('remove', '--force')).toMatchObject({ status: 0, reply: { kind: 'done' } });
    const { roots } = await run.status();
    expect(roots).toMatchObject([{ role: 'issuing', fingerprint: expect.not.stringContaining(old) }]);
    expect((await readFile(join(mesh.folder, 'root.pem'), 'utf8')).match(/BEGIN/g)).toHaveLength(1);
    // Both have the bundle of after it, and have got certificates by it over a channel that trusts the new root alone.
    await run.renewed('web', roots[0]?.fingerprint ?? '');
    await run.renewed('api', roots[0]?.fingerprint ?? '');
    await long.echo('after');
    const { sent, lost } = await load.finish();
    expect(lost).toEqual([]);
    expect(sent).toBeGreaterThan(100);
  }, 300_000);
});

function createRun({ pods: { web, api, control }, controlPlane, folder }: Mesh<Name>) {
  const rotate = async (...args: string[]) => {
    const stateDir = join(folder, 'state');
    const line = ['control-plane', 'rotate-root', ...args, '--json', '--state-dir', stateDir];
    const { status, stdout, stderr } = await control.remora(line, { uid: 0 });
    if (stdout === '') throw new Error(`rotate-root ${args.join(' ')} printed nothing: ${stderr}`);
    return { status, printed: JSON.parse(stdout) as unknown };
  };
  const status = async () => (await rotate('status')).printed as RotationStatus;

  return {
    status,
    async step(step: string, ...args: string[]) {
      const { status: code, printed } = await rotate(step, ...args);
      return { status: code, reply: printed as StepReply };
    },
    /** Resolves when nothing else is in the way of the removal than peers that were there within the last hour. */
    async onlyPeersRemember() {
      const others = async () =>
        (await status()).next.obstacles.filter(({ why }) => !/^reports \d+ peers? under it$/.test(why));
      await expect.poll(others, { timeout: 120_000, interval: 1_000 }).toEqual([]);
    },
    /** Resolves when a pod gets a certificate under this root from now on. */
    async renewed(pod: Name, root: string) {
      const known = controlPlane.lines.length;
      await controlPlane.line(
        (line) =>
          controlPlane.lines.indexOf(line) >= known &&
          [`"pod":"shop/${pod}"`, `"root":"${root}"`, '"Certificate issued"'].every((part) => line.includes(part)),
      );
    },
    async startLoad() {
      const server = api.start('test/support/pod-programs/rolling-server.ts', ['api', pods.api.v4]);
      await server.line((line) => line === 'ready');
      const load = web.start('test/support/pod-programs/rolling-client.ts', [`${service.v4}:8080`]);
      await load.line(Boolean);
      return {
        async finish() {
          load.process.kill('SIGTERM');
          return JSON.parse(await load.line((line) => line.includes('"lost"'))) as { sent: number; lost: string[] };
        },
      };
    },
    /** A connection that echoes lines, and is idle in between. */
    async startLong() {
      const server = api.start('test/support/pod-programs/server.ts', ['0.0.0.0', '::']);
      await server.line((line) => line === 'ready');
      const client = web.start('test/support/pod-programs/client.ts', ['long', service.v4, '7001']);
      const echo = async (text: string) => {
        client.process.stdin?.write(`${text}\n`);
        await client.line((line) => line.includes(text));
      };
      await echo('first');
      return { echo };
    },
  };
}
