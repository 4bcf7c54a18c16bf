import { describe, expect, it } from 'vitest';
import { refusals } from '../../../src/control-plane/refusals.ts';
import { bundleLimits } from '../../../src/identity/trust-bundle.ts';
import { admissionResults } from '../../../src/injector/admission.ts';
import { createControlPlaneMetrics } from '../../../src/metrics/control-plane-metrics.ts';
import { metricsDocument } from '../../../src/metrics/document.ts';
import { metricsPages, seriesOf } from '../../../src/metrics/families.ts';
import type { Families, Label } from '../../../src/metrics/family.ts';
import { unitOf } from '../../../src/metrics/family.ts';
import { maxTrustDomains } from '../../../src/metrics/sidecar-families.ts';
import { sidecarMetrics } from '../../support/metrics.ts';

const { sidecar, controlPlane } = metricsPages;
const valuesOf = (label: Label) => (label.kind === 'closed' ? label.values : []);

const controlPlaneMetrics = () =>
  createControlPlaneMetrics(
    { certificates: [], admissions: [] },
    {
      rootNotAfterMs: () => 0,
      roots: () => 1,
      openStreams: () => 0,
      policies: () => ({ accepted: 0, invalid: 0, skipped: 0 }),
      revocations: () => ({ certificates: 0, identities: 0, isUnknown: false, crls: [] }),
    },
  );

describe.each<[string, Families, () => { text(format: 'prometheus'): Promise<string> }]>([
  ['the sidecar', sidecar.families, sidecarMetrics],
  ['the control plane', controlPlane.families, controlPlaneMetrics],
])('the page of %s', (_, families, create) => {
  it('has every family that is declared, in that order, and no other', async () => {
    const shown = [...(await create().text('prometheus')).matchAll(/^# TYPE (\S+) (\S+)$/gm)];
    const declared = Object.entries(families).map(([name, { type }]) => [name, type]);
    expect(shown.map(([, name, type]) => [name, type])).toEqual(declared);
  });

  it('has names by the rules of Prometheus: units are base units, and only counters end in _total', () => {
    for (const [name, { type, help, labels = {} }] of Object.entries(families)) {
      expect(name).toMatch(/^[a-z][a-z0-9]*(?:_[a-z0-9]+)+$/);
      expect(name.endsWith('_total'), name).toBe(type === 'counter');
      expect(name, name).not.toMatch(/_(?:ms|milliseconds|minutes|hours|kib|mib|count|sum|bucket|created)(?:_|$)/);
      expect(help).toMatch(/^\S.*[^.\s]$/);
      for (const label of Object.keys(labels)) expect(label).toMatch(/^(?!le$|quantile$|__)[a-z][a-z0-9_]*$/);
    }
  });
});

it('knows the unit that a name ends in', () => {
  expect(unitOf('remora_bytes_total')).toBe('bytes');
  expect(unitOf('remora_identity_time_to_outage_seconds')).toBe('seconds');
  expect(unitOf('remora_connections_total')).toBeUndefined();
});

it('says what the series of a histogram are called', () => {
  const { remora_tls_handshake_duration_seconds: family } = sidecar.families;
  expect([...seriesOf('remora_tls_handshake_duration_seconds', family)]).toEqual([
    ['remora_tls_handshake_duration_seconds_bucket', ['direction', 'le']],
    ['remora_tls_handshake_duration_seconds_sum', ['direction']],
    ['remora_tls_handshake_duration_seconds_count', ['direction']],
  ]);
});

describe('the values of a label are those that the code counts by', () => {
  it('for certificates that were asked for', () => {
    const { result } = controlPlane.families.remora_ca_certificates_issued_total.labels;
    expect(valuesOf(result)).toEqual(['issued', ...Object.keys(refusals)]);
  });

  it('for the webhook', () => {
    expect(valuesOf(controlPlane.families.remora_injector_requests_total.labels.result)).toEqual(admissionResults);
  });

  it('for trust domains, of which there are as many as there may be roots', () => {
    expect(maxTrustDomains).toBe(bundleLimits.roots);
  });
});

it('is documented as docs/metrics.md says (--update writes it)', async () => {
  await expect(metricsDocument()).toMatchFileSnapshot('../../../docs/metrics.md');
});
