import { constants } from 'node:crypto';
import type { Socket } from 'node:net';
import * as tls from 'node:tls';
import { ConnectionError, DeniedError, HandshakeError, withFacts } from '../../errors.ts';
import type { Identity } from '../../identity/identity.ts';
import type { Revocations } from '../../identity/revocations.ts';
import type { SpiffeId } from '../../identity/spiffe-id.ts';
import type { TunnelKeys } from '../../identity/tunnel-proof.ts';
import { keyingMaterial, tunnelKeysOf } from '../../identity/tunnel-proof.ts';
import type { VerifiedPeer } from '../../identity/verify-peer.ts';
import { refusalOf, verifyPeer } from '../../identity/verify-peer.ts';
import { printable } from '../../printable.ts';
import type { TunnelEnds } from '../../refusal-facts.ts';
import type { Negotiated } from '../account.ts';
import { resetSocket } from '../leg.ts';
import { tunnelEndsOf } from '../socket-ends.ts';

/** RFC 8446 §7.5: the same as none. */
const noContext = Buffer.alloc(0);

/** The post-quantum hybrid first, then what every peer speaks. */
const groups = 'X25519MLKEM768:X25519:P-256';

/** What a TLS connection carries: a tunnel, or the bytes of one connection of an application. */
export type TlsUse = 'tunnel' | 'direct';

/**
 * What is spoken on it (ALPN), what is preferred first. `istio-peer-exchange`, which sidecars of Istio offer as well, is not
 * among them: who selects it gets metadata in front of the application's bytes.
 */
const protocols = { tunnel: ['h2'], direct: ['istio', 'remora'] } as const satisfies Record<TlsUse, readonly string[]>;

/** A TLS connection whose far side has proved who it is. Not a byte of it has been read or written. */
export interface MutualTls {
  readonly socket: tls.TLSSocket;
  readonly peer: VerifiedPeer;
  /** The identity that this side showed. */
  readonly local: Identity;
  readonly negotiated: Negotiated;
  /** Of the TCP connection below. */
  readonly ends: Partial<TunnelEnds>;
  /** Short, for people, and the same at both ends. */
  readonly name: string;
  /** What both ends of this connection know, and nobody else. */
  readonly keys: TunnelKeys;
}

/**
 * What both roles share. `ca` is always given, because without it Node.js trusts the public web; tickets are off,
 * because a resumed session skips every check that matters here.
 */
function contextOptions(identity: Identity, anchorsPem: readonly string[]): tls.SecureContextOptions {
  if (anchorsPem.length === 0) throw new HandshakeError('trust_domain', 'There is no root to verify the peer with');
  return {
    key: identity.key.export({ type: 'pkcs8', format: 'pem' }),
    cert: identity.chainPem,
    ca: [...anchorsPem],
    minVersion: 'TLSv1.3',
    maxVersion: 'TLSv1.3',
    ecdhCurve: groups,
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
}

interface Contexts {
  readonly servers: Map<TlsUse, tls.Server>;
  readonly clients: Map<string, tls.SecureContext>;
}

/** One context for each identity and role: a context made for each connection lives until the garbage collector finds it. */
const contextsOf = new WeakMap<Identity, Contexts>();

function contexts(identity: Identity): Contexts {
  let made = contextsOf.get(identity);
  if (made === undefined) {
    made = { servers: new Map(), clients: new Map() };
    contextsOf.set(identity, made);
  }
  return made;
}

/** A context that trusts the expected trust domain alone; another domain's root cannot vouch for this peer. */
function clientContext(identity: Identity, trustDomain: string): tls.SecureContext {
  const { clients } = contexts(identity);
  let context = clients.get(trustDomain);
  if (context === undefined) {
    const anchors = identity.bundles.domains.get(trustDomain);
    if (anchors === undefined) throw new HandshakeError('trust_domain', `There is no trust bundle for ${trustDomain}`);
    context = tls.createSecureContext(
      contextOptions(
        identity,
        anchors.map((anchor) => anchor.pem),
      ),
    );
    clients.set(trustDomain, context);
  }
  return context;
}

/** Handshakes that a server is in the middle of. The only place where a raw and a TLS socket are brought together. */
const pending = new WeakMap<Socket, { secure(socket: tls.TLSSocket): void; failed(error: Error): void }>();

function rawSocketOf(socket: tls.TLSSocket): Socket | undefined {
  return (socket as unknown as { _parent?: Socket })._parent;
}

/**
 * A server that never listens and is handed connections. A bare `TLSSocket` in server mode would deliver the data of
 * clients that it refuses.
 */
function serverFor(identity: Identity, use: TlsUse): tls.Server {
  const { servers } = contexts(identity);
  const made = servers.get(use) ?? createServer(identity, use);
  servers.set(use, made);
  return made;
}

function createServer(identity: Identity, use: TlsUse): tls.Server {
  const anchors = [...identity.bundles.domains.values()].flat();
  const server = tls.createServer({
    ...contextOptions(
      identity,
      anchors.map((anchor) => anchor.pem),
    ),
    requestCert: true,
    // A refused certificate is looked at, explained and then refused, by verifyPeer.
    rejectUnauthorized: false,
    ALPNProtocols: [...protocols[use]],
  });
  const settle = (socket: tls.TLSSocket) => {
    const raw = rawSocketOf(socket);
    return raw && pending.get(raw);
  };
  server.on('secureConnection', (socket) => {
    const handshake = settle(socket);
    if (handshake === undefined) socket.destroy();
    else handshake.secure(socket);
  });
  server.on('tlsClientError', (error, socket) => settle(socket)?.failed(error));
  return server;
}

/** What is asked when the handshake is over, which may take a while. */
export interface Judging {
  nowMs(): number;
  revocations(): Revocations;
}

/**
 * Terminates mutual TLS on an accepted connection. `signal` ends the wait with its reason. Throws `HandshakeError`; the
 * connection is reset then.
 */
export async function acceptMutualTls(
  raw: Socket,
  local: Identity,
  { nowMs, revocations }: Judging,
  use: TlsUse,
  signal: AbortSignal,
): Promise<MutualTls> {
  const ends = tunnelEndsOf(raw, false);
  const socket = await handshake(raw, use, signal, (secure, failed) => {
    pending.set(raw, { secure, failed });
    serverFor(local, use).emit('connection', raw);
  });
  return verified(socket, raw, local, ends, protocols[use], () =>
    verifyPeer(socket, {
      peerRole: 'client',
      bundles: local.bundles,
      revocations: revocations(),
      expectedId: undefined,
      nowMs: nowMs(),
    }),
  );
}

/**
 * Originates mutual TLS on an open connection and expects exactly this identity. Throws `HandshakeError`; the connection
 * is reset then.
 */
export async function originateMutualTls(
  raw: Socket,
  local: Identity,
  expectedId: SpiffeId,
  { nowMs, revocations }: Judging,
  use: TlsUse,
  signal: AbortSignal,
): Promise<MutualTls> {
  const ends = tunnelEndsOf(raw, true);
  const socket = await handshake(raw, use, signal, (secure, failed) => {
    const client = tls.connect({
      socket: raw,
      secureContext: clientContext(local, expectedId.trustDomain),
      ALPNProtocols: [...protocols[use]],
      rejectUnauthorized: false,
      // SPIFFE peers are known by their ID, which verifyPeer compares; there is no host name.
      checkServerIdentity: () => undefined,
    });
    client.once('secureConnect', () => secure(client));
    client.on('error', failed);
  });
  // A sidecar of Istio knows the mesh by what is offered, and selects nothing of it.
  const selectable = use === 'direct' ? [...protocols.direct, false as const] : protocols.tunnel;
  return verified(socket, raw, local, ends, selectable, () =>
    verifyPeer(socket, {
      peerRole: 'server',
      bundles: local.bundles,
      revocations: revocations(),
      expectedId,
      nowMs: nowMs(),
    }),
  );
}

/** During the handshake an end is a loss; afterwards one side of an application's connection may end before the other. */
function handshake(
  raw: Socket,
  use: TlsUse,
  signal: AbortSignal,
  begin: (secure: (socket: tls.TLSSocket) => void, failed: (error: Error) => void) => void,
): Promise<tls.TLSSocket> {
  const { promise, resolve, reject } = Promise.withResolvers<tls.TLSSocket>();
  const failed = (error: Error) => reject(toHandshakeError(error));
  const onAbort = () => failed(signal.reason);
  const onClose = () => failed(new HandshakeError('reset', 'The peer closed the connection during the handshake'));
  signal.addEventListener('abort', onAbort, { once: true });
  raw.once('close', onClose);
  const secure = (socket: tls.TLSSocket) => {
    socket.allowHalfOpen = use === 'direct';
    resolve(socket);
  };
  raw.allowHalfOpen = false;
  if (signal.aborted) onAbort();
  else {
    try {
      begin(secure, failed);
    } catch (error) {
      failed(error as Error);
    }
  }
  return promise
    .finally(() => {
      signal.removeEventListener('abort', onAbort);
      raw.off('close', onClose);
      pending.delete(raw);
    })
    .catch((error: unknown) => {
      resetSocket(raw);
      throw error;
    });
}

function toHandshakeError(error: Error): HandshakeError | DeniedError | ConnectionError {
  if (error instanceof HandshakeError || error instanceof DeniedError || error instanceof ConnectionError) return error;
  return new HandshakeError(refusalOf(error), `The TLS handshake failed: ${error.message}`, { cause: error });
}

function verified(
  socket: tls.TLSSocket,
  raw: Socket,
  local: Identity,
  ends: Partial<TunnelEnds>,
  selectable: readonly (string | false)[],
  verify: () => VerifiedPeer,
): MutualTls {
  // Whatever happens to it later, an error of this socket is somebody's outcome and never an uncaught event.
  socket.on('error', () => undefined);
  try {
    const peer = verify();
    if (!selectable.includes(socket.alpnProtocol || false)) {
      const selected = printable(socket.alpnProtocol || 'none', 40);
      const expected = selectable.filter((one) => one !== false).join(' or ');
      throw new HandshakeError('alpn', `The peer selected the protocol ${selected}, expected ${expected}`);
    }
    const keys = tunnelKeysOf(socket.exportKeyingMaterial(keyingMaterial.bytes, keyingMaterial.label, noContext));
    return { socket, peer, local, negotiated: negotiatedBy(socket), ends, name: shortNameOf(keys), keys };
  } catch (error) {
    resetSocket(raw);
    throw withFacts(error, { localId: local.spiffeId.uri });
  }
}

/** Twelve digits of the name that both ends have of it: enough to tell tunnels apart, and too little to ask for one. */
function shortNameOf({ name }: TunnelKeys): string {
  return Buffer.from(name, 'base64url').toString('hex', 0, 6);
}

function negotiatedBy(socket: tls.TLSSocket): Negotiated {
  const group = socket.getEphemeralKeyInfo();
  return {
    version: socket.getProtocol() ?? 'unknown',
    cipher: socket.getCipher().standardName,
    group: group !== null && 'name' in group && typeof group.name === 'string' ? group.name : 'unknown',
  };
}
