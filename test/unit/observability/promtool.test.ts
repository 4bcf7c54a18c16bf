import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { noPrometheusBecause, promtool } from '../../support/prometheus.ts';

const manifests = resolve(import.meta.dirname, '../../../manifests/prometheus');

const tried = (...args: readonly string[]) => {
  const { status, said } = promtool(args);
  expect(status, said).toBe(0);
};

describe.skipIf(noPrometheusBecause !== undefined)(`Prometheus' own tool ${noPrometheusBecause ?? ''}`, () => {
  it('takes the alerts', () => tried('check', 'rules', join(manifests, 'alerts.yaml')));

  it('sees every alert stay quiet, fire with its words and end', () =>
    tried('test', 'rules', join(manifests, 'alerts.test.yaml')));
});
