import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerSessionOptions, SessionOptions } from 'node:http2';
import { constants } from 'node:http2';
import type { Address } from '../../../addresses.ts';
import { formatAddress, parseAddress } from '../../../addresses.ts';
import { ConnectionError, DeniedError } from '../../../errors.ts';
import type { ClosedReason, DeniedReason, HandshakeReason } from '../../../outcomes.ts';
import { closedReasons, deniedReasons, handshakeReasons, wantsOfRoom } from '../../../outcomes.ts';
import { printable } from '../../../printable.ts';
import type { OtherRefusal } from '../../../refusal-facts.ts';
import { outcomeOf } from '../../account.ts';

/**
 * HBONE on the wire: HTTP/2 CONNECT (RFC 9113 §8.5) whose authority is the workload's address and port, as Istio's
 * ambient mesh speaks it. A refusal names its reason and the connection's id, never a policy.
 */
const idHeader = 'remora-connection-id';
const reasonHeader = 'remora-reason';

/** How much a tunnel may carry, the same at both ends. */
export interface TunnelCapacity {
  /** What one stalled stream may hold at most, on the receiving side; bytes. */
  readonly streamWindowBytes: number;
  /** What a whole tunnel may have in flight; with HTTP/2's default of 64 KiB it is slow on every real network. Bytes. */
  readonly tunnelWindowBytes: number;
  /** Streams of one tunnel, ours and those that we accept. */
  readonly maxStreams: number;
}

/** Both ends. Node.js's own limits would end a whole tunnel for what a few of its streams do. */
export function sessionOptions({ streamWindowBytes, maxStreams }: TunnelCapacity): SessionOptions {
  return {
    settings: {
      enablePush: false,
      initialWindowSize: streamWindowBytes,
      maxConcurrentStreams: maxStreams,
      maxHeaderListSize: 8 * 1024,
    },
    // Megabytes; it counts what blocked streams hold, and ends the tunnel when it is reached.
    maxSessionMemory: 1024,
    maxHeaderListPairs: 32,
    maxOutstandingPings: 4,
  };
}

/** A server's: an application that aborts many connections must not end its neighbours' (the defaults stop at about 1,000). */
export function serverSessionOptions(capacity: TunnelCapacity): ServerSessionOptions {
  return {
    ...sessionOptions(capacity),
    maxSessionRejectedStreams: 100_000,
    streamResetBurst: 100_000,
    streamResetRate: 10_000,
  };
}

export function connectHeaders(destination: Address, connectionId: string): OutgoingHttpHeaders {
  return {
    [constants.HTTP2_HEADER_METHOD]: 'CONNECT',
    [constants.HTTP2_HEADER_AUTHORITY]: formatAddress(destination),
    [idHeader]: connectionId,
  };
}

const tunnelHeader = 'remora-tunnel';
const proofHeader = 'remora-proof';
const proofPath = '/remora/v1/tunnel-proof';

/** What is sent on a new tunnel to show that an older one ends here as well; identity/tunnel-proof.ts has the reasons. */
export interface ProofRequest {
  /** Name of the older tunnel. */
  readonly tunnel: string;
  readonly proof: string;
}

export function proofRequestHeaders({ tunnel, proof }: ProofRequest): OutgoingHttpHeaders {
  return {
    [constants.HTTP2_HEADER_METHOD]: 'POST',
    [constants.HTTP2_HEADER_PATH]: proofPath,
    [tunnelHeader]: tunnel,
    [proofHeader]: proof,
  };
}

/** Undefined for any other request. */
export function proofRequestIn(headers: IncomingHttpHeaders): ProofRequest | undefined {
  if (headers[constants.HTTP2_HEADER_PATH] !== proofPath) return undefined;
  return { tunnel: String(headers[tunnelHeader] ?? ''), proof: String(headers[proofHeader] ?? '') };
}

/** 200 with the answer, or 404: a stranger does not learn what exactly is wrong. */
export function proofReplyHeaders(answer: string | undefined): OutgoingHttpHeaders {
  if (answer === undefined) return { [constants.HTTP2_HEADER_STATUS]: 404, [reasonHeader]: notProved };
  return { [constants.HTTP2_HEADER_STATUS]: 200, [proofHeader]: answer };
}

const notProved = 'not_proved';

/** What a peer makes of a proof: its answer, that it does not accept it, or that it knows nothing of proofs. */
export type ProofReply =
  | { readonly kind: 'answer'; readonly answer: string }
  | { readonly kind: 'not_proved' }
  | { readonly kind: 'not_supported' };

export function proofReplyIn(headers: Readonly<Record<string, unknown>>): ProofReply {
  const answer = headers[proofHeader];
  if (headers[constants.HTTP2_HEADER_STATUS] === 200 && typeof answer === 'string') return { kind: 'answer', answer };
  return { kind: headers[reasonHeader] === notProved ? 'not_proved' : 'not_supported' };
}

/** The destination that a request names; throws `DeniedError` for anything but a CONNECT to an IP literal and a port. */
export function destinationOf(headers: IncomingHttpHeaders): Address {
  const method = headers[constants.HTTP2_HEADER_METHOD];
  const authority = headers[constants.HTTP2_HEADER_AUTHORITY];
  const address = typeof authority === 'string' ? parseAddress(authority) : undefined;
  if (method !== 'CONNECT' || address === undefined || headers[':protocol'] !== undefined) {
    const asked = printable(`${method} ${authority}`, 100);
    throw new DeniedError('bad_authority', `The request is ${asked}, expected CONNECT to an IP address and a port`);
  }
  return address;
}

/** The peer's id of the connection, if it is one: what a peer sends must not be able to forge a log line. */
export function connectionIdOf(headers: IncomingHttpHeaders): string | undefined {
  const id = headers[idHeader];
  return typeof id === 'string' && /^[a-z0-9-]{1,40}$/.test(id) ? id : undefined;
}

/** What a sidecar says of the application behind it. */
const aboutApplication: ReadonlySet<string> = new Set<ClosedReason>([
  'upstream_refused',
  'upstream_timeout',
  'upstream_unreachable',
]);

/** The other side's sidecar has no room for a connection; nothing was delivered, so another endpoint may take it. */
export class PeerFullError extends DeniedError {}

export const acceptance: OutgoingHttpHeaders = { [constants.HTTP2_HEADER_STATUS]: 200 };

/** 403 for a decision, 503 for an application that could not be reached. */
export function refusalHeaders(error: unknown, connectionId: string): OutgoingHttpHeaders {
  const outcome = outcomeOf(error);
  return {
    [constants.HTTP2_HEADER_STATUS]: outcome.kind === 'closed' ? 503 : 403,
    [reasonHeader]: outcome.reason,
    [idHeader]: connectionId,
  };
}

/**
 * The error that a reply other than 200 stands for. Its reason is a word of our lists, or it is none: that the application
 * there cannot be reached is the same outcome here, and everything else is `peer_refused`.
 */
export function refusalFrom(headers: Readonly<Record<string, unknown>>): Error {
  const status = Number(headers[constants.HTTP2_HEADER_STATUS]);
  const other = otherRefusal(status, String(headers[reasonHeader] ?? ''));
  const message = refusalWords(status, other);
  if (other?.outcome === 'closed' && aboutApplication.has(other.reason))
    return new ConnectionError(other.reason, message, { facts: { other } });
  const isFull = other !== undefined && wantsOfRoom.has(other.reason);
  return new (isFull ? PeerFullError : DeniedError)('peer_refused', message, { facts: { other } });
}

/** The status is left out where there is a reason: it says the same of what is forbidden and of what has no room. */
function refusalWords(status: number, other: OtherRefusal | undefined): string {
  const who = 'The sidecar of the other side';
  if (other === undefined) return `${who} answered ${status} without a reason`;
  if (other.outcome === 'closed') return `${who} could not pass it on: ${other.reason}`;
  return wantsOfRoom.has(other.reason) ? `${who} has no room now: ${other.reason}` : `${who} refused: ${other.reason}`;
}

/** By the list that the status stands for: some words are in several, and mean something else in each. */
function otherRefusal(status: number, reason: string): OtherRefusal | undefined {
  if (status === 503)
    return Object.hasOwn(closedReasons, reason) ? { outcome: 'closed', reason: reason as ClosedReason } : undefined;
  if (Object.hasOwn(deniedReasons, reason)) return { outcome: 'denied', reason: reason as DeniedReason };
  if (Object.hasOwn(handshakeReasons, reason)) return { outcome: 'handshake', reason: reason as HandshakeReason };
  return undefined;
}
