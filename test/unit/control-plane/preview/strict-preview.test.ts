import { describe, expect, it } from 'vitest';
import { timestamp } from '../../../../src/clock.ts';
import type { ReportedCaller } from '../../../../src/control-api.ts';
import { maxPreviewedCallers } from '../../../../src/control-plane/preview/api.ts';
import { podPreview, workloadPreview } from '../../../../src/control-plane/preview/strict-preview.ts';

const caller = (address: string, atMs: number): ReportedCaller => ({
  ...{ port: 8080, address, kind: 'unknown', connections: 1, open: 0 },
  ...{ firstAt: timestamp(0), lastAt: timestamp(atMs) },
});
const podWith = (callers: ReportedCaller[], policy = { mode: 'PERMISSIVE' } as Parameters<typeof podPreview>[1]) =>
  podPreview(
    {
      ...{ namespace: 'shop', workload: 'api', pod: undefined },
      told: { since: timestamp(0), minimumMode: 'DISABLE', callers, further: [] },
    },
    policy,
  );

describe('the preview of a workload', () => {
  it('names so many callers of a port, those who would lose and the latest first, and counts the others', () => {
    const many = (pod: number) => Array.from({ length: 100 }, (_, n) => caller(`10.0.${pod}.${n}`, pod * 1000 + n));
    const { ports } = workloadPreview([podWith(many(0)), podWith(many(1)), podWith(many(2))]);
    expect(ports[0]?.callers).toHaveLength(maxPreviewedCallers);
    expect(ports[0]?.callers[0]?.address).toBe('10.0.2.99');
    expect(ports[0]?.further).toEqual({ callers: 100, lastAt: timestamp(99) });
  });

  it('counts nobody who would lose nothing, and names those last', () => {
    const denying = {
      mode: 'PERMISSIVE',
      authorization: [{ name: 'shop/none', action: 'ALLOW', rules: [] }],
    } as Parameters<typeof podPreview>[1];
    const kept = Array.from({ length: 100 }, (_, n) => caller(`10.0.1.${n}`, 5000 + n));
    const lost = Array.from({ length: 100 }, (_, n) => caller(`10.0.2.${n}`, n));
    const more = Array.from({ length: 50 }, (_, n) => caller(`10.0.3.${n}`, 9000 + n));
    const { ports } = workloadPreview([podWith(kept, denying), podWith(lost), podWith(more, denying)]);
    expect(ports[0]?.callers.slice(0, 100).every(({ breaks }) => breaks)).toBe(true);
    expect(ports[0]?.further).toBeNull();
  });
});
