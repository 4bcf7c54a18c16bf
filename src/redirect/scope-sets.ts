import { isIPv6 } from 'node:net';
import type { CaptureScope, PortRange } from '../annotations.ts';

/** A set of intervals, never empty. */
export interface IntervalSet {
  readonly name: string;
  readonly type: 'inet_service' | 'ipv4_addr' | 'ipv6_addr';
  readonly elements: readonly string[];
}

/** The sets that the rules of a scope look up; a set is there only when it has elements. */
export function scopeSets(scope: CaptureScope): IntervalSet[] {
  const ports = (name: string, list: '*' | readonly PortRange[]) =>
    intervals(name, 'inet_service', list === '*' ? [] : list.map(portText));
  const ranges = (name: string, list: '*' | readonly string[]) => {
    const v6 = (text: string) => isIPv6(text.replace(/\/.*/, ''));
    const all = list === '*' ? [] : list;
    return [
      ...intervals(
        `${name}_v4`,
        'ipv4_addr',
        all.filter((text) => !v6(text)),
      ),
      ...intervals(`${name}_v6`, 'ipv6_addr', all.filter(v6)),
    ];
  };
  return [
    ...ports('inbound_include_ports', scope.includeInboundPorts),
    ...ports('inbound_exclude_ports', scope.includeInboundPorts === '*' ? scope.excludeInboundPorts : []),
    ...ports('outbound_include_ports', scope.includeOutboundPorts),
    ...ports('outbound_exclude_ports', scope.excludeOutboundPorts),
    ...ranges('outbound_include', scope.includeOutboundIpRanges),
    ...ranges('outbound_exclude', scope.excludeOutboundIpRanges),
  ];
}

/** nft refuses a set declared with no elements in braces, so there is no such set. */
function intervals(name: string, type: IntervalSet['type'], elements: readonly string[]): IntervalSet[] {
  return elements.length === 0 ? [] : [{ name, type, elements }];
}

function portText({ first, last }: PortRange): string {
  return first === last ? `${first}` : `${first}-${last}`;
}
