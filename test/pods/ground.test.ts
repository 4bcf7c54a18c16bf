import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { imageOfThisCheckout } from '../support/podman/image-store.ts';
import type { Podman } from '../support/podman/podman.ts';
import { noPodmanBecause, startPodman } from '../support/podman/podman.ts';

/*
 * Goal: the image runs in a real pod with no more rights than the manifests give. Method: `podman kube play` with an init
 * container that writes the rules, the sidecar's program, and an application, all from the image of this checkout.
 */

describe.skipIf(noPodmanBecause !== undefined)('A pod of the image', () => {
  let podman: Podman;

  beforeAll(async () => {
    const image = await imageOfThisCheckout();
    podman = startPodman();
    await podman.play(pod(image));
  }, 600_000);

  afterAll(() => podman?.close());

  it('has its rules written by an init container with NET_ADMIN alone', async () => {
    const rules = await podman.run(
      'exec',
      '--user=0',
      '--privileged',
      'ground-app',
      'nft',
      'list',
      'table',
      'inet',
      'remora',
    );
    expect(rules).toContain('redirect to :15001');
    expect(rules).toContain('redirect to :15006');
  });

  it('has an IPv4 and an IPv6 address of its own', async () => {
    expect(await podman.addressesOf('ground')).toEqual([
      expect.stringMatching(/^10\.199\.0\.\d+$/),
      expect.stringMatching(/^fd00:199::/),
    ]);
  });

  it('K10: runs the sidecar as 1337, with no capability, nothing to write to, and a limit on its memory', async () => {
    const status = await podman.run('exec', 'ground-remora', 'cat', '/proc/1/status');
    expect(status).toMatch(/^Uid:\t1337\t1337\t1337\t1337$/m);
    expect(status).toMatch(/^Gid:\t1337\t1337\t1337\t1337$/m);
    expect(status).toMatch(/^CapBnd:\t0+$/m);
    expect(status).toMatch(/^CapEff:\t0+$/m);
    expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    expect(status).toMatch(/^Seccomp:\t2$/m);
    const write = await podman.try('exec', '--user=0', 'ground-remora', 'touch', '/opt/remora/x');
    expect(write.stderr).toContain('Read-only file system');
    expect(await podman.run('inspect', '--format={{.HostConfig.Memory}}', 'ground-remora')).toBe('134217728');
  });

  it('has its rules written with nft and ip as the only programs', async () => {
    const link = 'mkdir /only && for tool in env node nft ip; do ln -s "$(command -v "$tool")" /only/; done';
    const init = 'export PATH=/only; /usr/local/bin/remora init --cleanup && /usr/local/bin/remora init';
    const said = await podman.run('exec', '--user=0', '--privileged', 'ground-app', 'sh', '-c', `${link} && ${init}`);
    expect(said).toContain('Removed the redirect rules');
    expect(said).toContain('Applied the redirect rules');
    expect(said).toContain('proved for outbound IPv4 and IPv6');
  });

  it('K11: runs the program without a writable folder', async () => {
    expect(await podman.run('exec', 'ground-remora', 'remora', 'agent', '--help')).toMatch(/^Usage: remora agent/);
  });

  it('keeps tools to write rules out of reach of the sidecar, which has no right to', async () => {
    const { status, stderr } = await podman.try('exec', 'ground-remora', 'remora', 'init');
    expect(status).toBe(77);
    expect(stderr).toContain('expected the capability NET_ADMIN');
  });
});

/** A pod as the injector writes it, with a program that stays instead of the sidecar, which would look for its control plane. */
function pod(image: string): string {
  const stays = ['node', '-e', 'process.on("SIGTERM", () => process.exit()); setInterval(() => {}, 1e6)'];
  const restricted = { readOnlyRootFilesystem: true, allowPrivilegeEscalation: false };
  const container = { image, imagePullPolicy: 'Never' };
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'ground' },
    spec: {
      // podman 4.3 starts an init container again for as long as the pod's policy says so, whatever its exit code.
      restartPolicy: 'Never',
      initContainers: [
        {
          ...container,
          name: 'remora-init',
          args: ['init'],
          securityContext: {
            ...restricted,
            runAsUser: 0,
            runAsGroup: 0,
            capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] },
          },
        },
      ],
      containers: [
        {
          ...container,
          name: 'remora',
          command: stays,
          securityContext: { ...restricted, runAsUser: 1337, runAsGroup: 1337, capabilities: { drop: ['ALL'] } },
          resources: { limits: { memory: '128Mi' } },
        },
        { ...container, name: 'app', command: stays, securityContext: { runAsUser: 1000, runAsGroup: 1000 } },
      ],
    },
  });
}
