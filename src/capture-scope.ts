import type { Address } from './addresses.ts';
import { cidrSet } from './addresses.ts';
import type { CaptureScope, PortRange } from './annotations.ts';
import type { SidecarPorts } from './ports.ts';
import { captureProbe, reservedInbound } from './ports.ts';

/** Whether the redirect rules capture a connection, and the comment of the rule that decides. */
export interface CaptureVerdict {
  readonly isCaptured: boolean;
  readonly rule: string;
}

/** What the redirect rules do with TCP connections that are not the sidecar's own. */
export interface CaptureRules {
  /** Of a connection that an application of the pod makes. */
  outbound(destination: Address): CaptureVerdict;
  /** Of a connection to an address of this pod from elsewhere. */
  inbound(port: number): CaptureVerdict;
}

/** Comments of rules that somebody asks for by name. */
export const withinPodRule = 'Within the pod';
export const excludedPortsRule = 'Excluded ports';

/** Where the kernel sends through `lo`, whatever the addresses of the pod are; whoever dials an unspecified address dials himself. */
const loopback = cidrSet(['127.0.0.0/8', '0.0.0.0', '::1', '::6', '::']);

/**
 * The rules as `remora init` makes them from the same settings, in their order; see `redirect/rules.ts`. `isOwnAddress`
 * says which addresses besides loopback are those of the pod.
 */
export function createCaptureRules(
  scope: CaptureScope,
  ports: SidecarPorts,
  isOwnAddress: (ip: string) => boolean = () => false,
): CaptureRules {
  const ownPorts = reservedInbound(ports);
  const excludedRanges = cidrSet(scope.excludeOutboundIpRanges);
  const includedRanges = cidrSet(scope.includeOutboundIpRanges === '*' ? [] : scope.includeOutboundIpRanges);
  return {
    outbound({ ip, port }) {
      const family = ip.includes(':') ? 'IPv6' : 'IPv4';
      const isProbe = ip === captureProbe.v4 || ip === captureProbe.v6;
      if (isProbe && port === captureProbe.port) return captured(`${family} capture probe`);
      // Redirected to a port where nobody listens: it goes nowhere, and nothing of ours sees it.
      if (isProbe && port === captureProbe.identityPort) return passed(`${family} identity probe of anyone else`);
      if (loopback.has(ip) || isOwnAddress(ip)) return passed(withinPodRule);
      if (isIn(port, scope.excludeOutboundPorts)) return passed(excludedPortsRule);
      if (excludedRanges.has(ip)) return passed(`Excluded ${family} ranges`);
      if (isIn(port, scope.includeOutboundPorts)) return captured('Included ports');
      if (includedRanges.has(ip)) return captured(`Included ${family} ranges`);
      return scope.includeOutboundIpRanges === '*' ? captured('Everything else') : passed('No rule includes it');
    },
    inbound(port) {
      if (ownPorts.has(port)) return passed("The sidecar's own ports");
      if (port === captureProbe.port) return captured('Canary of the sidecar');
      if (scope.includeInboundPorts !== '*')
        return isIn(port, scope.includeInboundPorts) ? captured('Included ports') : passed('No rule includes it');
      return isIn(port, scope.excludeInboundPorts) ? passed(excludedPortsRule) : captured('Everything else');
    },
  };
}

function isIn(port: number, ranges: readonly PortRange[]): boolean {
  return ranges.some(({ first, last }) => port >= first && port <= last);
}

const captured = (rule: string): CaptureVerdict => ({ isCaptured: true, rule });
const passed = (rule: string): CaptureVerdict => ({ isCaptured: false, rule });
