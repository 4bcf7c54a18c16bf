import type { Socket } from 'node:net';
import type { Address } from '../../addresses.ts';
import { authorize } from '../../policy/authorize.ts';
import type { Account } from '../account.ts';
import { carry } from '../carry.ts';
import { untilClosed } from '../deadline.ts';
import { resetSocket, socketLeg } from '../leg.ts';
import type { Proof } from '../proof.ts';
import { directFacts } from '../transport/direct-facts.ts';
import type { CaptureParts } from './capture.ts';
import type { Delivered } from './deliver.ts';
import { deliver } from './deliver.ts';
import { handshake } from './handshake.ts';
import type { InboundSettings } from './tunnel.ts';

/** A captured connection that begins with mutual TLS of the mesh; its bytes so far have been put back. */
export interface DirectConnection {
  readonly socket: Socket;
  readonly account: Account;
  /** Where it is delivered. */
  readonly destination: Address;
  readonly originalDestination: Address;
  readonly peerAddress: Address;
  /** When it was accepted, monotonic: the deadline of the handshake counts from there. */
  readonly acceptedAtMs: number;
  /** The application, when it was dialled before the peer had said anything. */
  readonly delivered?: Delivered | undefined;
  /** Called when it is carried: a stop waits for it from then on without the help of the page. */
  carried(): void;
}

/**
 * Mutual TLS on the port of the application itself: handshake, authorize, connect, relay, account. Throws what becomes the
 * outcome when it is not carried; nothing of it is open then.
 */
export async function acceptDirect(
  { socket, account, destination, originalDestination, peerAddress, ...from }: DirectConnection,
  parts: CaptureParts,
  settings: InboundSettings,
): Promise<void> {
  let { delivered } = from;
  let proof: Proof | undefined;
  try {
    account.learned({ transport: 'direct', originalDestination });
    const spentMs = parts.clock.monotonic() - from.acceptedAtMs;
    const start = { use: 'direct', spentMs } as const;
    const mutualTls = await handshake(socket, parts.inFlight, parts, settings, async (shaken) => shaken, start);
    const facts = { ...directFacts(mutualTls), originalDestination };
    account.learned(facts);
    // Nothing tells a peer gently that its one connection should end, so there is nothing to retire.
    proof = parts.proofs.open({ ...mutualTls, direction: 'inbound', isProvable: false, retire: () => undefined });
    const asked = { destination, principal: mutualTls.peer.spiffeId.uri, source: peerAddress.ip };
    const permit = authorize(asked, parts.policy.current(), settings.floor);
    const secure = mutualTls.socket;
    delivered ??= await deliver(permit, parts, settings, untilClosed(secure));
    const grounds = { proof, permission: parts.permissions.ground(permit) };
    const upstream = socketLeg(delivered.application);
    const carried = carry(account, facts, socketLeg(secure), upstream, parts, settings, grounds);
    from.carried();
    await carried;
  } catch (error) {
    resetSocket(socket);
    if (delivered !== undefined) resetSocket(delivered.application);
    throw error;
  } finally {
    proof?.close();
    delivered?.release();
  }
}
