import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startPod } from '../support/podman/kubelet.ts';
import type { PodMesh } from '../support/podman/pod-mesh.ts';
import { services, startPodMesh, yamlFolder } from '../support/podman/pod-mesh.ts';
import { noPodmanBecause } from '../support/podman/podman.ts';

/*
 * Goal: pods with a sidecar start, stop and complete as Kubernetes does it, native and classic, and lose nothing.
 * Method: as in mesh.test.ts. The order of starts and stops is that of test/support/podman/kubelet.ts; signals, exit codes
 * and the hook's command are real.
 */
const text = (name: string) => readFileSync(join(yamlFolder, name), 'utf8');
const size = 32 * 1024 * 1024;

describe.skipIf(noPodmanBecause !== undefined)(`the life of real pods ${noPodmanBecause ?? ''}`, () => {
  let mesh: PodMesh;

  beforeAll(async () => {
    mesh = await startPodMesh();
    await mesh.start(await inject('shop.yaml'));
    await mesh.log('api-echo').line((line) => line === 'ready');
  }, 900_000);
  afterAll(() => mesh?.close());

  const inject = async (name: string) => {
    const { status, stdout, stderr } = await mesh.inject(text(name));
    if (status !== 0) throw new Error(stderr);
    return stdout;
  };
  /** A download of which the client has read the beginning, and reads the rest when it is told to. */
  const download = async (host: string) => {
    const running = mesh.run('web-web', 'client', 'slow', host, '7003', String(size));
    await running.line((line) => line.includes('started'));
    return {
      async finish() {
        running.process.stdin?.write('go on\n');
        return JSON.parse(await running.line((line) => line.includes('isEqual') || line.includes('failed')));
      },
    };
  };
  const said = (container: string, message: string) => mesh.log(container).line((line) => line.includes(message));
  /** Nanoseconds do not fit into a Date, and need not. */
  const stateOf = async (container: string, field: 'StartedAt' | 'FinishedAt') =>
    Date.parse((await mesh.podman.run('inspect', `--format={{json .State.${field}}}`, container)).replaceAll('"', ''));

  it('starts the application of a classic pod when the hook says that the sidecar is ready, and serves it at once', async () => {
    const controlPlane = 'remora-control-plane-control-plane';
    const [pod] = await mesh.create(await inject('old.yaml'));
    if (pod === undefined) throw new Error('there is no pod');
    await mesh.podman.run('pause', controlPlane);
    const started = startPod(mesh.podman, pod);
    await said('old-remora', '"Listening"');
    const answersAgainMs = Date.now();
    await mesh.podman.run('unpause', controlPlane);
    await started;
    expect(JSON.parse(await said('old-app', '"ended"'))).toEqual({ text: 'hello', ended: 'end' });
    const readyMs = Date.parse(String((await mesh.logged('old-remora', '"Ready"')).time));
    expect(readyMs).toBeGreaterThanOrEqual(answersAgainMs);
    expect(await stateOf('old-app', 'StartedAt')).toBeGreaterThanOrEqual(readyMs);
    await said('old-app', 'ready');
  });

  it('ends a transfer whole when all containers of a classic pod are told to stop at the same time', async () => {
    const transfer = await download(services.old.v4);
    const stopped = mesh.stop('old', 60);
    await said('old-remora', '"Stopping"');
    await said('old-app', 'stopping');
    expect(await transfer.finish()).toEqual({ isEqual: true, bytes: size });
    expect(await stopped).toEqual({ 'old-remora-init': 0, 'old-remora': 0, 'old-app': 0 });
    expect(await mesh.logged('old-remora', '"Stopped"')).toMatchObject({ forced: 0 });
  });

  it('ends a transfer whole when a pod with a native sidecar stops: the application, then the sidecar', async () => {
    const transfer = await download(services.api.v6);
    const stopped = mesh.stop('api', 60);
    await said('api-echo', 'stopping');
    expect(mesh.log('api-remora').lines.join()).not.toContain('"Stopping"');
    expect(await transfer.finish()).toEqual({ isEqual: true, bytes: size });
    expect(await stopped).toEqual({ 'api-remora-init': 0, 'api-remora': 0, 'api-api': 0, 'api-echo': 0 });
    expect(await mesh.logged('api-remora', '"Stopped"')).toMatchObject({ forced: 0 });
    const { time } = await mesh.logged('api-remora', '"Stopping"');
    expect(Date.parse(String(time))).toBeGreaterThanOrEqual(await stateOf('api-echo', 'FinishedAt'));
  });

  it('completes a Job: its application ends with 0, then the sidecar is told to stop, and ends with 0', async () => {
    await mesh.podman.run('start', 'api-remora', 'api-echo');
    await mesh.podman.run('exec', 'api-remora', 'remora', 'wait');
    await mesh.start(await inject('report.yaml'));
    expect(await mesh.podman.run('wait', 'report-report')).toBe('0');
    expect(JSON.parse(await said('report-report', '"ended"'))).toEqual({ text: 'hello', ended: 'end' });
    expect(await mesh.stop('report', 30)).toEqual({ 'report-remora-init': 0, 'report-remora': 0, 'report-report': 0 });
  });

  it('refuses a Job in classic mode, in which it would never complete', async () => {
    expect(await mesh.inject(text('report.yaml'), '--sidecar-mode=classic')).toEqual({
      status: 1,
      stdout: '',
      stderr: expect.stringMatching(/^remora: Job shop\/report: .* classic sidecar, expected sidecarMode native .*\n$/),
    });
  });
});
