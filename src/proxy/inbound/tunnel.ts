import type { Socket } from 'node:net';
import type { Address } from '../../addresses.ts';
import { DeniedError, HandshakeError, withFacts } from '../../errors.ts';
import { shownCertificate } from '../../identity/shown-certificate.ts';
import type { VerifiedPeer } from '../../identity/verify-peer.ts';
import type { InboundFloor } from '../../policy/authorize.ts';
import { authorize } from '../../policy/authorize.ts';
import { outcomeOf } from '../account.ts';
import { carry } from '../carry.ts';
import { cutWhileOpening } from '../deadline.ts';
import { resetSocket, socketLeg } from '../leg.ts';
import type { ProxyParts } from '../parts.ts';
import { currentIdentity, takeSocket } from '../parts.ts';
import type { Proof } from '../proof.ts';
import type { Proofs } from '../proofs.ts';
import type { RelayLimits } from '../relay.ts';
import type { Slots } from '../slots.ts';
import { peerAddressOf, tunnelEndsOf } from '../socket-ends.ts';
import { tuneSocket } from '../transport/connect.ts';
import { tunnelFacts } from '../transport/hbone/facts.ts';
import { tellGivenUp } from '../transport/hbone/given-up.ts';
import type { ServedTunnel, ServedTunnelLimits, StreamRequest } from '../transport/hbone/serve.ts';
import { serveTunnel } from '../transport/hbone/serve.ts';
import type { ProofRequest } from '../transport/hbone/wire.ts';
import { connectionIdOf, destinationOf } from '../transport/hbone/wire.ts';
import type { MutualTls } from '../transport/tls.ts';
import type { DeliverySettings } from './deliver.ts';
import { deliver } from './deliver.ts';
import type { Dials } from './dials.ts';
import type { InboundGuard } from './guard.ts';
import { handshake } from './handshake.ts';
import type { Handshakes } from './handshakes.ts';
import type { Permissions } from './permissions.ts';

export interface InboundSettings extends RelayLimits, ServedTunnelLimits, DeliverySettings {
  /** From the accept to the peer's HTTP/2 SETTINGS. */
  readonly handshakeTimeoutMs: number;
  readonly floor: InboundFloor;
}

export interface InboundParts extends ProxyParts {
  readonly guard: InboundGuard;
  /** Handshakes that are begun in one turn of the event loop. */
  readonly handshakes: Slots;
  /** Peers of all ports that have not proved yet who they are. */
  readonly inFlight: Handshakes;
  readonly dials: Dials;
  readonly proofs: Proofs;
  readonly permissions: Permissions;
}

/** HBONE, port 15008: tunnels of verified peers, and the connections in them. */
export interface InboundTunnels {
  accept(raw: Socket): Promise<void>;
  /** Those that are open. */
  tunnels(): Iterable<InboundTunnel>;
  /** GOAWAY to every peer, and no new tunnel; what is open goes on. */
  retire(): void;
  /** Retires all; resolves when they have ended. */
  close(): Promise<void>;
  /** Ends all at once. */
  destroy(): void;
}

/** A tunnel, with what its peer has proved. */
export interface InboundTunnel extends ServedTunnel {
  readonly proof: Proof;
}

export function createInboundTunnels(parts: InboundParts, settings: InboundSettings): InboundTunnels {
  const tunnels = new Set<InboundTunnel>();
  let accepted = 0;
  let isRetired = false;

  const accept = async (raw: Socket): Promise<void> => {
    const peerAddress = peerAddressOf(raw);
    const ends = tunnelEndsOf(raw, false);
    try {
      if (peerAddress === undefined)
        throw new HandshakeError('reset', 'The peer was gone before the kernel could be asked who it is');
      if (isRetired) throw new DeniedError('draining', 'The sidecar takes no new tunnels');
      takeSocket(raw, parts);
      tuneSocket(raw, settings);
      accepted += 1;
      raw.once('close', () => {
        accepted -= 1;
      });
      const tunnel = await handshake(raw, parts.inFlight, parts, settings, (mutualTls, signal) =>
        serveProved({ ...mutualTls, peerAddress }, parts, settings, signal),
      );
      if (isShortOfPlaces(accepted, parts)) longestIdle(tunnels, parts.clock.monotonic() - leastIdleMs)?.retire();
      tunnels.add(tunnel);
      if (isRetired) tunnel.retire();
      parts.observer.tunnelOpened('inbound');
      await tunnel.closed;
      tunnels.delete(tunnel);
      parts.observer.tunnelClosed('inbound');
    } catch (error) {
      resetSocket(raw);
      if (error instanceof HandshakeError) parts.observer.handshakeFailed('inbound', error.reason);
      parts.accounts.open({ direction: 'inbound', peerAddress }).close(outcomeOf(withFacts(error, ends)));
    }
  };

  const retire = () => {
    isRetired = true;
    for (const tunnel of tunnels) tunnel.retire();
  };

  return {
    accept,
    tunnels: () => tunnels,
    retire,
    async close() {
      retire();
      await Promise.all([...tunnels].map(({ closed }) => closed));
    },
    destroy() {
      for (const tunnel of tunnels) tunnel.destroy();
    },
  };
}

/** Before the last place is taken, because a tunnel that gives way needs a moment to end. */
function isShortOfPlaces(accepted: number, { connections, descriptors }: InboundParts): boolean {
  const isShort = (inUse: number, capacity: number) => inUse >= capacity - capacity / 8;
  return (
    isShort(accepted, connections.capacity) ||
    (descriptors !== undefined && isShort(descriptors.inUse, descriptors.capacity))
  );
}

/** A tunnel that is new has had no time to ask for anything. */
export const leastIdleMs = 1000;

/**
 * The tunnel that gives way when places are short. Those alone that were idle at `sinceMs` already, whoever they belong to: one peer may be all that a
 * service has, so there is no share that would be right for a peer; and who still needs it makes another.
 */
function longestIdle(tunnels: Iterable<ServedTunnel>, sinceMs: number): ServedTunnel | undefined {
  let found: ServedTunnel | undefined;
  let longestMs = sinceMs;
  for (const tunnel of tunnels) {
    const idleSinceMs = tunnel.idleSinceMs();
    if (idleSinceMs === undefined || idleSinceMs > longestMs) continue;
    found = tunnel;
    longestMs = idleSinceMs;
  }
  return found;
}

/** Where a connection comes from. */
interface InboundPeer extends MutualTls {
  readonly peerAddress: Address;
}

/** Serves a tunnel whose peer has proved who it is, for as long as that holds. */
async function serveProved(
  from: InboundPeer,
  parts: InboundParts,
  settings: InboundSettings,
  signal: AbortSignal,
): Promise<InboundTunnel> {
  const { clock, proofs } = parts;
  let tunnel: ServedTunnel | undefined;
  let isRetired = false;
  const retire = () => {
    isRetired = true;
    tunnel?.retire();
  };
  const proof = proofs.open({ ...from, direction: 'inbound', retire });
  const requests = {
    onRequest: (request: StreamRequest) => void serve(request, from, proof, parts, settings),
    onProof: (request: ProofRequest) => proofs.proveOlder(request, proof),
    onGivenUp: tellGivenUp(parts, 'inbound', from),
  };
  try {
    tunnel = await serveTunnel(from, clock, settings, requests, signal);
    void tunnel.closed.then(proof.close);
    if (isRetired) tunnel.retire();
    return { ...tunnel, proof };
  } catch (error) {
    proof.close();
    throw error;
  }
}

/** One connection inside a tunnel: destination, authorize, connect, 200, relay, account. */
async function serve(
  request: StreamRequest,
  from: InboundPeer,
  proof: Proof,
  parts: InboundParts,
  settings: InboundSettings,
): Promise<void> {
  const { peerAddress } = from;
  const account = parts.accounts.open({ id: connectionIdOf(request.headers), direction: 'inbound', peerAddress });
  const ofTunnel = tunnelFacts(from);
  account.learned(ofTunnel);
  const untrack = parts.drain.track(() => request.abort(cutWhileOpening()));
  let release = () => {};
  let application: Socket | undefined;
  try {
    const { peer } = proof;
    const originalDestination = destinationOf(request.headers);
    const facts = { ...ofTunnel, originalDestination };
    account.learned({ originalDestination });
    refuseOutdated(peer, parts);
    const destination = parts.guard.check(originalDestination);
    const asked = { destination, principal: peer.spiffeId.uri, source: peerAddress.ip };
    const permit = authorize(asked, parts.policy.current(), settings.floor);
    const delivered = await deliver(permit, parts, settings, request.signal);
    ({ application, release } = delivered);
    const grounds = { proof, permission: parts.permissions.ground(permit) };
    const downstream = request.accept();
    const carried = carry(account, facts, downstream, socketLeg(application), parts, settings, grounds);
    untrack();
    await carried;
  } catch (error) {
    // It was dialled for a connection that is not permitted any more, or whose peer has gone.
    if (application !== undefined) resetSocket(application);
    request.refuse(error, account.id);
    account.close(outcomeOf(error));
  } finally {
    untrack();
    release();
  }
}

/** A tunnel outlives what was proved on it; nothing new is carried on the strength of a proof that no longer holds. */
function refuseOutdated(peer: VerifiedPeer, parts: InboundParts): void {
  // Nor after the end of our own certificate.
  currentIdentity(parts);
  const lapse = parts.proofs.lapseOf(peer);
  if (lapse === undefined) return;
  const [leaf] = peer.path;
  throw new HandshakeError(lapse.reason, `The proof of the peer has lapsed: ${lapse.why}`, {
    facts: { presented: leaf && shownCertificate(leaf) },
  });
}
