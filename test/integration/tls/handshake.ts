import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import * as tls from 'node:tls';
import { HandshakeError } from '../../../src/errors.ts';
import type { Identity } from '../../../src/identity/identity.ts';
import type { Revocations } from '../../../src/identity/revocations.ts';
import { noRevocations } from '../../../src/identity/revocations.ts';
import type { SpiffeId } from '../../../src/identity/spiffe-id.ts';
import type { VerifiedPeer } from '../../../src/identity/verify-peer.ts';
import type { HandshakeReason } from '../../../src/outcomes.ts';
import type { MutualTls, TlsUse } from '../../../src/proxy/transport/tls.ts';
import { acceptMutualTls, originateMutualTls } from '../../../src/proxy/transport/tls.ts';
import type { TestAuthority } from '../../support/identities.ts';
import { bundlesOf, createTestAuthority, createTestIdentity, spiffeId } from '../../support/identities.ts';

/** What our side made of a stranger. */
export type Outcome =
  | { readonly kind: 'verified'; readonly peer: VerifiedPeer; readonly connection: MutualTls }
  | { readonly kind: 'refused'; readonly reason: HandshakeReason; readonly message: string };

export type Role = 'client' | 'server';
export const roles = ['client', 'server'] as const;

/** Key and chain, as a stranger shows them. */
export interface Credentials {
  readonly key: { export(options: { type: 'pkcs8'; format: 'pem' }): string | Buffer };
  readonly chainPem: string;
}

export const mesh: TestAuthority = createTestAuthority('cluster.local');
/** Another trust domain that we trust for its own workloads. */
export const federated: TestAuthority = createTestAuthority('partner.example');
export const local: Identity = createTestIdentity(mesh, {
  namespace: 'shop',
  serviceAccount: 'web',
  bundles: bundlesOf(mesh, federated),
});
export const peerId: SpiffeId = spiffeId('spiffe://cluster.local/ns/shop/sa/peer');

export interface Pair {
  /** Our end. */
  readonly ours: Socket;
  /** The stranger's end. */
  readonly theirs: Socket;
  close(): void;
}

/** Two ends of a TCP connection over loopback. */
export async function openPair(): Promise<Pair> {
  const listener = createServer({ allowHalfOpen: false });
  const accepted = new Promise<Socket>((resolve) => listener.once('connection', resolve));
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const theirs = connect((listener.address() as AddressInfo).port, '127.0.0.1');
  theirs.on('error', () => undefined);
  const ours = await accepted;
  ours.on('error', () => undefined);
  listener.close();
  return {
    ours,
    theirs,
    close: () => {
      ours.destroy();
      theirs.destroy();
    },
  };
}

export interface Ours {
  readonly local?: Identity;
  readonly expectedId?: SpiffeId;
  readonly nowMs?: number;
  readonly revocations?: Revocations;
  /** Default: a tunnel. */
  readonly use?: TlsUse;
}

const never = new AbortController().signal;

/** Our side of a handshake over a pair that a stranger drives from the other end. */
export async function meet(role: Role, pair: Pair, ours: Ours = {}): Promise<Outcome> {
  const identity = ours.local ?? local;
  const use = ours.use ?? 'tunnel';
  const judging = { nowMs: () => ours.nowMs ?? Date.now(), revocations: () => ours.revocations ?? noRevocations };
  try {
    const connection =
      role === 'client'
        ? await acceptMutualTls(pair.ours, identity, judging, use, never)
        : await originateMutualTls(pair.ours, identity, ours.expectedId ?? peerId, judging, use, never);
    return { kind: 'verified', peer: connection.peer, connection };
  } catch (error) {
    if (!(error instanceof HandshakeError)) throw error;
    return { kind: 'refused', reason: error.reason, message: error.message };
  }
}

/** Starts a stranger in its role on its end of a pair; its errors are its own business. */
export function startStranger(
  role: Role,
  pair: Pair,
  credentials: Credentials | undefined,
  options: tls.TlsOptions & tls.ConnectionOptions = {},
): tls.TLSSocket | tls.Server {
  const shown = credentials && {
    key: credentials.key.export({ type: 'pkcs8', format: 'pem' }),
    cert: credentials.chainPem,
  };
  const common = { ...shown, ALPNProtocols: ['h2'], ca: mesh.bundlePem, rejectUnauthorized: false, ...options };
  if (role === 'client') {
    const socket = tls.connect({ ...common, socket: pair.theirs, checkServerIdentity: () => undefined });
    socket.on('error', () => undefined);
    return socket;
  }
  const server = tls.createServer({ ...common, requestCert: true });
  server.on('secureConnection', (socket) => socket.on('error', () => undefined));
  server.on('tlsClientError', () => undefined);
  server.emit('connection', pair.theirs);
  return server;
}

/** A whole handshake with a stranger who shows these credentials in this role; the connection is closed afterwards. */
export async function present(
  role: Role,
  credentials: Credentials | undefined,
  ours: Ours = {},
  options: tls.TlsOptions & tls.ConnectionOptions = {},
): Promise<Outcome> {
  const pair = await openPair();
  try {
    startStranger(role, pair, credentials, options);
    return await meet(role, pair, ours);
  } finally {
    pair.close();
  }
}

/** `accepted`, or the reason of the refusal. */
export function verdict(outcome: Outcome): HandshakeReason | 'accepted' {
  return outcome.kind === 'verified' ? 'accepted' : outcome.reason;
}
