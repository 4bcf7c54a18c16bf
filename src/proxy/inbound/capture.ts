import type { Socket } from 'node:net';
import type { Address } from '../../addresses.ts';
import type { PolicyState } from '../../control-api.ts';
import { DeniedError, HandshakeError } from '../../errors.ts';
import type { InboundFloor } from '../../policy/authorize.ts';
import { authorize } from '../../policy/authorize.ts';
import { modeInForce } from '../../policy/mode.ts';
import { outcomeOf } from '../account.ts';
import { carry } from '../carry.ts';
import { cutWhileOpening, untilClosed, withDeadline } from '../deadline.ts';
import { resetSocket, socketLeg } from '../leg.ts';
import { takeSocket } from '../parts.ts';
import { peerAddressOf } from '../socket-ends.ts';
import { tuneSocket } from '../transport/connect.ts';
import { answerCanary, isCanary } from './canary.ts';
import { deliver } from './deliver.ts';
import type { Detected } from './detect.ts';
import { detect } from './detect.ts';
import type { InboundParts, InboundSettings } from './tunnel.ts';

export interface CaptureParts extends InboundParts {
  /** Where a captured connection was going; undefined when the kernel does not know. */
  originalDestination(socket: Socket): Address | undefined;
  /** What to tell whoever dials the canary port; undefined while nobody was asked to. */
  canaryAnswer?(): string | undefined;
}

/** One captured inbound connection, port 15006: original destination, detect, authorize, connect, relay, account. */
export async function acceptInbound(socket: Socket, parts: CaptureParts, settings: InboundSettings): Promise<void> {
  const originalDestination = parts.originalDestination(socket);
  if (isCanary(originalDestination)) return answerCanary(socket, parts.canaryAnswer?.());
  const peerAddress = peerAddressOf(socket);
  const account = parts.accounts.open({ direction: 'inbound', peerAddress });
  const downstream = socketLeg(socket);
  const untrack = parts.drain.track(() => resetSocket(socket, cutWhileOpening()));
  let release = () => {};
  try {
    takeSocket(socket, parts);
    tuneSocket(socket, settings);
    if (originalDestination === undefined)
      throw new DeniedError('no_original_destination', 'The kernel knows no original destination');
    const facts = { transport: 'plaintext', security: 'plaintext', originalDestination } as const;
    account.learned(facts);
    const destination = parts.guard.check(originalDestination);
    await refuseUnlessPlaintextIsAllowed(socket, originalDestination, parts, settings);
    const asked = { destination, principal: undefined, source: peerAddress?.ip };
    const permit = authorize(asked, parts.policy.current(), settings.floor);
    const delivered = await deliver(permit, parts, settings, untilClosed(socket));
    ({ release } = delivered);
    const grounds = { permission: parts.permissions.ground(permit) };
    const carried = carry(account, facts, downstream, socketLeg(delivered.application), parts, settings, grounds);
    untrack();
    await carried;
  } catch (error) {
    resetSocket(socket);
    if (error instanceof HandshakeError) parts.observer.handshakeFailed('inbound', error.reason);
    account.close(outcomeOf(error));
  } finally {
    untrack();
    release();
  }
}

async function refuseUnlessPlaintextIsAllowed(
  socket: Socket,
  destination: Address,
  { clock, policy }: CaptureParts,
  settings: InboundSettings,
): Promise<void> {
  if (isAnythingTaken(destination.port, policy.current(), settings.floor)) return;
  const late = () => new HandshakeError('timeout', silence(destination, settings));
  const detected = await withDeadline(clock, settings.handshakeTimeoutMs, late, undefined, (signal) =>
    detect(socket, signal),
  );
  refuseDetected(detected, destination);
}

/** No sidecar keeps silent here: its connections come through tunnels. */
function silence({ port }: Address, { handshakeTimeoutMs }: InboundSettings): string {
  return `The peer said nothing within ${handshakeTimeoutMs} ms on port ${port}, which is STRICT: a client without a sidecar that waits for the server to speak first does so`;
}

/**
 * STRICT takes mutual TLS through the tunnel port alone; other modes take what comes, as it is. Throws `DeniedError` before
 * the first policy.
 */
export function isAnythingTaken(port: number, policy: PolicyState | undefined, { minimumMode }: InboundFloor): boolean {
  if (policy === undefined) throw new DeniedError('policy_unavailable', 'No policy has arrived yet');
  return modeInForce(policy, port, minimumMode).mode !== 'STRICT';
}

/** Throws why what was seen on a captured port is not taken there. */
export function refuseDetected(detected: Detected, { port }: Address): never {
  switch (detected.kind) {
    case 'ended':
      throw new HandshakeError(
        'reset',
        `The peer said nothing on port ${port}, which is STRICT, and closed the connection`,
      );
    case 'tls':
      throw new HandshakeError('alpn', `Port ${port} is STRICT and the peer speaks a TLS that is not the mesh's`);
    case 'plaintext':
      throw new HandshakeError('plaintext_in_strict', `Port ${port} is STRICT and the peer speaks plaintext`);
    default:
      return detected satisfies never;
  }
}
