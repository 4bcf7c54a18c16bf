import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { deniedReasons, handshakeReasons } from '../../src/outcomes.ts';
import type { Mesh } from '../support/mesh.ts';
import { startMesh } from '../support/mesh.ts';
import type { Ended } from '../support/pods.ts';
import { noPodsBecause } from '../support/pods.ts';

/*
 * Goal: `remora explain`, typed beside a sidecar, says what then happens. Method: the real program in real pods with real
 * rules and a real control plane; each destination is explained, then dialled, and the sidecar's log is compared.
 */
const ports = [7001];
const service = { v4: '10.96.0.10', v6: 'fd96::10' };
const own = { v4: '10.96.0.11', v6: 'fd96::11' };
const pods = {
  web: { v4: '10.77.0.11', v6: 'fd77::11', isMeshed: true },
  api: { v4: '10.77.0.12', v6: 'fd77::12', isMeshed: true },
  careless: {
    v4: '10.77.0.14',
    v6: 'fd77::14',
    isMeshed: true,
    agent: ['--exclude-outbound-ports', '7001'],
    init: ['--exclude-outbound-ports', '7001'],
  },
  legacy: { v4: '10.77.0.13', v6: 'fd77::13', isMeshed: false },
  outside: { v4: '10.77.0.200', v6: 'fd77::200', isMeshed: false },
} as const;
type Name = keyof typeof pods;
const apiId = 'spiffe://cluster.local/ns/shop/sa/api';
const webId = 'spiffe://cluster.local/ns/shop/sa/web';

describe.skipIf(noPodsBecause !== undefined)(`what is explained in a mesh of pods ${noPodsBecause ?? ''}`, () => {
  let mesh: Mesh<Name>;

  beforeAll(async () => {
    mesh = await startMesh<Name>({
      pods,
      services: [
        { name: 'api', ...service, pods: ['api'], ports },
        { name: 'web', ...own, pods: ['web'], ports },
      ],
    });
    for (const name of Object.keys(pods) as Name[])
      await mesh.pods[name].listen(
        name,
        ports.flatMap((port) => [`0.0.0.0:${port}`, `[::]:${port}`]),
      );
  }, 120_000);
  afterAll(() => mesh?.close());

  const explain = (name: Name, ...args: string[]): Promise<Ended> =>
    mesh.pods[name].remora(['explain', ...args], { uid: 1337 });
  const firstLine = ({ stdout }: Ended) => stdout.split('\n')[0];
  const logged = async (name: Name, ...parts: string[]): Promise<Record<string, unknown>> =>
    JSON.parse(await mesh.agents[name]!.line((line) => parts.every((part) => line.includes(part))));

  it.each<[string, number, string, string]>([
    [
      `${service.v4}:7001`,
      0,
      'eof',
      `(api.shop) would be reached through mutual TLS at ${pods.api.v4}:7001 as ${apiId}`,
    ],
    [`[${service.v6}]:7001`, 0, 'eof', `would be reached through mutual TLS at [${pods.api.v6}]:7001 as ${apiId}`],
    [`${pods.api.v4}:7001`, 0, 'eof', `would be reached through mutual TLS as ${apiId}`],
    [`${own.v4}:7001`, 0, 'eof', `would be reached through mutual TLS at ${pods.web.v4}:7001 as ${webId}`],
    [`${pods.legacy.v4}:7001`, 0, 'eof', 'would be reached in plaintext'],
    [`${pods.outside.v4}:7001`, 0, 'eof', 'would be reached in plaintext'],
    ['10.77.0.99:7001', 1, 'unknown_destination', `would be refused: ${deniedReasons.unknown_destination.happened}`],
    [`${pods.api.v4}:15008`, 1, 'self_call', `would be refused: ${deniedReasons.self_call.happened}`],
  ])('%s ends with %i, as a connection then ends as %s', async (target, code, reason, words) => {
    const explained = await explain('web', '--to', target);
    expect(explained).toMatchObject({ status: code, stderr: '' });
    expect(firstLine(explained)).toContain(words);
    await mesh.pods.web.dial([target]);
    expect(await logged('web', '"outbound"', `"originalDestination":"${target}"`)).toMatchObject({ reason });
  });

  it.each([
    ['the own address of the pod', `${pods.web.v4}:7001`],
    ['loopback', '127.0.0.1:7001'],
  ])('%s does not pass the sidecar, and a connection has no line', async (_name, target) => {
    const explained = await explain('web', '--to', target);
    expect(explained).toMatchObject({ status: 0, stderr: '' });
    expect(explained.stdout).toContain("Captured    no, by the rule 'Within the pod'");
    expect(await mesh.pods.web.dial([target])).toMatchObject([{ at: 'web' }]);
    const isOfIt = (line: string) => line.includes('"outbound"') && line.includes(`"originalDestination":"${target}"`);
    expect(mesh.agents.web!.lines.filter(isOfIt)).toEqual([]);
  });

  it('a name is looked up as the application would', async () => {
    const { status, stdout } = await explain('web', '--to', 'localhost:7001');
    expect(status).toBe(0);
    expect(stdout).toMatch(/^localhost:7001 is /);
    expect(stdout).toContain("no, by the rule 'Within the pod'");
  });

  it.each<[string, string[], number, string]>([
    ['a peer of the mesh', ['--from', webId, '--port', '7001'], 0, 'would be let in'],
    [
      'a stranger',
      ['--from', 'spiffe://other.example/ns/a/sa/b'],
      1,
      `would be refused: ${handshakeReasons.trust_domain.happened}`,
    ],
    [
      'plaintext',
      ['--from', 'plaintext', '--port', '7001'],
      1,
      `would be refused: ${handshakeReasons.plaintext_in_strict.happened}`,
    ],
  ])('%s is told whether he may reach a port', async (_name, args, code, words) => {
    const explained = await explain('api', ...args);
    expect(explained).toMatchObject({ status: code, stderr: '' });
    expect(firstLine(explained)).toContain(words);
  });

  it('a refusal is explained by its id on the side that refused, and is not known on the other', async () => {
    mesh.pods.legacy.start('test/support/pod-programs/client.ts', ['ask', pods.api.v4, '7001', '1']);
    const { id } = await logged('api', '"inbound"', '"plaintext_in_strict"');
    const explained = await explain('api', String(id));
    expect(explained).toMatchObject({ status: 1, stderr: '' });
    expect(explained.stdout).toContain('plaintext_in_strict: Port 7001 is STRICT and the peer speaks plaintext');
    expect(explained.stdout).toContain('If it were made now:');
    expect(explained.stdout).toContain(
      `What to do: ${pods.legacy.v4} is a pod without a sidecar: inject one, or let the mode be PERMISSIVE while it moves\n`,
    );
    const elsewhere = await explain('web', String(id));
    expect(elsewhere.status).toBe(1);
    expect(elsewhere.stdout).toContain('The sidecar of the other side may know it by the same id');
  });

  it('a question that is none ends with 2, and without a sidecar it is 69', async () => {
    const malformed = await explain('web', '--from', 'spiffe://Cluster.local/ns/a/sa/b');
    expect(malformed).toMatchObject({ status: 2, stdout: '' });
    expect(malformed.stderr).toMatch(/^remora: The caller is 'spiffe:\/\/Cluster.*', which is no SPIFFE ID: .*\n$/);
    expect(await explain('web', '--to', '10.0.0.7:80', '--port', '80')).toMatchObject({ status: 2 });
    expect(await explain('legacy', '--to', '10.0.0.7:80')).toMatchObject({ status: 69, stdout: '' });
  });

  it('an application that does not listen is told of by both sides, once somebody has tried', async () => {
    const target = `${pods.api.v4}:7002`;
    expect(await explain('web', '--to', target)).toMatchObject({ status: 0 });
    await mesh.pods.web.dial([target]);
    await logged('web', '"outbound"', `"originalDestination":"${target}"`);
    const here = await explain('web', '--to', target);
    expect(here.status).toBe(1);
    expect(firstLine(here)).toMatch(/would be attempted .*, but the last one FAILED .*: The destination refused/);
    const there = await explain('api', '--from', webId, '--port', '7002');
    expect(there.status).toBe(1);
    expect(firstLine(there)).toMatch(/would be let in, but the last one FAILED .*: The destination refused/);
  });

  it('a setting that excludes a sidecar is named where it is set, and its pod where it is refused', async () => {
    const target = `${pods.api.v4}:7001`;
    const here = await explain('careless', '--to', target);
    expect(here).toMatchObject({ status: 1, stderr: '' });
    expect(firstLine(here)).toContain(
      `${target} would not pass this sidecar: excludeOutboundPorts is 7001 (--exclude-outbound-ports), so `,
    );
    expect(await explain('careless', '--to', `${pods.legacy.v4}:7001`)).toMatchObject({ status: 0 });
    const there = await explain('api', '--from', pods.careless.v4, '--port', '7001');
    expect(there.status).toBe(1);
    expect(there.stdout).toContain(
      `${pods.careless.v4} is a pod with a sidecar, spiffe://cluster.local/ns/shop/sa/careless: this went around it`,
    );
    expect(there.stdout).toContain(`\`remora explain --to ${target}\``);
  });

  it('what goes around the sidecar because its rules are gone is told in the first line', async () => {
    await mesh.pods.api.sh('nft delete table inet remora');
    const out = () => explain('api', '--to', '10.77.0.200:7001');
    await expect.poll(async () => (await out()).status, { timeout: 60_000, interval: 500 }).toBe(1);
    expect(firstLine(await out())).toMatch(/^10\.77\.0\.200:7001 GOES AROUND THIS SIDECAR/);
    const into = () => explain('api', '--from', 'plaintext', '--port', '7001');
    const reaches = /^Plaintext from anywhere to port 7001 REACHES THE APPLICATION/;
    await expect.poll(async () => firstLine(await into()), { timeout: 60_000, interval: 500 }).toMatch(reaches);
  });
});
