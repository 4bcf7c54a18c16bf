import { isIPv4 } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Address } from '../../src/addresses.ts';
import type { CaptureScope } from '../../src/annotations.ts';
import { wholePod } from '../../src/annotations.ts';
import type { CaptureVerdict } from '../../src/capture-scope.ts';
import { createCaptureRules } from '../../src/capture-scope.ts';
import { sidecarPorts } from '../../src/ports.ts';
import type { Rule, Table } from '../../src/redirect/rules.ts';
import { redirectTable } from '../../src/redirect/rules.ts';

/*
 * What is said of the rules is compared with the rules: an interpreter of the few matches that they are made of, written
 * from nft(8). test/e2e/capture-verdicts.test.ts asks the kernel.
 */

const ownAddresses = ['10.0.0.7', 'fd00::7'];
const ipv4 = ['10.0.0.7', '10.0.0.9', '10.9.1.1', '127.0.0.1', '127.9.9.9', '192.0.2.1', '192.0.2.2', '203.0.113.4'];
const ipv6 = ['fd00::7', 'fd00::9', '::1', '2001:db8::1', '2001:db8::2', '2a00::1'];
const ports = [22, 80, 443, 8080, 15000, 15001, 15002, 15003, 15006, 15008, 15020, 15021, 65535];
const cidrs = [
  '10.0.0.0/8',
  '10.9.0.0/16',
  '0.0.0.0/0',
  '203.0.113.4',
  'fd00::/8',
  '::/0',
  '2001:db8::/32',
  '127.0.0.0/8',
];

const portRanges = fc
  .uniqueArray(fc.constantFrom(...ports), { maxLength: 3 })
  .chain((firsts) =>
    fc.tuple(
      ...firsts.map((first) =>
        fc.integer({ min: first, max: Math.min(first + 500, 65535) }).map((last) => ({ first, last })),
      ),
    ),
  );
const ranges = fc.uniqueArray(fc.constantFrom(...cidrs), { maxLength: 3 });
const scopes = fc.record({
  includeInboundPorts: portRanges.chain((list) => fc.constantFrom<CaptureScope['includeInboundPorts']>('*', list)),
  excludeInboundPorts: portRanges,
  includeOutboundPorts: portRanges,
  excludeOutboundPorts: portRanges,
  includeOutboundIpRanges: ranges.chain((list) => fc.constantFrom<CaptureScope['includeOutboundIpRanges']>('*', list)),
  excludeOutboundIpRanges: ranges,
});
const addresses = fc.record({ ip: fc.constantFrom(...ipv4, ...ipv6), port: fc.constantFrom(...ports) });

/** What the kernel does with a packet of another process than the sidecar, by the first rule that matches. */
function interpreted(table: Table, chainName: string, packet: Address): CaptureVerdict {
  const rules = table.chains.find(({ name }) => name === chainName)?.rules ?? [];
  const rule = rules.find(({ match }) => matches(match, packet, table));
  return { isCaptured: isCapture(rule), rule: rule?.comment ?? 'No rule includes it' };
}

function isCapture(rule: Rule | undefined): boolean {
  const port = Number(/^redirect to :(\d+)$/.exec(rule?.verdict ?? '')?.[1]);
  return port === sidecarPorts.outbound || port === sidecarPorts.inbound;
}

function matches(match: string, { ip, port }: Address, { sets }: Table): boolean {
  const isWithin = ip.startsWith('127.') || ip === '::1' || ownAddresses.includes(ip);
  const setOf = (name: string) => sets.find((set) => set.name === name.slice(1))?.elements ?? [];
  const portsIn = (text: string) => (text.startsWith('@') ? setOf(text) : text.replaceAll(/[{}\s]/g, '').split(','));
  const rangesIn = (text: string) => (text.startsWith('@') ? setOf(text) : [text]);
  let rest = match;
  let isMatch = true;
  const take = (pattern: RegExp, decide: (argument: string) => boolean) => {
    const [whole, argument = ''] = pattern.exec(rest) ?? [];
    if (whole === undefined) return;
    rest = rest.slice(whole.length).trimStart();
    isMatch &&= decide(argument);
  };
  for (let before = ''; before !== rest; ) {
    before = rest;
    take(/^meta l4proto != tcp/, () => false);
    take(/^meta l4proto tcp/, () => true);
    take(/^meta skuid \d+ meta skgid \d+/, () => false);
    take(/^fib daddr type != local/, () => false);
    take(/^fib daddr type local/, () => true);
    take(/^oifname "lo"/, () => isWithin);
    take(/^ip daddr (\S+)/, (text) => isIPv4(ip) && rangesIn(text).some((range) => isInRange(ip, range)));
    take(/^ip6 daddr (\S+)/, (text) => !isIPv4(ip) && rangesIn(text).some((range) => isInRange(ip, range)));
    take(/^tcp dport (@\S+|\{[^}]*\}|\d+)/, (text) => portsIn(text).some((range) => isInPorts(port, range)));
  }
  expect(rest).toBe('');
  return isMatch;
}

function isInPorts(port: number, range: string): boolean {
  const [first = 0, last = first] = range.split('-').map(Number);
  return first <= port && port <= last;
}

function isInRange(ip: string, range: string): boolean {
  const [base = '', prefix] = range.split('/');
  const bits = isIPv4(base) ? 32 : 128;
  const shift = BigInt(bits - Number(prefix ?? bits));
  return bitsOf(ip) >> shift === bitsOf(base) >> shift;
}

function bitsOf(ip: string): bigint {
  if (isIPv4(ip)) return ip.split('.').reduce((sum, part) => (sum << 8n) + BigInt(part), 0n);
  const [head = '', tail = ''] = ip.split('::');
  const groups = (text: string) => text.split(':').filter((group) => group !== '');
  const zeros = new Array<string>(8 - groups(head).length - groups(tail).length).fill('0');
  return [...groups(head), ...zeros, ...groups(tail)].reduce((sum, group) => (sum << 16n) + BigInt(`0x${group}`), 0n);
}

const isOwn = (ip: string) => ownAddresses.includes(ip);
const tableOf = (scope: CaptureScope) => redirectTable({ ports: sidecarPorts, uid: 1337, gid: 1337, scope });

describe('what is said of the redirect rules', () => {
  it('is what they do with any outbound connection, under any scope, rule by rule', () => {
    fc.assert(
      fc.property(scopes, addresses, (scope, address) => {
        const said = createCaptureRules(scope, sidecarPorts, isOwn).outbound(address);
        expect(said).toEqual(interpreted(tableOf(scope), 'outbound', address));
      }),
      { numRuns: 3000 },
    );
  });

  it('is what they do with any inbound connection to the pod, under any scope, rule by rule', () => {
    fc.assert(
      fc.property(scopes, fc.constantFrom(...ports), (scope, port) => {
        const said = createCaptureRules(scope, sidecarPorts).inbound(port);
        expect(said).toEqual(interpreted(tableOf(scope), 'inbound', { ip: '10.0.0.7', port }));
      }),
      { numRuns: 3000 },
    );
  });

  it.each(['0.0.0.0', '::', '::6'])('leaves %s within the pod, where the kernel takes it', (ip) => {
    const said = createCaptureRules(wholePod, sidecarPorts).outbound({ ip, port: 80 });
    expect(said).toEqual({ isCaptured: false, rule: 'Within the pod' });
  });

  it('keeps a range of one family away from the other, as the kernel does', () => {
    const rules = createCaptureRules({ ...wholePod, excludeOutboundIpRanges: ['::/0'] }, sidecarPorts);
    expect(rules.outbound({ ip: '10.0.0.9', port: 80 }).isCaptured).toBe(true);
    expect(rules.outbound({ ip: '2a00::1', port: 80 }).isCaptured).toBe(false);
  });
});
