import type { CaptureScope } from '../annotations.ts';
import type { SidecarPorts } from '../ports.ts';
import { captureProbe, reservedInbound } from '../ports.ts';
import type { IntervalSet } from './scope-sets.ts';
import { scopeSets } from './scope-sets.ts';

/** What the rules are made from. */
export interface RedirectSettings {
  readonly ports: SidecarPorts;
  /** The sidecar's own user and group: connections of exactly this pair are not captured. */
  readonly uid: number;
  readonly gid: number;
  readonly scope: CaptureScope;
}

/** One nftables rule; it also gets a counter. Comments are distinct within a chain. */
export interface Rule {
  readonly match: string;
  readonly verdict: string;
  readonly comment: string;
}

export interface Chain {
  readonly name: string;
  readonly type: 'filter' | 'nat';
  readonly hook: 'prerouting' | 'input' | 'output';
  readonly priority: number;
  readonly rules: readonly Rule[];
}

export interface Table {
  readonly sets: readonly IntervalSet[];
  readonly chains: readonly Chain[];
}

/**
 * Before every other agent's -100, whichever was installed first, and before NAT decides. -150 is before that, so that a
 * packet which must not be captured is gone when the redirect would see it.
 */
const natPriority = -101;
const beforeNat = -150;

/** The addresses that only this pod itself may use; ::6 is what IPv6 is delivered to the application from. */
const loopbackV6 = '{ ::1, ::6 }';

/** The whole table `inet remora`. Both IP families are always covered: a family left out would leave the pod unnoticed. */
export function redirectTable(settings: RedirectSettings): Table {
  const sets = scopeSets(settings.scope);
  const has = new Set(sets.map(({ name }) => name));
  const onlyIf = (set: string, rule: Omit<Rule, 'match'>, match: string): Rule[] =>
    has.has(set) ? [{ match: `${match} @${set}`, ...rule }] : [];
  return {
    sets,
    chains: [
      { name: 'martian', type: 'filter', hook: 'prerouting', priority: beforeNat, rules: martianRules },
      { name: 'outbound', type: 'nat', hook: 'output', priority: natPriority, rules: outboundRules(settings, onlyIf) },
      {
        name: 'inbound',
        type: 'nat',
        hook: 'prerouting',
        priority: natPriority,
        rules: inboundRules(settings, onlyIf),
      },
      { name: 'direct', type: 'filter', hook: 'input', priority: 0, rules: directRules(settings.ports) },
    ],
  };
}

type OnlyIf = (set: string, rule: Omit<Rule, 'match'>, match: string) => Rule[];

/** Without these a neighbour on the same link reaches what is bound to loopback, through the redirect. */
const martianRules: readonly Rule[] = [
  { match: 'iifname != "lo" ip daddr 127.0.0.0/8', verdict: 'drop', comment: 'IPv4 loopback from outside' },
  { match: `iifname != "lo" ip6 daddr ${loopbackV6}`, verdict: 'drop', comment: 'IPv6 loopback from outside' },
  { match: `iifname != "lo" ip6 saddr ${loopbackV6}`, verdict: 'drop', comment: 'IPv6 loopback forged as source' },
];

function outboundRules({ ports, uid, gid, scope }: RedirectSettings, onlyIf: OnlyIf): Rule[] {
  const sidecar = `meta skuid ${uid} meta skgid ${gid}`;
  const pass = (comment: string) => ({ verdict: 'return', comment });
  const capture = (comment: string) => ({ verdict: `redirect to :${ports.outbound}`, comment });
  return [
    notTcp('Other than TCP leaves as it is'),
    ...probeRules(sidecar, ports.outbound),
    { match: sidecar, ...pass('The sidecar itself') },
    { match: 'oifname "lo"', ...pass('Within the pod') },
    ...onlyIf('outbound_exclude_ports', pass('Excluded ports'), 'tcp dport'),
    ...onlyIf('outbound_exclude_v4', pass('Excluded IPv4 ranges'), 'ip daddr'),
    ...onlyIf('outbound_exclude_v6', pass('Excluded IPv6 ranges'), 'ip6 daddr'),
    ...onlyIf('outbound_include_ports', capture('Included ports'), 'tcp dport'),
    ...onlyIf('outbound_include_v4', capture('Included IPv4 ranges'), 'meta l4proto tcp ip daddr'),
    ...onlyIf('outbound_include_v6', capture('Included IPv6 ranges'), 'meta l4proto tcp ip6 daddr'),
    ...(scope.includeOutboundIpRanges === '*' ? [{ match: 'meta l4proto tcp', ...capture('Everything else') }] : []),
  ];
}

/** Before the sidecar's own exemption: the sidecar has no right to read the rules and proves them by dialling. */
function probeRules(sidecar: string, outboundPort: number): Rule[] {
  const families = [
    { family: 'IPv4', to: `ip daddr ${captureProbe.v4}` },
    { family: 'IPv6', to: `ip6 daddr ${captureProbe.v6}` },
  ];
  return families.flatMap(({ family, to }) => {
    const identity = `${to} tcp dport ${captureProbe.identityPort}`;
    return [
      {
        match: `${to} tcp dport ${captureProbe.port}`,
        verdict: `redirect to :${outboundPort}`,
        comment: `${family} capture probe`,
      },
      {
        match: `${identity} ${sidecar}`,
        verdict: `redirect to :${outboundPort}`,
        comment: `${family} identity probe of the sidecar`,
      },
      {
        match: identity,
        verdict: `redirect to :${captureProbe.identityPort}`,
        comment: `${family} identity probe of anyone else`,
      },
    ];
  });
}

function inboundRules({ ports, scope }: RedirectSettings, onlyIf: OnlyIf): Rule[] {
  const everywhere = scope.includeInboundPorts === '*';
  const capture = {
    verdict: `redirect to :${ports.inbound}`,
    comment: everywhere ? 'Everything else' : 'Included ports',
  };
  return [
    notTcp('Other than TCP arrives as it is'),
    { match: `tcp dport ${portSet(reservedInbound(ports))}`, verdict: 'return', comment: "The sidecar's own ports" },
    {
      match: `fib daddr type local tcp dport ${captureProbe.port}`,
      verdict: capture.verdict,
      comment: 'Canary of the sidecar',
    },
    ...onlyIf('inbound_exclude_ports', { verdict: 'return', comment: 'Excluded ports' }, 'tcp dport'),
    { match: 'fib daddr type != local', verdict: 'return', comment: 'Not addressed to this pod' },
    ...onlyIf('inbound_include_ports', capture, 'tcp dport'),
    ...(everywhere ? [{ match: 'meta l4proto tcp', ...capture }] : []),
  ];
}

/** Nobody dials a capture port: what lands there was redirected, or the sidecar would connect to itself. */
function directRules(ports: SidecarPorts): Rule[] {
  const captured = `tcp dport ${portSet(new Set([ports.outbound, ports.inbound]))}`;
  return [
    { match: `${captured} ct status dnat`, verdict: 'accept', comment: 'Redirected to a capture port' },
    { match: captured, verdict: 'reject with tcp reset', comment: 'Capture port dialled directly' },
  ];
}

function notTcp(comment: string): Rule {
  return { match: 'meta l4proto != tcp', verdict: 'return', comment };
}

function portSet(ports: ReadonlySet<number>): string {
  return `{ ${[...ports].sort((a, b) => a - b).join(', ')} }`;
}
