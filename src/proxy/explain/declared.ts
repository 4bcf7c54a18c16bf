import type { Address } from '../../addresses.ts';
import { canonicalIp, cidrSet, formatAddress } from '../../addresses.ts';
import type { ShownOutbound } from '../../explain-api.ts';
import { admitDeclared } from '../../policy/admit.ts';
import type { DeclaredTunnel } from '../outbound/declared.ts';
import { addressOf } from '../outbound/declared.ts';
import type { Names } from '../outbound/names.ts';
import { takeConnection, takeDescriptor } from '../parts.ts';
import type { OutboundExplainParts, OutboundExplainSettings } from './outbound.ts';
import { allowed, failuresTo, judged, permittedFacts } from './outbound.ts';
import { refusalBy, refused } from './verdict.ts';

export type DeclaredExplainParts = OutboundExplainParts & { readonly names: Names };
export type DeclaredExplainSettings = OutboundExplainSettings & { readonly connectTimeoutMs: number };

interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** `10.0.0.7:80`, `[2001:db8::7]:80`, `db.internal:5432`. */
export const formatHostPort = ({ host, port }: HostPort): string => formatAddress({ ip: host, port });

/** The tunnel that was declared for this destination, as it listens or as the application at its far end is called. */
export function tunnelFor(asked: HostPort, tunnels: readonly DeclaredTunnel[]): DeclaredTunnel | undefined {
  const isTarget = ({ target }: DeclaredTunnel) => target.host === asked.host && target.port === asked.port;
  return tunnels.find(({ listen }) => isListener(asked, listen)) ?? tunnels.find(isTarget);
}

const loopback = cidrSet(['127.0.0.0/8', '::1']);
const isUnspecified = (ip: string) => ip === '0.0.0.0' || ip === '::';

export function isListener({ host, port }: HostPort, listen: Address): boolean {
  if (port !== listen.port) return false;
  const isHere = host === 'localhost' || loopback.has(host);
  return (
    host === listen.ip || (isHere && (isUnspecified(listen.ip) || (host === 'localhost' && loopback.has(listen.ip))))
  );
}

/** The tunnel that a connection to this address went through, where only one can be meant: its target may be a name. */
export function tunnelThatCarried(
  { ip, port }: Address,
  tunnels: readonly DeclaredTunnel[],
): DeclaredTunnel | undefined {
  const exact = tunnels.find(({ target }) => target.port === port && target.host === ip);
  const named = tunnels.filter(({ target }) => target.port === port && canonicalIp(target.host) === undefined);
  return exact ?? (named.length === 1 ? named[0] : undefined);
}

/** What would become of a connection to the listener of a static tunnel. Names are looked up, and nothing is dialled. */
export async function explainDeclared(
  tunnel: DeclaredTunnel,
  parts: DeclaredExplainParts,
  settings: DeclaredExplainSettings,
): Promise<ShownOutbound> {
  const { listen, target, via, peer } = tunnel;
  const name = formatHostPort(target);
  const common = {
    destination: name,
    capture: null,
    tunnel: { listen: formatAddress(listen), target: name, peer, via: via === undefined ? null : formatHostPort(via) },
    registry: null,
    ...allowed(settings),
    endpointsNotShown: 0,
    keptAt: null,
  };
  let address: Address | undefined;
  try {
    takeDescriptor(parts)?.();
    takeConnection(parts)();
    const patient = new AbortController().signal;
    address = await addressOf(target, parts, settings, patient);
    const viaAddress = via && (await addressOf(via, parts, settings, patient));
    const endpoints = permittedFacts(admitDeclared(address, viaAddress, peer), parts, settings);
    return { ...common, ...judged(name, address, endpoints, parts), endpoints, recentFailures: recent() };
  } catch (error) {
    return { ...common, verdict: refused(name, refusalBy(error)), endpoints: [], recentFailures: recent() };
  }

  function recent() {
    return failuresTo(address === undefined ? name : formatAddress(address), parts.failures);
  }
}
