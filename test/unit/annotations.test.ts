import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { captureFlags, captureSettings, parseCaptureSetting } from '../../src/annotations.ts';

const portRange = fc
  .tuple(fc.integer({ min: 1, max: 65535 }), fc.integer({ min: 1, max: 65535 }))
  .map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) }));

describe('capture settings', () => {
  test("carry the names of Istio's annotations", () => {
    expect(Object.values(captureSettings).map(({ annotation }) => annotation)).toEqual([
      'traffic.sidecar.istio.io/includeInboundPorts',
      'traffic.sidecar.istio.io/excludeInboundPorts',
      'traffic.sidecar.istio.io/includeOutboundPorts',
      'traffic.sidecar.istio.io/excludeOutboundPorts',
      'traffic.sidecar.istio.io/includeOutboundIPRanges',
      'traffic.sidecar.istio.io/excludeOutboundIPRanges',
    ]);
  });

  test('lists of ports and ranges of ports are read as they are written', () => {
    fc.assert(
      fc.property(fc.array(portRange, { maxLength: 20 }), (ranges) => {
        const text = ranges.map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`)).join(',');
        expect(parseCaptureSetting('excludeInboundPorts', text)).toEqual({ kind: 'value', value: ranges });
      }),
    );
  });

  test.each([
    ['', []],
    ['  ', []],
    [
      ' 80 , 443 ',
      [
        { first: 80, last: 80 },
        { first: 443, last: 443 },
      ],
    ],
    ['1-65535', [{ first: 1, last: 65535 }]],
  ])("ports '%s'", (text, value) => {
    expect(parseCaptureSetting('excludeOutboundPorts', text)).toEqual({ kind: 'value', value });
  });

  test.each([
    '15001-15000',
    '-1',
    '99999',
    '0-65535',
    '0',
    '80,',
    ',',
    '80,,90',
    '80 90',
    '1-2-3',
    '-',
    '80-',
    '-80',
    '080',
    '8e1',
    '0x50',
    '８０',
    '["80"]',
    '{"port":80}',
    '*',
    '80;90',
    'http',
    '1.5',
    'NaN',
  ])("W9: ports '%s' are refused", (text) => {
    expect(parseCaptureSetting('excludeInboundPorts', text).kind).toBe('problem');
    expect(parseCaptureSetting('includeOutboundPorts', text).kind).toBe('problem');
  });

  test.each([
    ['10.0.0.0/8', ['10.0.0.0/8']],
    ['10.0.0.7', ['10.0.0.7']],
    ['10.0.0.0/8, FD00::/8', ['10.0.0.0/8', 'fd00::/8']],
    ['0.0.0.0/0,::/0', ['0.0.0.0/0', '::/0']],
    ['', []],
  ])("ranges '%s'", (text, value) => {
    expect(parseCaptureSetting('excludeOutboundIpRanges', text)).toEqual({ kind: 'value', value });
  });

  test.each([
    '10.0.0.0/33',
    '10.0.0.0/08',
    '10.0.0/8',
    '10.0.0.0/',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    'fd00::/129',
    'fe80::1%eth0',
    'localhost',
    '*',
    '10.0.0.0/8 10.1.0.0/16',
    '010.0.0.1',
    '{ 10.0.0.1 }',
    '10.0.0.1; drop',
  ])("W9: ranges '%s' are refused", (text) => {
    expect(parseCaptureSetting('excludeOutboundIpRanges', text).kind).toBe('problem');
  });

  test('* means everything, and only where something is included', () => {
    expect(parseCaptureSetting('includeInboundPorts', '*')).toEqual({ kind: 'value', value: '*' });
    expect(parseCaptureSetting('includeOutboundIpRanges', ' * ')).toEqual({ kind: 'value', value: '*' });
    expect(parseCaptureSetting('includeInboundPorts', '*,80').kind).toBe('problem');
    expect(parseCaptureSetting('excludeOutboundPorts', '*').kind).toBe('problem');
  });

  test('W9: a list of a thousand entries is taken, and a longer one refused without reading it all', () => {
    const list = (length: number) => new Array(length).fill('80').join(',');
    expect(parseCaptureSetting('excludeInboundPorts', list(1000)).kind).toBe('value');
    expect(parseCaptureSetting('excludeInboundPorts', list(1001))).toEqual({
      kind: 'problem',
      expected: 'at most 1000 entries',
    });
    expect(parseCaptureSetting('excludeInboundPorts', ','.repeat(256 * 1024)).kind).toBe('problem');
  });
});

describe('annotations', () => {
  test('become flags of init as they are written; others are ignored', () => {
    expect(
      captureFlags({
        'traffic.sidecar.istio.io/excludeOutboundPorts': '5432, 6379',
        'traffic.sidecar.istio.io/includeOutboundIPRanges': '',
        'traffic.sidecar.istio.io/includeInboundPorts': '*',
        'sidecar.istio.io/inject': 'true',
      }),
    ).toEqual({
      kind: 'flags',
      flags: ['--include-inbound-ports=*', '--exclude-outbound-ports=5432, 6379', '--include-outbound-ip-ranges='],
    });
  });

  test('none: no flags', () => {
    expect(captureFlags({})).toEqual({ kind: 'flags', flags: [] });
    expect(captureFlags(Object.create({ 'traffic.sidecar.istio.io/excludeOutboundPorts': '80' }))).toEqual({
      kind: 'flags',
      flags: [],
    });
  });

  test('W9: every bad one is named at once, shortened and printable', () => {
    const long = `80,\u0007${'x'.repeat(256 * 1024)}`;
    const read = captureFlags({
      'traffic.sidecar.istio.io/excludeInboundPorts': long,
      'traffic.sidecar.istio.io/excludeOutboundPorts': '15001-15000',
    });
    const problems = read.kind === 'problems' ? read.problems : [];
    expect(problems).toHaveLength(2);
    expect(problems[0]).toMatch(
      /^The annotation traffic\.sidecar\.istio\.io\/excludeInboundPorts is '80,\uFFFDx{56}…', expected ports/,
    );
    expect(problems[1]).toContain("'15001-15000'");
  });
});
