import type { Socket } from 'node:net';
import type { Address } from '../../addresses.ts';
import type { PolicyState } from '../../control-api.ts';
import { ConnectionError, DeniedError, HandshakeError } from '../../errors.ts';
import type { InboundFloor, InboundRequest } from '../../policy/authorize.ts';
import { authorize } from '../../policy/authorize.ts';
import type { Mode } from '../../policy/mode.ts';
import { modeInForce } from '../../policy/mode.ts';
import { outcomeOf } from '../account.ts';
import { carry } from '../carry.ts';
import { cutWhileOpening, untilClosed } from '../deadline.ts';
import { resetSocket, socketLeg } from '../leg.ts';
import { takeSocket } from '../parts.ts';
import { peerAddressOf } from '../socket-ends.ts';
import { tuneSocket } from '../transport/connect.ts';
import { answerCanary, isCanary } from './canary.ts';
import type { Delivered } from './deliver.ts';
import { deliver } from './deliver.ts';
import type { Detected } from './detect.ts';
import { acceptDirect } from './direct.ts';
import type { HelloRoom } from './hello-room.ts';
import { look } from './look.ts';
import type { Greetings } from './silence.ts';
import type { InboundParts, InboundSettings } from './tunnel.ts';

export interface CaptureParts extends InboundParts {
  readonly greetings: Greetings;
  readonly helloRoom: HelloRoom;
  /** Where a captured connection was going; undefined when the kernel does not know. */
  originalDestination(socket: Socket): Address | undefined;
  /** What to tell whoever dials the canary port; undefined while nobody was asked to. */
  canaryAnswer?(): string | undefined;
}

/** One captured inbound connection, port 15006: original destination, detect, authorize, connect, relay, account. */
export async function acceptInbound(socket: Socket, parts: CaptureParts, settings: InboundSettings): Promise<void> {
  const acceptedAtMs = parts.clock.monotonic();
  const originalDestination = parts.originalDestination(socket);
  if (isCanary(originalDestination)) return answerCanary(socket, parts.canaryAnswer?.());
  const peerAddress = peerAddressOf(socket);
  const account = parts.accounts.open({ direction: 'inbound', peerAddress });
  const downstream = socketLeg(socket);
  const untrack = parts.drain.track(() => resetSocket(socket, cutWhileOpening()));
  let delivered: Delivered | undefined;
  try {
    // What it has sent could still be read, and no rule about addresses would know of whom it is.
    if (peerAddress === undefined)
      throw new ConnectionError('reset', 'The peer was gone before the kernel could be asked who it is');
    takeSocket(socket, parts);
    tuneSocket(socket, settings);
    if (originalDestination === undefined)
      throw new DeniedError('no_original_destination', 'The kernel knows no original destination');
    const facts = { transport: 'plaintext', security: 'plaintext', originalDestination } as const;
    account.learned({ originalDestination });
    const destination = parts.guard.check(originalDestination);
    const mode = modeOn(destination.port, parts.policy.current(), settings.floor);
    const plaintext: InboundRequest = { destination, principal: undefined, source: peerAddress.ip };
    const seen = await look({ socket, acceptedAtMs, plaintext }, mode, parts, settings);
    ({ delivered } = seen);
    if (seen.detected.kind === 'mesh_tls') {
      const from = { socket, account, destination, originalDestination, peerAddress, acceptedAtMs, delivered };
      return await acceptDirect({ ...from, carried: untrack }, parts, settings);
    }
    account.learned(facts);
    refuseDetected(seen.detected, mode, destination);
    const permit = authorize(plaintext, parts.policy.current(), settings.floor);
    delivered ??= await deliver(permit, parts, settings, untilClosed(socket));
    const grounds = { permission: parts.permissions.ground(permit) };
    const upstream = socketLeg(delivered.application);
    const carried = carry(account, facts, downstream, upstream, parts, settings, grounds);
    untrack();
    await carried;
  } catch (error) {
    resetSocket(socket);
    if (delivered !== undefined) resetSocket(delivered.application);
    if (error instanceof HandshakeError) parts.observer.handshakeFailed('inbound', error.reason);
    account.close(outcomeOf(error));
  } finally {
    untrack();
    delivered?.release();
  }
}

/** What is in force on a captured port. Throws `DeniedError` before the first policy. */
export function modeOn(port: number, policy: PolicyState | undefined, { minimumMode }: InboundFloor): Mode {
  if (policy === undefined) throw new DeniedError('policy_unavailable', 'No policy has arrived yet');
  return modeInForce(policy, port, minimumMode).mode;
}

/**
 * Throws why what was seen on a captured port is not taken there. What begins like TLS is never taken for plaintext, whatever
 * the mode; STRICT takes mutual TLS of the mesh alone.
 */
export function refuseDetected(detected: Exclude<Detected, { kind: 'mesh_tls' }>, mode: Mode, { port }: Address): void {
  if (detected.kind === 'bad_record')
    throw new HandshakeError(
      'bad_record',
      `The peer begins a TLS handshake on port ${port} that is none: ${detected.why}`,
    );
  if (detected.kind === 'cut')
    throw new HandshakeError(
      'reset',
      `The peer closed the connection in the middle of its ClientHello on port ${port}`,
    );
  if (mode !== 'STRICT') return;
  switch (detected.kind) {
    case 'ended':
      throw new HandshakeError(
        'reset',
        `The peer said nothing on port ${port}, which is STRICT, and closed the connection`,
      );
    case 'other_tls':
      throw new HandshakeError('alpn', `Port ${port} is STRICT and the peer speaks a TLS that is not the mesh's`);
    case 'plaintext':
      if (detected.why === 'other-record')
        throw new HandshakeError('bad_record', `Port ${port} is STRICT and the peer speaks TLS without a handshake`);
      throw new HandshakeError('plaintext_in_strict', `Port ${port} is STRICT and the peer speaks plaintext`);
    default:
      detected satisfies never;
  }
}
