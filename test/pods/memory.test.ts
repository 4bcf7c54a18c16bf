import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ContainerMemory } from '../support/podman/container-memory.ts';
import { memoryOf } from '../support/podman/container-memory.ts';
import type { PodMesh } from '../support/podman/pod-mesh.ts';
import { services, startPodMesh, yamlFolder } from '../support/podman/pod-mesh.ts';
import { noPodmanBecause } from '../support/podman/podman.ts';

/*
 * Goal: the sidecar stays within the memory that `remora inject` gives it, and says how much that is.
 * Method: the kernel's own counters of the container of two sidecars, one on each side. Figures are printed.
 */
const mib = 1024 * 1024;
const transfer = String(64 * mib);
const sidecars = ['web-remora', 'api-remora'] as const;

describe.skipIf(noPodmanBecause !== undefined)(`the memory of a sidecar ${noPodmanBecause ?? ''}`, () => {
  let mesh: PodMesh;

  beforeAll(async () => {
    mesh = await startPodMesh();
    const { status, stdout, stderr } = await mesh.inject(readFileSync(join(yamlFolder, 'shop.yaml'), 'utf8'));
    expect(stderr).toBe('');
    expect(status).toBe(0);
    await mesh.start(stdout);
    await mesh.log('api-echo').line((line) => line === 'ready');
  }, 900_000);
  afterAll(() => mesh?.close());

  const client = (...args: readonly string[]) => mesh.ask('web-web', 'client', ...args);

  it('stays under its limit with 200 connections that are idle, 64 MiB each way and 1,000 short ones', async () => {
    const measured: [string, readonly ContainerMemory[]][] = [];
    const measure = async (when: string) => {
      measured.push([when, await Promise.all(sidecars.map((sidecar) => memoryOf(mesh.podman, sidecar)))]);
    };
    await measure('idle');
    const idle = mesh.run('web-web', 'client', 'idle', services.api.v4, '7001', '200');
    await idle.line((line) => line.includes('started'));
    await measure('and 200 idle connections');
    const [up, down, short] = await Promise.all([
      client('upload', services.api.v4, '7002', transfer),
      client('download', services.api.v6, '7003', transfer),
      client('short', services.api.v4, '7001', '1000'),
    ]);
    await measure('and 64 MiB each way, 1,000 short connections');
    idle.process.stdin?.end();
    expect(JSON.parse(await idle.line((line) => line.includes('open')))).toEqual({ open: 200 });
    expect(up).toEqual({ isEqual: true, ended: 'end' });
    expect(down).toEqual({ isEqual: true, bytes: 64 * mib });
    expect(short).toEqual({ right: 1000, failures: {} });
    for (const [when, both] of measured) for (const [at, one] of both.entries()) print(`${sidecars[at]}, ${when}`, one);
    for (const one of measured.at(-1)?.[1] ?? []) {
      expect(one).toMatchObject({ limit: 256 * mib, failures: 0, oomKills: 0 });
      expect(one.mostUsed).toBeLessThan(one.limit);
    }
  });
});

function print(what: string, { used, mostUsed, anonymous, pageCache, kernel, residentSet }: ContainerMemory): void {
  const shown = Object.entries({ used, mostUsed, anonymous, pageCache, kernel, residentSet });
  console.log(`${what}: ${shown.map(([name, bytes]) => `${name} ${(bytes / mib).toFixed(1)}`).join(', ')} MiB`);
}
