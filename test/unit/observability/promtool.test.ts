import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { noPrometheusBecause, promtool } from '../../support/prometheus.ts';

const manifests = resolve(import.meta.dirname, '../../../manifests/prometheus');

describe.skipIf(noPrometheusBecause !== undefined)(`Prometheus' own tool ${noPrometheusBecause ?? ''}`, () => {
  it('takes the alerts', () => {
    expect(promtool(['check', 'rules', join(manifests, 'alerts.yaml')])).toMatchObject({ status: 0 });
  });

  it('sees every alert stay quiet, fire with its words and end', () => {
    expect(promtool(['test', 'rules', join(manifests, 'alerts.test.yaml')])).toMatchObject({ status: 0 });
  });
});
