import type { Address } from '../addresses.ts';
import { formatAddress, parseAddress } from '../addresses.ts';
import type { SpiffeId } from '../identity/spiffe-id.ts';
import type { HostPort } from './address-kinds.ts';
import { parseHostPort, spiffeId } from './address-kinds.ts';
import type { Kind } from './kinds.ts';
import { listOf, scalar } from './kinds.ts';

/** A static tunnel: what arrives on `listen` is carried to `target` through the sidecar in front of it. */
export interface TunnelSettings {
  /** Plaintext, for local applications. */
  readonly listen: Address;
  /** The application at the far side, as it would be dialled without a sidecar; a name is looked up at each new tunnel. */
  readonly target: HostPort;
  /** The identity that the far sidecar must prove. */
  readonly peer: SpiffeId;
  /** Where the far sidecar takes tunnels, when that is not the target's host on the port for tunnels. */
  readonly via: HostPort | undefined;
}

/** The parts of a tunnel: flags, keys in the file, and their order in the environment. */
export const tunnelParts = ['listen', 'target', 'peer', 'via'] as const;
export type TunnelPart = (typeof tunnelParts)[number];

/** The text of a tunnel in the environment, in problems and in the documentation: `LISTEN TARGET PEER [VIA]`. */
export function tunnelText(parts: Partial<Record<TunnelPart, string>>): string {
  const { listen = '?', target = '?', peer = '?', via } = parts;
  return [listen, target, peer, ...(via === undefined ? [] : [via])].join(' ');
}

function parseTunnel(text: string): TunnelSettings | undefined {
  const [listenText = '', targetText = '', peerText = '', viaText, ...rest] = text.split(' ');
  const listen = parseAddress(listenText);
  const target = parseHostPort(targetText);
  const peer = spiffeId.parse(peerText);
  const via = viaText === undefined ? undefined : parseHostPort(viaText);
  const isWrong = rest.length > 0 || (viaText !== undefined && via === undefined);
  if (listen === undefined || target === undefined || peer === undefined || isWrong) return undefined;
  return { listen, target, peer, via };
}

const formatHostPort = ({ host, port }: HostPort) => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`);

const tunnel = scalar<TunnelSettings>({
  name: 'a tunnel',
  expected: 'a listen address, a target HOST:PORT, the SPIFFE ID of the peer and optionally a via HOST:PORT',
  placeholder: 'listen target peer [via]',
  parse: parseTunnel,
  show: ({ listen, target, peer, via }) =>
    tunnelText({
      listen: formatAddress(listen),
      target: formatHostPort(target),
      peer: peer.uri,
      ...(via === undefined ? {} : { via: formatHostPort(via) }),
    }),
});

export const tunnels: Kind<readonly TunnelSettings[]> = listOf(tunnel);
