import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { controlPlanePorts, sidecarPorts } from '../../src/ports.ts';
import type { Mesh } from '../support/mesh.ts';
import { controlAddresses, startMesh } from '../support/mesh.ts';
import { noPodsBecause } from '../support/pods.ts';
import { noPrometheusBecause, promtool } from '../support/prometheus.ts';

/*
 * Goal: Prometheus' own parsers take the pages of a running mesh, in both formats.
 * Method: the pages are fetched from another pod; `promtool check metrics` reads the text format and lints it, and
 * `promtool tsdb create-blocks-from openmetrics` has the parser of OpenMetrics that a scrape has.
 */
const noMeshBecause = noPodsBecause ?? noPrometheusBecause;
const web = { v4: '10.77.0.11', v6: 'fd77::11' };
const api = { v4: '10.77.0.12', v6: 'fd77::12' };
const openMetrics = 'application/openmetrics-text;version=1.0.0';

describe.skipIf(noMeshBecause !== undefined)(`the pages of metrics ${noMeshBecause ?? ''}`, () => {
  let mesh: Mesh<'web' | 'api'>;
  let folder: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'remora-test-pages-'));
    mesh = await startMesh<'web' | 'api'>({
      pods: { web: { ...web, isMeshed: true }, api: { ...api, isMeshed: true } },
      services: [{ name: 'api', v4: '10.96.0.10', v6: 'fd96::10', pods: ['api'], ports: [7000] }],
    });
    await mesh.pods.api.listen('api', ['0.0.0.0:7000']);
    expect(await mesh.pods.web.dial([`${api.v4}:7000`])).toMatchObject([{ at: 'api' }]);
  });
  afterAll(async () => {
    await mesh?.close();
    await rm(folder, { recursive: true });
  });

  const pages = [
    ['the client', `http://${web.v4}:${sidecarPorts.metrics}/metrics`, 'direction="outbound",result="success"'],
    ['the server', `http://${api.v4}:${sidecarPorts.metrics}/metrics`, 'direction="inbound",result="success"'],
    ['the control plane', `http://${controlAddresses.v4}:${controlPlanePorts.metrics}/metrics`, 'result="issued"'],
  ] as const;
  const read = (url: string, accept: string) =>
    mesh.pods.control.sh(`curl -sS --fail --max-time 5 -H 'Accept: ${accept}' ${url}`);

  it.each(pages)('are text that is without fault, of %s', async (_, url, sample) => {
    const page = await read(url, 'text/plain');
    expect(page).toContain(sample);
    expect(promtool(['check', 'metrics'], page)).toEqual({ status: 0, said: '' });
  });

  it.each(pages)('are OpenMetrics where that is asked for, of %s', async (name, url, sample) => {
    const page = await read(url, openMetrics);
    expect(page).toContain(sample);
    expect(page).toMatch(/\n# EOF\n$/);
    // It takes only samples that have a time.
    const timed = page.replaceAll(/^([^#\n].*)$/gm, '$1 1700000000');
    const file = join(folder, `${name}.txt`);
    await writeFile(file, timed);
    const { status, said } = promtool(['tsdb', 'create-blocks-from', 'openmetrics', file, join(folder, name)]);
    expect(status, said).toBe(0);
  });
});
