import type { Address } from '../../addresses.ts';
import type { CaptureScope, PortRange } from '../../annotations.ts';
import type { CaptureRules } from '../../capture-scope.ts';
import type { PolicyState } from '../../control-api.ts';
import { portsMentioned } from '../../policy/ports-mentioned.ts';

/** Ports that one answer holds for, and one of them. */
export interface Ports {
  readonly name: string;
  readonly port: number;
}

/** What decides which ports are treated alike. */
export interface PortSettings {
  /** Undefined without redirect rules. */
  readonly capture: { readonly rules: CaptureRules; readonly scope: CaptureScope } | undefined;
  /** Without redirect rules what tunnels are delivered to. */
  readonly deliveries: readonly Address[];
}

/** So many ports that the policy treats in a way of their own are explained at once. */
export const maxOwnPorts = 20;

/** The comment of the rule for them. */
export const ownPortsRule = "The sidecar's own ports";

/**
 * Every port, those together that the rules and the policy treat alike, and those first that most connections are for. The sidecar's own are
 * left out.
 */
export function allPorts(
  { capture, deliveries }: PortSettings,
  policy: PolicyState | undefined,
): { readonly ports: readonly Ports[]; readonly notShown: number } {
  if (capture === undefined) {
    const ports = deliveries.map(({ port }) => ({ first: port, last: port }));
    const named = ports.map(({ first }) => ({ name: `port ${first}`, port: first }));
    return { ports: [...named, ...others(ports, [], undefined)], notShown: 0 };
  }
  const { rules, scope } = capture;
  const isOurs = (port: number) => rules.inbound(port).rule === ownPortsRule;
  const own = portsOfPolicy(policy).filter((port) => !isOurs(port));
  const singles = own.slice(0, maxOwnPorts).map((port) => ({ name: `port ${port}`, port }));
  const isEverywhere = scope.includeInboundPorts === '*';
  const named = scope.includeInboundPorts === '*' ? scope.excludeInboundPorts : scope.includeInboundPorts;
  const namedPorts = firstOf(named, (port) => !isOurs(port) && !own.includes(port));
  const rest = others(named, own, rules);
  return {
    ports: isEverywhere ? [...rest, ...singles, ...namedPorts] : [...namedPorts, ...singles, ...rest],
    notShown: Math.max(0, own.length - maxOwnPorts),
  };
}

/** Those with a mode of their own, and those that AuthorizationPolicies name. */
function portsOfPolicy(policy: PolicyState | undefined): readonly number[] {
  const { ports = [], authorization = [] } = policy ?? {};
  const all = new Set([...ports.map(({ port }) => port), ...portsMentioned(authorization)]);
  return [...all].sort((one, other) => one - other);
}

function firstOf(ranges: readonly PortRange[], isMeant: (port: number) => boolean): Ports[] {
  for (const { first, last } of ranges)
    for (let port = first; port <= last; port += 1)
      if (isMeant(port)) return [{ name: `ports ${textOf(ranges)}`, port }];
  return [];
}

function others(ranges: readonly PortRange[], own: readonly number[], rules: CaptureRules | undefined): Ports[] {
  const isNamed = (port: number) => ranges.some(({ first, last }) => first <= port && port <= last);
  const every = own.length === 0 ? 'every port' : 'every other port';
  const name = ranges.length === 0 ? every : `${every} but ${textOf(ranges)}`;
  const apart = new Set(own);
  for (let port = 1; port <= 65535; port += 1)
    if (!isNamed(port) && !apart.has(port) && rules?.inbound(port).rule !== ownPortsRule) return [{ name, port }];
  return [];
}

const textOf = (ranges: readonly PortRange[]) =>
  ranges.map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`)).join(', ');
