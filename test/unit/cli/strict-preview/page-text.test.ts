import { describe, expect, it } from 'vitest';
import type { ShownCaller, StrictPreviewPage } from '../../../../src/admin-api.ts';
import { isInTheWay, strictPreviewText } from '../../../../src/cli/strict-preview/page-text.ts';
import { timestamp } from '../../../../src/clock.ts';

const nowMs = Date.parse('2030-05-01T12:00:00Z');
const ago = (seconds: number) => timestamp(nowMs - seconds * 1000);
const caller = (more: Partial<ShownCaller> = {}): ShownCaller => ({
  address: '10.0.0.9',
  workload: 'old-batch',
  namespace: 'legacy',
  kind: 'workload',
  connections: 412,
  open: 0,
  firstAt: ago(3600),
  lastAt: ago(180),
  breaks: true,
  ...more,
});
type Port = StrictPreviewPage['ports'][number];
const port = (callers: ShownCaller[], more: Partial<Port> = {}): Port => ({
  port: 8080,
  mode: 'PERMISSIVE',
  callers,
  forgotten: null,
  ...more,
});
const page = (ports: Port[], more: Partial<StrictPreviewPage> = {}): StrictPreviewPage => ({
  now: ago(0),
  since: ago(86_400),
  pod: { name: 'api-0', namespace: 'ns', workload: 'api' },
  mode: 'PERMISSIVE',
  ports,
  forgotten: null,
  ...more,
});
const kept = caller({ breaks: false, why: 'It is refused already' });

describe('the STRICT preview for a person', () => {
  it('names who would lose in one line when it is one workload', () => {
    expect(strictPreviewText(page([port([caller()])]))).toEqual([
      'Switching port 8080 of ns/api to STRICT now would break: legacy/old-batch, 412 connections, last 3m ago',
      'Every other port of ns/api is PERMISSIVE, and nobody called it in plaintext',
      'Watching for 1d, since the start of this sidecar',
    ]);
  });

  it('adds up the pods of a workload, the latest first, and counts those that were not remembered', () => {
    const callers = [
      caller({ connections: 1, lastAt: ago(60) }),
      caller({ address: '10.0.0.8', connections: 2, lastAt: ago(30) }),
      caller({ address: '10.0.0.254', workload: undefined, namespace: undefined, kind: 'kubelet', lastAt: ago(2) }),
      caller({
        address: '10.0.0.7',
        workload: undefined,
        namespace: undefined,
        kind: 'unknown',
        connections: 1,
        lastAt: ago(0),
      }),
    ];
    const shown = strictPreviewText(page([port(callers, { forgotten: { callers: 7, lastAt: ago(10) } })]));
    expect(shown.slice(0, 5)).toEqual([
      'Switching port 8080 of ns/api to STRICT now would break:',
      '  10.0.0.7, 1 connection, last just now',
      '  the kubelet, or something else on the node (10.0.0.254), 412 connections, last 2s ago',
      '  legacy/old-batch, 3 connections, last 30s ago',
      '  and at most 7 more callers that were not remembered, last 10s ago',
    ]);
  });

  it('says why somebody would lose nothing, which ports are STRICT already, and that nothing was seen', () => {
    const strict = port([caller()], { port: 9090, mode: 'STRICT' });
    const v6 = { ...kept, address: 'fd00::9', connections: 1 };
    expect(strictPreviewText(page([port([kept, v6]), strict])).slice(0, 3)).toEqual([
      'Switching port 8080 of ns/api to STRICT now would break nothing that was seen',
      '  not legacy/old-batch, 413 connections: It is refused already',
      'Port 9090 of ns/api is STRICT already',
    ]);
    expect(strictPreviewText(page([], { mode: 'STRICT' }))[0]).toBe('Every port of ns/api is STRICT already');
    const invalidMode = { name: 'PeerAuthentication ns/api', problem: 'spec.mtls.mode is "LAX"' };
    expect(strictPreviewText(page([], { mode: 'STRICT', invalidMode }))).toContain(
      'ns/api is STRICT because the PeerAuthentication ns/api is INVALID: spec.mtls.mode is "LAX"',
    );
    expect(strictPreviewText(page([], { pod: { name: null, namespace: null, workload: null } }))[0]).toBe(
      'Every port of this pod is PERMISSIVE, and nobody called it in plaintext',
    );
    expect(strictPreviewText(page([], { mode: null }))).toEqual([
      'No policy is in force, so everything inbound is refused and nothing can be said',
    ]);
  });

  it('counts those of further ports that were not remembered', () => {
    expect(strictPreviewText(page([], { forgotten: { callers: 1, lastAt: ago(1) } }))[0]).toBe(
      'Switching further ports of ns/api to STRICT now would break: at most 1 caller that was not remembered, last 1s ago',
    );
  });

  it('steers no terminal, whatever a page holds', () => {
    const hostile = 'x\u001b[2J\u202e\n';
    const all = [
      caller({ workload: hostile, namespace: hostile }),
      caller({ address: hostile, workload: undefined }),
      caller({ address: hostile, kind: 'kubelet' }),
      caller({ breaks: false, why: hostile, address: hostile }),
    ];
    const pod = { name: hostile, namespace: hostile, workload: hostile };
    for (const line of strictPreviewText(page([port(all)], { pod }))) expect(line).not.toMatch(/[\p{Cc}\p{Cf}]/u);
  });

  it.each([
    ['a caller that would lose', page([port([caller()])]), true],
    ['callers that were not remembered', page([port([], { forgotten: { callers: 1, lastAt: ago(1) } })]), true],
    [
      'callers of further ports that were not remembered',
      page([], { forgotten: { callers: 1, lastAt: ago(1) } }),
      true,
    ],
    ['no policy', page([], { mode: null }), true],
    ['nobody', page([]), false],
    ['a caller that would lose nothing', page([port([kept])]), false],
    ['a caller of a port that is STRICT', page([port([caller()], { mode: 'STRICT' })]), false],
  ])('%s: in the way is %3$s', (_name, shown, isIt) => {
    expect(isInTheWay(shown)).toBe(isIt);
  });
});
