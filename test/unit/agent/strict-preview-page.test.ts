import { parse } from 'valibot';
import { describe, expect, it } from 'vitest';
import { strictPreviewPage } from '../../../src/admin-api.ts';
import type { SeenCaller, Shelved } from '../../../src/agent/callers/caller-book.ts';
import { strictPreviewPageOf } from '../../../src/agent/strict-preview-page.ts';
import { timestamp } from '../../../src/clock.ts';
import type { PolicyState } from '../../../src/control-api.ts';
import { namedWorkload } from '../../support/named-workloads.ts';

const nowMs = Date.parse('2030-05-01T12:00:00Z');
const caller = (more: Partial<SeenCaller> = {}): SeenCaller => ({
  ip: '10.0.0.9',
  port: 8080,
  principal: undefined,
  destinationIp: '10.0.0.1',
  workload: undefined,
  connections: 412,
  open: 0,
  whileDisable: 0,
  spoke: 412,
  firstMs: nowMs - 3_600_000,
  lastMs: nowMs - 180_000,
  ...more,
});
const pageOf = (
  callers: readonly SeenCaller[],
  policy: PolicyState | undefined = { mode: 'PERMISSIVE' },
  { forgotten = [], minimumMode = 'DISABLE' }: Partial<Shelved> & { minimumMode?: 'DISABLE' | 'STRICT' } = {},
) =>
  parse(
    strictPreviewPage,
    strictPreviewPageOf({
      nowMs,
      callers: { plaintext: () => ({ callers, forgotten }), sinceMs: nowMs - 86_400_000 },
      nodes: { has: (ip) => ip === '10.0.0.254' },
      policy,
      floor: { minimumMode, allowedPeers: undefined },
      pod: { name: 'api-0', namespace: 'ns', workload: 'api' },
    }),
  );

describe('the page of the STRICT preview', () => {
  it('names callers with the registry, and who is the node by its address', () => {
    const workload = namedWorkload('web', { namespace: 'legacy', name: 'old-batch', pod: 'old-batch-x' });
    const page = pageOf([caller({ workload }), caller({ ip: '10.0.0.254' }), caller({ ip: '10.0.0.7' })]);
    expect(page.ports).toHaveLength(1);
    expect(page.ports[0]).toMatchObject({ port: 8080, mode: 'PERMISSIVE', forgotten: null });
    expect(page.ports[0]?.callers).toMatchObject([
      {
        address: '10.0.0.9',
        ...{ workload: 'old-batch', namespace: 'legacy', pod: 'old-batch-x' },
        kind: 'workload',
        connections: 412,
        firstAt: timestamp(nowMs - 3_600_000),
        lastAt: timestamp(nowMs - 180_000),
        breaks: true,
      },
      { address: '10.0.0.254', kind: 'kubelet' },
      { address: '10.0.0.7', kind: 'unknown' },
    ]);
  });

  it('has the mode of each port, those that nobody called too, by number', () => {
    const ports = [
      { port: 9090, mode: 'STRICT', setBy: 'ns/api' },
      { port: 443, mode: 'DISABLE', setBy: 'ns/api' },
    ] as const;
    const page = pageOf([caller()], { mode: 'PERMISSIVE', ports: [...ports] });
    expect(page.mode).toBe('PERMISSIVE');
    expect(page.ports.map(({ port, mode, callers }) => [port, mode, callers.length])).toEqual([
      [443, 'DISABLE', 0],
      [8080, 'PERMISSIVE', 1],
      [9090, 'STRICT', 0],
    ]);
  });

  it('says which invalid PeerAuthentication makes it STRICT', () => {
    const problem = 'spec.mtls.mode is "LAX"';
    const page = pageOf([], { mode: 'STRICT', modeSetBy: 'ns/api', modeProblem: problem });
    expect(page.invalidMode).toEqual({ name: 'PeerAuthentication ns/api', problem });
    expect(pageOf([], { mode: 'STRICT', modeSetBy: 'ns/api' })).not.toHaveProperty('invalidMode');
  });

  it('does not lose who has a sidecar and came while the port was DISABLE', () => {
    const workload = namedWorkload('web', { sidecarId: 'spiffe://cluster.local/ns/shop/sa/web' });
    const breaks = (whileDisable: number) =>
      pageOf([caller({ workload, whileDisable })], { mode: 'DISABLE' }).ports[0]?.callers[0]?.breaks;
    expect(breaks(412)).toBe(false);
    expect(breaks(411)).toBe(true);
  });

  it('knows the floor of the pod', () => {
    expect(pageOf([caller()], { mode: 'PERMISSIVE' }, { minimumMode: 'STRICT' })).toMatchObject({
      mode: 'STRICT',
      ports: [{ mode: 'STRICT' }],
    });
  });

  it('says that nothing is known while no policy is in force', () => {
    const without = strictPreviewPageOf({
      nowMs,
      callers: { plaintext: () => ({ callers: [caller()], forgotten: [] }), sinceMs: nowMs },
      nodes: { has: () => false },
      policy: undefined,
      floor: { minimumMode: 'DISABLE', allowedPeers: undefined },
      pod: { name: null, namespace: null, workload: null },
    });
    expect(parse(strictPreviewPage, without)).toMatchObject({ mode: null, ports: [{ mode: null }] });
  });

  it('has seen whoever is connected now', () => {
    const [port] = pageOf([caller({ ip: '10.0.0.1' }), caller({ open: 1 })]).ports;
    expect(port?.callers[0]).toMatchObject({ address: '10.0.0.9', open: 1, lastAt: timestamp(nowMs) });
  });

  it('shows the latest first, and how many were forgotten of which port', () => {
    const at = (ip: string, lastMs: number) => caller({ ip, lastMs });
    const forgotten = [
      { port: 9090, callers: 3, lastMs: nowMs - 1000 },
      { port: undefined, callers: 1, lastMs: nowMs - 2000 },
    ];
    const page = pageOf([at('10.0.0.1', 1), at('10.0.0.2', 3), at('10.0.0.3', 2)], undefined, { forgotten });
    expect(page.ports[0]?.callers.map(({ address }) => address)).toEqual(['10.0.0.2', '10.0.0.3', '10.0.0.1']);
    expect(page.ports[1]).toMatchObject({ port: 9090, forgotten: { callers: 3 } });
    expect(page.forgotten).toEqual({ callers: 1, lastAt: timestamp(nowMs - 2000) });
  });

  it('says why a caller would not lose', () => {
    const authorization = [{ name: 'ns/none', action: 'ALLOW' as const, rules: [] }];
    const [port] = pageOf([caller()], { mode: 'PERMISSIVE', authorization }).ports;
    expect(port?.callers[0]).toMatchObject({ breaks: false, why: expect.stringMatching(/refused already/) });
  });
});
