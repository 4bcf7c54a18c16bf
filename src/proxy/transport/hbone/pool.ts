import type { Address } from '../../../addresses.ts';
import { formatAddress } from '../../../addresses.ts';
import { ConnectionError, DeniedError } from '../../../errors.ts';
import type { Identity } from '../../../identity/identity.ts';
import type { SpiffeId } from '../../../identity/spiffe-id.ts';
import { lapseOf } from '../../../identity/verify-peer.ts';
import { abortable } from '../../deadline.ts';
import type { Leg } from '../../leg.ts';
import type { ProxyParts } from '../../parts.ts';
import type { Tunnel } from './tunnel.ts';
import { TunnelRetiredError } from './tunnel-life.ts';

/** Who a tunnel goes to, and who we are on it. Two connections share a tunnel only if all three are equal. */
export interface TunnelKey {
  /** The endpoint's HBONE address. */
  readonly address: Address;
  readonly expectedId: SpiffeId;
  readonly local: Identity;
}

export interface TunnelRequest {
  readonly destination: Address;
  readonly connectionId: string;
}

/** Long-lived tunnels, shared by the connections that may share them. */
export interface TunnelPool {
  /** A stream of a tunnel with this key, made if need be. Throws what `dial` and `Tunnel.open` throw. */
  open(
    key: TunnelKey,
    request: TunnelRequest,
    signal: AbortSignal,
  ): Promise<{ readonly leg: Leg; readonly tunnel: Tunnel }>;
  /** A tunnel with this key whose proof is newer than that; made if need be, and then those that are not newer retire. */
  newerThan(key: TunnelKey, order: number, signal: AbortSignal): Promise<Tunnel>;
  /** Retires the tunnels on which we showed another certificate than this one. */
  retireOthersThan(local: Identity): void;
  /** Makes no more, and retires all; resolves when they have ended. */
  close(): Promise<void>;
  /** Makes no more, and ends all at once. */
  destroy(): void;
  tunnels(): Iterable<Tunnel>;
}

/** A request that races a retiring tunnel goes to another; so often, and no oftener. */
export const maxAttempts = 3;
/** Each round makes a tunnel or waits for one; many only when thousands of connections wait for the same peer. */
const maxRounds = 20;

interface Lane {
  readonly tunnels: Set<Tunnel>;
  /** A tunnel that is being made; everybody who needs one waits for it. */
  making: Promise<Tunnel> | undefined;
}

/** `dial` makes a tunnel and calls `onClose` when it has ended; it has a deadline of its own. */
export function createTunnelPool(
  dial: (key: TunnelKey, onClose: (tunnel: Tunnel) => void) => Promise<Tunnel>,
  { clock, identity, revocations }: Pick<ProxyParts, 'clock' | 'identity' | 'revocations'>,
): TunnelPool {
  let isClosed = false;
  const lanes = new Map<string, Lane>();

  const laneOf = (name: string): Lane => {
    let lane = lanes.get(name);
    if (lane === undefined) {
      lane = { tunnels: new Set(), making: undefined };
      lanes.set(name, lane);
    }
    return lane;
  };

  const make = (key: TunnelKey, name: string, lane: Lane): Promise<Tunnel> => {
    const drop = (tunnel: Tunnel) => {
      lane.tunnels.delete(tunnel);
      if (lane.tunnels.size === 0 && lane.making === undefined) lanes.delete(name);
    };
    const keep = (tunnel: Tunnel) => {
      if (isClosed) tunnel.destroy();
      lane.tunnels.add(tunnel);
      return tunnel;
    };
    const made = () => {
      lane.making = undefined;
      if (lane.tunnels.size === 0) lanes.delete(name);
    };
    lane.making = dial(key, drop).then(keep).finally(made);
    return lane.making;
  };

  /** A tunnel that may carry something new: with room, and with a peer that still is who it was, also if the bundles changed while it was made. */
  const fits = (tunnel: Tunnel): boolean => {
    const { bundles } = identity.current();
    const circumstances = { bundles, revocations: revocations.current(), nowMs: clock.now() };
    if (lapseOf(tunnel.proof.peer, circumstances) === undefined) return tunnel.hasRoom();
    tunnel.retire();
    return false;
  };

  /** `begin` is called in the same turn in which the tunnel was found to have room, so that many who waited cannot all take the last place. */
  const onTunnel = async <T>(key: TunnelKey, begin: (tunnel: Tunnel) => T, signal: AbortSignal): Promise<T> => {
    const name = nameOf(key);
    for (let round = 0; round < maxRounds; round += 1) {
      if (isClosed) throw new DeniedError('draining', 'The sidecar opens no more tunnels');
      const lane = laneOf(name);
      for (const tunnel of lane.tunnels) if (fits(tunnel)) return begin(tunnel);
      const isOurs = lane.making === undefined;
      const tunnel = await abortable(lane.making ?? make(key, name, lane), signal);
      if (fits(tunnel)) return begin(tunnel);
      if (isOurs && tunnel.streams() === 0) {
        tunnel.retire();
        break;
      }
    }
    throw new ConnectionError(
      'tunnel_lost',
      `No tunnel to ${formatAddress(key.address)} stays open and takes a stream`,
    );
  };

  return {
    async open(key, { destination, connectionId }, signal) {
      const begin = (tunnel: Tunnel) => ({ tunnel, opening: tunnel.open(destination, connectionId, signal) });
      for (let attempt = 1; ; attempt += 1) {
        const { tunnel, opening } = await onTunnel(key, begin, signal);
        try {
          return { leg: await opening, tunnel };
        } catch (error) {
          if (!(error instanceof TunnelRetiredError)) throw error;
          if (attempt < maxAttempts) continue;
          throw new ConnectionError(
            'tunnel_lost',
            `Every tunnel to ${formatAddress(key.address)} closed before its peer answered`,
            { cause: error },
          );
        }
      }
    },
    async newerThan(key, order, signal) {
      if (isClosed) throw new DeniedError('draining', 'The sidecar opens no more tunnels');
      const name = nameOf(key);
      const lane = laneOf(name);
      const isNewer = ({ proof }: Tunnel) => proof.end.order > order;
      const known = [...lane.tunnels].find((tunnel) => isNewer(tunnel) && fits(tunnel));
      const newer = known ?? (await abortable(lane.making ?? make(key, name, lane), signal));
      for (const tunnel of lane.tunnels) if (!isNewer(tunnel)) tunnel.retire();
      return newer;
    },
    retireOthersThan(local) {
      for (const tunnel of all(lanes)) {
        if (tunnel.mutualTls.local.leaf.fingerprint256 !== local.leaf.fingerprint256) tunnel.retire();
      }
    },
    async close() {
      isClosed = true;
      const ending = [...all(lanes)];
      for (const tunnel of ending) tunnel.retire();
      await Promise.all(ending.map(({ closed }) => closed));
    },
    destroy() {
      isClosed = true;
      for (const tunnel of all(lanes)) tunnel.destroy();
    },
    tunnels: () => all(lanes),
  };
}

function nameOf({ address, expectedId, local }: TunnelKey): string {
  return `${formatAddress(address)} ${expectedId.uri} ${local.leaf.fingerprint256}`;
}

function* all(lanes: ReadonlyMap<string, Lane>): Iterable<Tunnel> {
  for (const lane of lanes.values()) yield* lane.tunnels;
}
