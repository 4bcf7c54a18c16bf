import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AppProbe } from '../../src/app-probes.ts';
import { appProbePath, formatAppProbes } from '../../src/app-probes.ts';
import { version } from '../../src/version.ts';
import type { Mesh } from '../support/mesh.ts';
import { startMesh } from '../support/mesh.ts';
import type { RunningProgram } from '../support/pods.ts';
import { noPodsBecause } from '../support/pods.ts';

/*
 * Goal: under STRICT a node without an identity is refused at the application's port, and gets the answer of its probe
 * from the sidecar, also before the sidecar is ready and while it stops.
 * Method: one pod with the real rules and the real sidecar, and one without, which plays the kubelet.
 */
const http = (path: string): AppProbe => ({
  httpGet: { path, port: 8080, scheme: 'HTTP', httpHeaders: [] },
  timeoutSeconds: 60,
});
const livez = appProbePath('web', 'livenessProbe');
const readyz = appProbePath('web', 'readinessProbe');
const startupz = appProbePath('web', 'startupProbe');
const preStop = appProbePath('web', 'preStop');
const appProbes = formatAppProbes({
  [livez]: http('/healthz'),
  [readyz]: http('/broken'),
  [preStop]: http('/hold'),
  [startupz]: { tcpSocket: { port: 8081 }, timeoutSeconds: 5 },
});
const pods = {
  web: {
    v4: '10.77.0.11',
    v6: 'fd77::11',
    isMeshed: true,
    agent: ['--app-probes', appProbes, '--app-metrics', '8080/metrics'],
  },
  node: { v4: '10.77.0.13', v6: 'fd77::13', isMeshed: false },
} as const;
type Name = keyof typeof pods;

describe.skipIf(noPodsBecause !== undefined)(`probes of an application ${noPodsBecause ?? ''}`, () => {
  let mesh: Mesh<Name>;
  let app: RunningProgram;

  beforeAll(async () => {
    mesh = await startMesh<Name>({ pods, services: [] });
    app = mesh.pods.web.start('test/support/pod-programs/http-app.ts', ['0.0.0.0', '::']);
    await app.line((line) => line === 'ready');
  }, 120_000);
  afterAll(() => mesh?.close());

  const curl = (url: string) =>
    mesh.pods.node.sh(`curl -sS --max-time 10 -A kube-probe/1.34 -w '%{http_code}' '${url}'`);
  const askSidecar = (path: string, host: string = pods.web.v4) => curl(`http://${host}:15020${path}`);

  it.each([
    ['IPv4', pods.web.v4, pods.web.v4],
    ['IPv6', `[${pods.web.v6}]`, pods.web.v6],
  ])('are refused at its own port and answered by the sidecar over %s', async (_, host, ip) => {
    const before = app.lines.length;
    await expect(curl(`http://${host}:8080/healthz`)).rejects.toThrow(/reset/i);
    expect(app.lines.slice(before)).toEqual([]);
    expect(await askSidecar(livez, host)).toBe('web:8080 answered 200\n200');
    expect(app.lines.slice(before).map((line) => JSON.parse(line))).toEqual([
      { url: '/healthz', agent: 'kube-probe/1.34', peer: ip },
    ]);
  });

  it('fail in words', async () => {
    expect(await askSidecar(readyz)).toBe('web:8080 answered 500, expected 200 to 399\n503');
    expect(await askSidecar(startupz)).toBe(`Nothing listens on ${pods.web.v4}:8081\n503`);
    expect(await askSidecar('/app-health/web/other')).toBe('No probe has this path\n404');
  });

  it('are not all that reaches it there: its metrics follow those of the sidecar', async () => {
    const before = app.lines.length;
    await expect(curl(`http://${pods.web.v4}:8080/metrics`)).rejects.toThrow(/reset/i);
    for (const host of [pods.web.v4, `[${pods.web.v6}]`]) {
      const page = await askSidecar('/metrics', host);
      expect(page).toContain('\n# TYPE remora_ready gauge\n');
      expect(page).toMatch(/\napp_up 1\n200$/);
    }
    expect(app.lines.slice(before).map((line) => JSON.parse(line))).toEqual(
      [pods.web.v4, pods.web.v6].map((peer) => ({ url: '/metrics', agent: `remora/${version}`, peer })),
    );
  });

  it('are answered by a sidecar that has no identity; remora wait says what it waits for', async () => {
    await mesh.agents.web?.stop();
    const token = join(mesh.folder, 'web.token');
    await rename(token, `${token}.away`);
    const starting = mesh.startAgent('web');
    const agent = mesh.agents.web;
    await agent?.line((line) => line.includes('"Listening"'));
    expect(await askSidecar(livez)).toBe('web:8080 answered 200\n200');
    const waited = await mesh.pods.web.remora(['wait', '--timeout', '500ms']);
    expect(waited.status).toBe(69);
    expect(waited.stderr).toMatch(
      /^remora: The sidecar at 127\.0\.0\.1:15021 is not ready after 500ms: .*identity: [A-Z].*\n$/,
    );
    await rename(`${token}.away`, token);
    expect(await mesh.pods.web.remora(['wait'])).toEqual({ status: 0, stdout: '', stderr: '' });
    await starting;
  });

  it('are answered while the sidecar stops, and a preStop hook holds it up', async () => {
    const agent = mesh.agents.web;
    const hook = curl(`http://${pods.web.v4}:15020${preStop}`).catch(String);
    await app.line((line) => line.includes('/hold'));
    agent?.process.kill('SIGTERM');
    await agent?.line((line) => line.includes('"Stopping"'));
    expect(await curl(`http://${pods.web.v4}:15021/healthz/ready`)).toMatch(/not_draining.*503$/s);
    expect(await askSidecar(livez)).toBe('web:8080 answered 200\n200');
    await app.stop();
    expect(await hook).toMatch(/empty reply/i);
    await agent?.line((line) => line.includes('"Stopped"'));
  });
});
