import type { Socket } from 'node:net';
import { formatAddress } from '../../addresses.ts';
import { HandshakeError, messageOf, withFacts } from '../../errors.ts';
import { refusalOf } from '../../identity/verify-peer.ts';
import type { PermittedEndpoint } from '../../policy/permit.ts';
import { withDeadline } from '../deadline.ts';
import type { Leg } from '../leg.ts';
import { resetSocket, socketLeg } from '../leg.ts';
import type { ProxyParts } from '../parts.ts';
import { currentIdentity } from '../parts.ts';
import type { Proofs } from '../proofs.ts';
import { directFacts } from '../transport/direct-facts.ts';
import type { MutualTls } from '../transport/tls.ts';
import { originateMutualTls } from '../transport/tls.ts';
import { expectedIdOf } from './expected-id.ts';
import type { Opened } from './open.ts';

export type DirectEndpoint = Extract<PermittedEndpoint, { transport: 'direct' }>;

export interface DirectParts extends Pick<ProxyParts, 'clock' | 'identity' | 'observer' | 'revocations'> {
  readonly proofs: Proofs;
}

export interface DirectSettings {
  /** For TLS, once the peer has accepted the connection. */
  readonly handshakeTimeoutMs: number;
}

/**
 * Mutual TLS with the port of the application itself, one connection for one connection, with exactly the peer that is
 * expected. Not a byte of the application is read before that is proved. `connect` opens the TCP connection. Throws
 * `HandshakeError`, `DeniedError` and what `connect` throws; nothing is open then.
 */
export async function openDirect(
  endpoint: DirectEndpoint,
  connect: () => Promise<Socket>,
  parts: DirectParts,
  { handshakeTimeoutMs }: DirectSettings,
  outer: AbortSignal,
): Promise<Opened> {
  const { clock, observer, revocations, proofs } = parts;
  const expectedId = expectedIdOf(endpoint);
  const local = currentIdentity(parts);
  const raw = await connect();
  const judging = { nowMs: clock.now, revocations: revocations.current };
  const late = () =>
    new HandshakeError('timeout', `The handshake with ${formatAddress(endpoint.address)} did not finish in time`);
  const startedMs = clock.monotonic();
  try {
    const mutualTls = await withDeadline(clock, handshakeTimeoutMs, late, outer, (signal) =>
      originateMutualTls(raw, local, expectedId, judging, 'direct', signal),
    );
    const leg = directLeg(mutualTls, clock.monotonic() - startedMs, observer);
    const proof = proofs.open({ ...mutualTls, direction: 'outbound', isProvable: false, retire: () => undefined });
    mutualTls.socket.once('close', proof.close);
    return { leg, proof, facts: { ...directFacts(mutualTls), endpoint: endpoint.address } };
  } catch (error) {
    resetSocket(raw);
    if (error instanceof HandshakeError) observer.handshakeFailed('outbound', error.reason);
    throw withFacts(error, { transport: 'direct', localId: local.spiffeId.uri });
  }
}

/**
 * Under TLS 1.3 a client has finished before the server has looked at its certificate, so a refusal shows only afterwards,
 * and often as a bare end. The handshake counts as a success with the first byte of the peer, and as a failure when it is
 * cut before; an end before it leaves that open, and the log line says so.
 */
function directLeg({ socket, negotiated }: MutualTls, durationMs: number, observer: DirectParts['observer']): Leg {
  let isHeard = false;
  let hasEndedFirst = false;
  socket.once('end', () => {
    hasEndedFirst = !socket.writableEnded;
  });
  socket.once('error', (error) => {
    if (!isHeard) observer.handshakeFailed('outbound', refusalOf(error));
  });
  return {
    ...socketLeg(socket),
    heard() {
      isHeard = true;
      observer.handshakeSucceeded('outbound', durationMs, negotiated);
    },
    doubt() {
      const { errored } = socket;
      if (isHeard || (errored === null && !hasEndedFirst)) return undefined;
      const what = errored === null ? 'ended' : `cut (${messageOf(errored)})`;
      return `The peer has ${what} the connection before it had said anything: under TLS 1.3 one that does not accept our certificate does so only then, and its own log says whether it was that`;
    },
  };
}
