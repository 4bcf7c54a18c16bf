import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseAddress } from '../../src/addresses.ts';
import type { CaptureScope } from '../../src/annotations.ts';
import { captureSettings, parseCaptureSetting, wholePod } from '../../src/annotations.ts';
import { createCaptureRules } from '../../src/capture-scope.ts';
import { sidecarPorts } from '../../src/ports.ts';
import type { TestPod, TestPods } from '../support/pods.ts';
import { noPodsBecause, startPods } from '../support/pods.ts';
import { ruleCounters } from '../support/rule-counters.ts';

/*
 * Goal: what the agent says of a connection before it is made, captured or not and by which rule, is what the kernel does
 * with it. Method: real rules in a real pod; each target is dialled, and the counters of the rules tell which one matched.
 */

const own = { v4: '10.77.0.2', v6: 'fd77::2' };
const neighbour = { v4: '10.77.0.3', v6: 'fd77::3' };

const variants: Readonly<Record<string, Readonly<Partial<Record<keyof CaptureScope, string>>>>> = {
  'everything is captured': {},
  'ports and ranges are excluded': {
    excludeInboundPorts: '22,9000-9100',
    excludeOutboundPorts: '5432,6000-6010',
    excludeOutboundIpRanges: '10.78.0.0/16,::/0',
  },
  'ports and ranges are included': {
    includeInboundPorts: '8080',
    excludeInboundPorts: '22',
    includeOutboundPorts: '443',
    includeOutboundIpRanges: '10.77.0.0/24,fd77::/64',
    excludeOutboundIpRanges: '10.77.0.128/25',
  },
};

const outboundTargets = [
  ...['10.77.0.3:8080', '[fd77::3]:8080', '10.77.0.3:5432', '10.77.0.200:80', '[fd99::1]:443', '10.78.1.1:6005'],
  ...['192.0.2.1:15002', '[2001:db8::1]:15002', '192.0.2.1:15003', '[2001:db8::1]:15003', '192.0.2.1:80'],
  ...[
    '127.0.0.1:8080',
    '127.9.9.9:8080',
    '[::1]:8080',
    '10.77.0.2:8080',
    '[fd77::2]:8080',
    '0.0.0.0:8080',
    '[::]:8080',
  ],
  ...['[::6]:8080', '10.77.0.2:5432'],
];
const inboundPorts = [22, 80, 8080, 9050, 15000, 15001, 15002, 15006, 15008, 15020, 15021];

describe.skipIf(noPodsBecause !== undefined)(
  `what is said of capture in a pod${noPodsBecause ? ` (skipped: ${noPodsBecause})` : ''}`,
  () => {
    let net: TestPods<'web' | 'neighbour'>;
    beforeAll(async () => {
      net = await startPods({ web: own, neighbour });
    });
    afterAll(() => net?.close());

    /** The rule of `chain` that counted what one dial from `pod` sent to `target`. */
    async function countedBy(pod: TestPod, target: string, chain: string): Promise<string> {
      const before = await ruleCounters(net.pods.web);
      await pod.dial([target]);
      const after = await ruleCounters(net.pods.web);
      const counted = Object.keys(after).filter(
        (name) => name.startsWith(`${chain}: `) && after[name] !== before[name],
      );
      return counted.map((name) => name.slice(chain.length + 2)).join(' and ') || 'No rule includes it';
    }

    test.each(Object.entries(variants))('is what the kernel does when %s', async (_, texts) => {
      const flags = (Object.keys(texts) as (keyof CaptureScope)[]).map(
        (name) => `${captureSettings[name].flag}=${texts[name]}`,
      );
      expect(await net.pods.web.remora(['init', '--skip-proof', ...flags])).toMatchObject({ status: 0, stderr: '' });
      const rules = createCaptureRules(scopeOf(texts), sidecarPorts, (ip) => ip === own.v4 || ip === own.v6);
      const said: Record<string, string> = {};
      const counted: Record<string, string> = {};
      for (const target of outboundTargets) {
        said[target] = rules.outbound(parseAddress(target)!).rule;
        counted[target] = await countedBy(net.pods.web, target, 'outbound');
      }
      for (const port of inboundPorts) {
        said[`inbound ${port}`] = rules.inbound(port).rule;
        counted[`inbound ${port}`] = await countedBy(net.pods.neighbour, `${own.v4}:${port}`, 'inbound');
      }
      expect(said).toEqual(counted);
    });
  },
);

function scopeOf(texts: Readonly<Partial<Record<keyof CaptureScope, string>>>): CaptureScope {
  const given = Object.entries(texts).map(([name, text]) => {
    const parsed = parseCaptureSetting(name as keyof CaptureScope, text);
    if (parsed.kind === 'problem') throw new Error(parsed.expected);
    return [name, parsed.value];
  });
  return { ...wholePod, ...Object.fromEntries(given) };
}
