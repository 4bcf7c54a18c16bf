import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { SeenCaller, Shelved } from '../../../../src/agent/callers/caller-book.ts';
import type { ReportedParts } from '../../../../src/agent/callers/reported-callers.ts';
import { reportedCallersOf } from '../../../../src/agent/callers/reported-callers.ts';
import { timestamp } from '../../../../src/clock.ts';
import { maxFurtherCallers, maxReportedCallers, parseJson, reportedCallers } from '../../../../src/control-api.ts';
import { namedWorkload } from '../../../support/named-workloads.ts';

const web = 'spiffe://cluster.local/ns/shop/sa/web';
const caller = (more: Partial<SeenCaller> = {}): SeenCaller => ({
  ip: '10.0.0.9',
  port: 8080,
  principal: undefined,
  destinationIp: '10.0.0.1',
  workload: undefined,
  connections: 3,
  open: 0,
  whileDisable: 0,
  spoke: 3,
  firstMs: 1000,
  lastMs: 2000,
  ...more,
});
const many = (count: number, more: Partial<SeenCaller> = {}) =>
  Array.from({ length: count }, (_, n) => caller({ ip: `10.0.${n >> 8}.${n & 255}`, lastMs: n, ...more }));
const none: Shelved = { callers: [], forgotten: [] };
const partsOf = (
  plaintext: readonly SeenCaller[],
  mutualTls: readonly SeenCaller[] = [],
  { refused = [], forgotten = [] }: { refused?: readonly SeenCaller[]; forgotten?: Shelved['forgotten'] } = {},
): ReportedParts => ({
  callers: {
    plaintext: () => ({ callers: plaintext, forgotten }),
    mutualTls: () => ({ ...none, callers: mutualTls }),
    refusals: () => ({ ...none, callers: refused }),
    sinceMs: 0,
  },
  nodes: { has: (ip) => ip === '10.0.0.254' },
  minimumMode: 'PERMISSIVE',
});
const wide = 32_768;

describe('the callers in a report', () => {
  it('prove an identity later only with a sidecar, and if all of their connections came while the port was DISABLE', () => {
    const meshed = namedWorkload('web', { sidecarId: web });
    const idOf = (more: Partial<SeenCaller>) =>
      reportedCallersOf(partsOf([caller({ workload: meshed, whileDisable: 3, ...more })]), wide)?.callers[0]?.meshedId;
    expect(idOf({})).toBe(web);
    expect(idOf({ whileDisable: 2 })).toBeUndefined();
    expect(idOf({ workload: namedWorkload('web') })).toBeUndefined();
    expect(idOf({ workload: undefined })).toBeUndefined();
    expect(idOf({ ip: '10.0.0.254' })).toBeUndefined();
  });

  it('are told with their names, and what they are', () => {
    const workload = namedWorkload('web', { namespace: 'legacy', name: 'old-batch' });
    const told = reportedCallersOf(
      partsOf([caller({ workload }), caller({ ip: '10.0.0.254', spoke: 0, lastMs: 1 })], [caller({ principal: web })], {
        refused: [caller({ port: 9090 })],
      }),
      wide,
    );
    const [firstAt, lastAt] = [timestamp(1000), timestamp(2000)];
    expect(told).toEqual({
      since: timestamp(0),
      minimumMode: 'PERMISSIVE',
      callers: [
        {
          ...{ port: 8080, address: '10.0.0.9', kind: 'workload', workload: 'old-batch', namespace: 'legacy' },
          ...{ connections: 3, open: 0, firstAt, lastAt },
        },
        {
          ...{ port: 8080, address: '10.0.0.9', principal: web, kind: 'unknown' },
          ...{ connections: 3, open: 0, firstAt, lastAt },
        },
        {
          ...{ port: 9090, address: '10.0.0.9', kind: 'unknown', isRefused: true },
          ...{ connections: 3, open: 0, firstAt, lastAt },
        },
        {
          ...{ port: 8080, address: '10.0.0.254', kind: 'kubelet', onlyConnects: true },
          ...{ connections: 3, open: 0, firstAt, lastAt: timestamp(1) },
        },
      ],
      further: [],
    });
  });

  it('are the latest of each kind, so that none can crowd out the others', () => {
    const told = reportedCallersOf(partsOf(many(1000), many(10, { principal: web })), wide);
    expect(told?.callers).toHaveLength(maxReportedCallers);
    expect(told?.callers[0]?.address).toBe('10.0.3.231');
    expect(told?.callers.filter(({ principal }) => principal === web)).toHaveLength(10);
    expect(told?.further).toEqual([{ port: 8080, isPlaintext: true, callers: 910, lastAt: timestamp(1000 - 91) }]);
  });

  it('are told first while they are connected', () => {
    const told = reportedCallersOf(partsOf([...many(200), caller({ ip: '10.9.9.9', open: 1, lastMs: 0 })]), wide);
    expect(told?.callers[0]?.address).toBe('10.9.9.9');
  });

  it('are only counted when their SPIFFE ID is too long for a report', () => {
    const told = reportedCallersOf(partsOf([], [caller({ principal: `${web}${'x'.repeat(300)}` })]), wide);
    expect(told?.callers).toEqual([]);
    expect(told?.further).toMatchObject([{ isPlaintext: false, callers: 1 }]);
  });

  it('that were forgotten are counted, those of many ports together', () => {
    const forgotten = Array.from({ length: 30 }, (_, n) => ({ port: n + 1, callers: 2, lastMs: n }));
    const told = reportedCallersOf(partsOf([], many(1, { principal: 'x'.repeat(999) }), { forgotten }), wide);
    expect(told?.further.length).toBeLessThanOrEqual(maxFurtherCallers);
    expect(told?.further.filter(({ isPlaintext }) => isPlaintext).reduce((sum, one) => sum + one.callers, 0)).toBe(60);
    expect(told?.further.filter(({ isPlaintext }) => !isPlaintext)).toMatchObject([{ callers: 1 }]);
  });

  it('say nothing where there is no room for anything', () => {
    expect(reportedCallersOf(partsOf([caller()]), 1023)).toBeUndefined();
    expect(reportedCallersOf(partsOf([caller()]), 1024)).toMatchObject({ callers: [], further: [{ callers: 1 }] });
  });

  it('fit into their room and are what the control plane reads, and nobody is lost, however many there are', () => {
    const some = fc.record({
      count: fc.nat(300),
      length: fc.integer({ min: 1, max: 253 }),
      port: fc.integer({ min: 1, max: 65_535 }),
    });
    fc.assert(
      fc.property(some, some, fc.integer({ min: 1024, max: wide }), fc.nat(40), (one, other, maxBytes, ports) => {
        const workload = namedWorkload('web', { name: 'n'.repeat(one.length), namespace: 's'.repeat(one.length) });
        const forgotten = Array.from({ length: ports }, (_, n) => ({ port: n + 1, callers: 1e6, lastMs: 1e12 }));
        const plaintext = many(one.count, { workload, port: one.port });
        const mutualTls = many(other.count, { principal: `spiffe://${'a'.repeat(other.length)}`, port: other.port });
        const told = reportedCallersOf(partsOf(plaintext, mutualTls, { forgotten }), maxBytes);
        const text = JSON.stringify(told);
        expect(text.length).toBeLessThanOrEqual(maxBytes);
        expect(parseJson(reportedCallers, text)).toEqual(told);
        const further = told?.further.reduce((sum, { callers }) => sum + callers, 0) ?? 0;
        expect((told?.callers.length ?? 0) + further).toBe(one.count + other.count + ports * 1e6);
      }),
      { numRuns: 100 },
    );
  });
});
