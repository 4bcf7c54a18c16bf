import { describe, expect, it } from 'vitest';
import { declareMetrics } from '../../../src/metrics/declared.ts';
import type { ExpositionFormat } from '../../../src/metrics/exposition.ts';
import { expositionOf } from '../../../src/metrics/exposition.ts';
import type { Families } from '../../../src/metrics/family.ts';
import { given } from '../../../src/metrics/family.ts';
import { handshakeReasons } from '../../../src/outcomes.ts';
import { sidecarMetrics } from '../../support/metrics.ts';

const families = {
  test_bytes_total: { type: 'counter', help: 'A "quoted" counter \\ of bytes', labels: { name: given('the test') } },
  test_up: { type: 'gauge', help: 'A gauge' },
  test_wait_seconds: { type: 'histogram', help: 'A histogram', buckets: [0.5, 1, 10] },
} as const satisfies Families;

function filled() {
  const metrics = declareMetrics(families);
  metrics.counter('test_bytes_total').inc({ name: 'a\\b"c\nd\r' }, 3);
  metrics.gauge('test_up').set(-0.5);
  metrics.histogram('test_wait_seconds').observe(0.7);
  return metrics;
}

const prometheusPage = `# HELP test_bytes_total A "quoted" counter \\\\ of bytes
# TYPE test_bytes_total counter
test_bytes_total{name="a\\\\b\\"c\\nd\r"} 3
# HELP test_up A gauge
# TYPE test_up gauge
test_up -0.5
# HELP test_wait_seconds A histogram
# TYPE test_wait_seconds histogram
test_wait_seconds_bucket{le="0.5"} 0
test_wait_seconds_bucket{le="1"} 1
test_wait_seconds_bucket{le="10"} 1
test_wait_seconds_bucket{le="+Inf"} 1
test_wait_seconds_sum 0.7
test_wait_seconds_count 1
`;

const openMetricsPage = `# HELP test_bytes A \\"quoted\\" counter \\\\ of bytes
# TYPE test_bytes counter
# UNIT test_bytes bytes
test_bytes_total{name="a\\\\b\\"c\\nd\r"} 3
# HELP test_up A gauge
# TYPE test_up gauge
test_up -0.5
# HELP test_wait_seconds A histogram
# TYPE test_wait_seconds histogram
# UNIT test_wait_seconds seconds
test_wait_seconds_bucket{le="0.5"} 0
test_wait_seconds_bucket{le="1.0"} 1
test_wait_seconds_bucket{le="10.0"} 1
test_wait_seconds_bucket{le="+Inf"} 1
test_wait_seconds_sum 0.7
test_wait_seconds_count 1
# EOF
`;

describe('a page', () => {
  it('is Prometheus text 0.0.4', async () => {
    expect(await filled().text('prometheus')).toBe(prometheusPage);
  });

  it('is OpenMetrics text 1.0.0, where a family has not the suffix of its counter', async () => {
    expect(await filled().text('openmetrics')).toBe(openMetricsPage);
  });

  it('is in its own format whatever was asked for before and at the same time', async () => {
    const metrics = filled();
    const wanted: ExpositionFormat[] = Array.from({ length: 100 }, (_, i) =>
      i % 3 === 0 ? 'openmetrics' : 'prometheus',
    );
    for (let round = 0; round < 3; round += 1) {
      const pages = await Promise.all(wanted.map((format) => metrics.text(format)));
      expect(pages).toEqual(wanted.map((format) => (format === 'openmetrics' ? openMetricsPage : prometheusPage)));
    }
  });

  it('shows what is not a finite number as both formats write it', () => {
    const values = [Number.NaN, Infinity, -Infinity, 1e21, 1e-7].map((value) => ({ labels: {}, value }));
    const page = expositionOf([{ name: 'x', help: 'X', type: 'gauge', values }], 'openmetrics');
    expect(page).toContain('\nx NaN\nx +Inf\nx -Inf\nx 1e+21\nx 1e-7\n');
  });

  it('says the same in both formats', async () => {
    const metrics = sidecarMetrics();
    for (const reason of Object.keys(handshakeReasons)) metrics.handshakeFailed('inbound', reason as 'untrusted');
    metrics.handshakeSucceeded('outbound', 5, {
      version: 'TLSv1.3',
      cipher: 'TLS_AES_256_GCM_SHA384',
      group: 'X25519',
    });
    const samples = (text: string) => text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    const [prometheus, openMetrics] = [await metrics.text('prometheus'), await metrics.text('openmetrics')];
    const canonical = (line: string) => line.replace(/le="(\d+)"/, 'le="$1.0"');
    expect(samples(openMetrics)).toEqual(samples(prometheus).map(canonical));
    expect(samples(prometheus).length).toBeGreaterThan(100);
  });
});

it('shows no series that is not there any more, and none twice', async () => {
  const { test_up, test_bytes_total } = families;
  const metrics = declareMetrics({ test_up, test_bytes_total });
  let value: number | undefined = 1;
  metrics.readAtScrape('test_up', (set) => {
    if (value !== undefined) set({}, value);
  });
  metrics.readAtScrape('test_bytes_total', (set) => {
    if (value !== undefined) set({ name: `of ${value}` }, value);
  });
  const shown = async () => (await metrics.text('prometheus')).split('\n').filter((line) => !/^(?:#|$)/.test(line));
  expect(await shown()).toEqual(['test_up 1', 'test_bytes_total{name="of 1"} 1']);
  value = 2;
  expect(await shown()).toEqual(['test_up 2', 'test_bytes_total{name="of 2"} 2']);
  value = undefined;
  expect(await shown()).toEqual([]);
});

it('is refused while a family is declared that nothing counts or reads', async () => {
  const metrics = declareMetrics(families);
  metrics.counter('test_bytes_total');
  metrics.gauge('test_up');
  await expect(metrics.text('prometheus')).rejects.toThrow('Nothing counts or reads test_wait_seconds');
});
