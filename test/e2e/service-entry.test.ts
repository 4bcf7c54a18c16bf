import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Mesh } from '../support/mesh.ts';
import { registryText, startMesh } from '../support/mesh.ts';
import type { RunningProgram } from '../support/pods.ts';
import { noPodsBecause } from '../support/pods.ts';

/*
 * Goal: outside the mesh networks a pod that is kept to the registry reaches what a ServiceEntry registers and nothing else, and what
 * an entry says to be in the mesh is never sent in clear, also by a pod that may reach anything.
 * Method: two pods and a control plane in network namespaces, and a third host that no registry knows; entries are written and removed.
 */
const pods = {
  kept: { v4: '10.77.0.11', v6: 'fd77::11', isMeshed: true, agent: ['--outbound-policy', 'REGISTRY_ONLY'] },
  free: { v4: '10.77.0.12', v6: 'fd77::12', isMeshed: true, agent: ['--resolve-timeout', '1s'] },
  outside: { v4: '10.77.0.200', v6: 'fd77::200', isMeshed: false },
} as const;
type Name = keyof typeof pods;
const other = '10.77.0.201';
const { kept, free } = pods;

interface Answer {
  readonly text?: string;
  readonly ended?: string;
}

describe.skipIf(noPodsBecause !== undefined)(`a destination outside the mesh networks ${noPodsBecause ?? ''}`, () => {
  let mesh: Mesh<Name>;
  let server: RunningProgram;

  beforeAll(async () => {
    mesh = await startMesh<Name>({ pods, services: [] });
    await mesh.pods.outside.sh(`ip addr add ${other}/24 dev eth0`);
    server = mesh.pods.outside.start('test/support/pod-programs/server.ts', ['0.0.0.0']);
    await server.line((line) => line === 'ready');
    await writeFile(join(mesh.folder, 'registry', 'mesh.yaml'), registryText({ pods: { kept, free }, services: [] }));
  }, 120_000);
  afterAll(() => mesh?.close());

  const entry = (name: string) => join(mesh.folder, 'registry', `${name}.yaml`);
  const write = (name: string, spec: object) =>
    writeFile(
      entry(name),
      JSON.stringify({
        apiVersion: 'networking.istio.io/v1',
        kind: 'ServiceEntry',
        metadata: { name, namespace: 'shop' },
        spec: { hosts: [`${name}.example.com`], exportTo: ['.'], ...spec },
      }),
    );
  const ask = async (from: Name, host: string, port: number): Promise<Answer> => {
    const program = mesh.pods[from].start('test/support/pod-programs/client.ts', [
      'ask',
      host,
      String(port),
      '1',
      'secret',
    ]);
    const answer = JSON.parse(await program.line((line) => line.startsWith('{')));
    // A reset can be quicker than the client, which takes it for one of its dial then.
    return answer.failed === 'ECONNRESET' ? refused : answer;
  };
  const reached = { text: 'secret', ended: 'end' };
  const refused = { text: '', ended: 'ECONNRESET' };
  /** The sidecars hear of a change when the control plane has read it. */
  const becomes = (from: Name, host: string, port: number, answer: Answer) =>
    expect.poll(() => ask(from, host, port), { timeout: 60_000, interval: 200 }).toEqual(answer);
  const logged = async (from: Name, address: string, reason: string) =>
    expect(
      await mesh.agents[from]?.line((line) =>
        [`"originalDestination":"${address}"`, `"reason":"${reason}"`].every((part) => line.includes(part)),
      ),
    ).toContain('"outcome":"denied"');

  it('L6: is refused for whoever is kept to the registry until an entry registers it: that port and that range alone', async () => {
    expect(await ask('kept', pods.outside.v4, 7001)).toEqual(refused);
    await logged('kept', `${pods.outside.v4}:7001`, 'unknown_destination');
    await write('echo', {
      addresses: [`${pods.outside.v4}/32`],
      ports: [{ number: 7001, name: 'tcp', protocol: 'TCP' }],
    });
    await becomes('kept', pods.outside.v4, 7001, reached);
    expect(await ask('kept', pods.outside.v4, 7002)).toEqual(refused);
    expect(await ask('kept', other, 7001)).toEqual(refused);
  });

  it('L6: is reached by its entry beside thousands of others, which a sidecar is told of in parts', async () => {
    const scattered = Array.from(
      { length: 9000 },
      (_, i) => `198.${18 + (i >> 14)}.${(i >> 7) & 127}.${(2 * i) & 255}`,
    );
    const ports = [{ number: 7001, name: 'tcp' }];
    await write('more', { addresses: scattered.slice(4500), ports });
    await write('many', { addresses: [...scattered.slice(0, 4500), other], ports });
    await becomes('kept', other, 7001, reached);
    expect(await ask('kept', other, 7002)).toEqual(refused);
    await rm(entry('more'));
    await rm(entry('many'));
    await becomes('kept', other, 7001, refused);
  });

  it('L6: is refused again when the entry is gone, and what is open goes on', async () => {
    const long = mesh.pods.kept.start('test/support/pod-programs/client.ts', ['long', pods.outside.v4, '7001']);
    await long.line((line) => line.includes('connected'));
    await rm(entry('echo'));
    await becomes('kept', pods.outside.v4, 7001, refused);
    long.process.stdin?.write('still here\n');
    expect(await long.line((line) => line.includes('echo'))).toContain('still here');
    long.process.stdin?.end();
    expect(JSON.parse(await long.line((line) => line.includes('ended')))).toMatchObject({ ended: 'end' });
  });

  it('L6: is passed through for whoever may reach anything, and never in clear once an entry says that it is in the mesh', async () => {
    expect(await ask('free', other, 7001)).toEqual(reached);
    await write('vm', {
      addresses: [other],
      ports: [{ number: 7001, name: 'tcp' }],
      location: 'MESH_INTERNAL',
      resolution: 'STATIC',
      endpoints: [{ address: other, serviceAccount: 'vm' }],
    });
    await becomes('free', other, 7001, refused);
    // Whoever echoes would bring back the secret, if it had come in clear.
    const before = server.lines.length;
    const id = { expectedId: 'spiffe://cluster.local/ns/shop/sa/vm', transport: 'direct' };
    expect(await ask('free', other, 7001)).toEqual(refused);
    await expect.poll(() => server.lines.slice(before).some((line) => line.includes(pods.free.v4))).toBe(true);
    const explained = await mesh.pods.free.remora(['explain', '--to', `${other}:7001`, '--json']);
    expect(JSON.parse(explained.stdout).destinations[0]).toMatchObject({
      registry: { answer: 'known', isRegistered: true, entry: 'shop/vm' },
      endpoints: [id],
    });
  });

  it('L6: is not passed through either while the control plane is away, or when the entry cannot be followed', async () => {
    await write('broken', { addresses: [pods.outside.v4], ports: [{ number: 7001, name: 'tcp' }], colour: 'red' });
    await becomes('free', pods.outside.v4, 7001, refused);
    await logged('free', `${pods.outside.v4}:7001`, 'no_endpoint');
    await write('late', { addresses: [pods.outside.v4], ports: [{ number: 7002, name: 'tcp' }] });
    await becomes('kept', pods.outside.v4, 7002, {
      text: expect.stringMatching(/^[0-9a-f]{64}\n$/) as unknown as string,
      ended: 'end',
    });
    await mesh.controlPlane.stop('SIGKILL');
    expect(await ask('free', other, 7001)).toEqual(refused);
    // Registered, never asked for by this sidecar before, and nobody there to ask.
    expect(await ask('free', pods.outside.v4, 7002)).toEqual(refused);
    await logged('free', `${pods.outside.v4}:7002`, 'control_plane_unavailable');
  });
});
