import type { Socket } from 'node:net';
import type { Address } from '../addresses.ts';
import type { Identity } from '../identity/identity.ts';
import type { Direction } from '../outcomes.ts';
import { acceptInbound } from './inbound/capture.ts';
import { createDials } from './inbound/dials.ts';
import type { InboundGuard } from './inbound/guard.ts';
import { createHandshakes, handshakesFor } from './inbound/handshakes.ts';
import { createHelloRoom } from './inbound/hello-room.ts';
import { createPermissions } from './inbound/permissions.ts';
import { createGreetings } from './inbound/silence.ts';
import type { InboundSettings } from './inbound/tunnel.ts';
import { createInboundTunnels } from './inbound/tunnel.ts';
import type { Listener } from './listener.ts';
import { listen } from './listener.ts';
import type { Affinities } from './outbound/affinities.ts';
import { createAffinities } from './outbound/affinities.ts';
import type { OutboundSettings } from './outbound/capture.ts';
import { acceptOutbound } from './outbound/capture.ts';
import type { CapturedSockets } from './outbound/captured-sockets.ts';
import { createCapturedSockets } from './outbound/captured-sockets.ts';
import type { DeclaredTunnel } from './outbound/declared.ts';
import { acceptDeclared } from './outbound/declared.ts';
import type { EndpointBook } from './outbound/endpoint-book.ts';
import type { LookupName, Names } from './outbound/names.ts';
import { createNames } from './outbound/names.ts';
import type { Registry } from './outbound/resolve.ts';
import type { ProxyParts } from './parts.ts';
import { createProofs } from './proofs.ts';
import type { LiveTunnel } from './shown.ts';
import { createSlots } from './slots.ts';
import type { DialSettings } from './transport/hbone/dial.ts';
import { createDialer } from './transport/hbone/dial.ts';
import type { TunnelPool } from './transport/hbone/pool.ts';
import { createTunnelPool } from './transport/hbone/pool.ts';
import { startProofRenewals } from './transport/hbone/proof-renewals.ts';

export interface DataPlaneSettings {
  readonly listen: {
    /** Empty without capture. */
    readonly outbound: readonly Address[];
    readonly inbound: readonly Address[];
    readonly hbone: readonly Address[];
    readonly declared: readonly DeclaredTunnel[];
    readonly maxConnections: number;
  };
  readonly inbound: InboundSettings;
  readonly outbound: OutboundSettings;
  readonly tunnels: DialSettings;
  readonly maxHandshakes: number;
  /** How long what is carried in a tunnel may outlive the certificate of its peer that was proved last. */
  readonly peerCertificateGraceMs: number;
}

export interface DataPlaneParts extends ProxyParts {
  readonly guard: InboundGuard;
  readonly registry: Registry;
  readonly endpoints: EndpointBook;
  originalDestination(socket: Socket): Address | undefined;
  /** What to tell whoever dials the canary port; undefined while nobody was asked to. */
  canaryAnswer?(): string | undefined;
  /** Default: what the C library finds. */
  readonly lookupName?: LookupName;
}

/** Everything that moves bytes, with its listeners bound. */
export interface DataPlane {
  readonly addresses: {
    readonly outbound: readonly Address[];
    readonly inbound: readonly Address[];
    readonly hbone: readonly Address[];
    readonly declared: readonly Address[];
  };
  readonly pool: TunnelPool;
  readonly affinities: Affinities;
  readonly names: Names;
  /** Outbound connections that were captured and are open. */
  readonly captured: CapturedSockets['open'];
  /** Those that are open, of both directions. */
  tunnels(): Iterable<LiveTunnel>;
  /** Our certificate or the trust bundles are others: tunnels are proved anew, and those of peers that are not trusted any more are cut. */
  identityChanged(identity: Identity): void;
  /** Cuts the connections of those who are revoked now. */
  revocationsChanged(): void;
  /** Cuts the inbound connections that the policy which is in force now does not permit. */
  policyChanged(): void;
  /** No new inbound connections, GOAWAY on the tunnels; what is open goes on, and outbound stays open. */
  retireInbound(): void;
  /** No new connections at all. */
  retireOutbound(): void;
  /**
   * Ends the tunnels, when nothing is carried any more. A connection is over for us when its last byte was handed on; that
   * has arrived only when the peer has closed its end too, which is what this waits for, `timeoutMs` at most.
   */
  close(timeoutMs: number): Promise<void>;
  /** Ends the tunnels at once. */
  destroy(): void;
}

/** Binds every listener; throws naming the first that cannot be bound, with the others closed again. */
export async function startDataPlane(parts: DataPlaneParts, settings: DataPlaneSettings): Promise<DataPlane> {
  const proofs = createProofs(parts, settings.peerCertificateGraceMs);
  const permissions = createPermissions(parts, settings.inbound.floor);
  const pool = createTunnelPool(createDialer({ ...parts, proofs }, settings.tunnels), parts);
  const renewals = startProofRenewals({ ...parts, proofs }, pool);
  const inboundParts = {
    ...parts,
    proofs,
    permissions,
    handshakes: createSlots(settings.maxHandshakes),
    inFlight: createHandshakes(handshakesFor(parts.connections)),
    greetings: createGreetings(),
    helloRoom: createHelloRoom(),
    dials: createDials(parts.connections.capacity),
  };
  const outboundParts = {
    ...parts,
    proofs,
    pool,
    affinities: createAffinities(parts.clock),
    names: createNames(parts.lookupName),
  };
  const tunnels = createInboundTunnels(inboundParts, settings.inbound);
  const bound: Listener[] = [];

  const bindAll = async (
    addresses: readonly Address[],
    direction: Direction,
    allowHalfOpen: boolean,
    accept: (socket: Socket) => Promise<void>,
  ) => {
    const listeners: Listener[] = [];
    for (const address of addresses) {
      const listenerSettings = { address, direction, allowHalfOpen, maxConnections: settings.listen.maxConnections };
      const listener = await listen(listenerSettings, parts, (socket) => void accept(socket));
      listeners.push(listener);
      bound.push(listener);
    }
    return listeners;
  };

  try {
    const hbone = await bindAll(settings.listen.hbone, 'inbound', false, tunnels.accept);
    const inbound = await bindAll(settings.listen.inbound, 'inbound', true, (socket) =>
      acceptInbound(socket, inboundParts, settings.inbound),
    );
    const captured = createCapturedSockets(parts.originalDestination);
    const outbound = await bindAll(settings.listen.outbound, 'outbound', true, (socket) => {
      captured.add(socket);
      return acceptOutbound(socket, outboundParts, settings.outbound);
    });
    const declared: Listener[] = [];
    for (const tunnel of settings.listen.declared) {
      declared.push(
        ...(await bindAll([tunnel.listen], 'outbound', true, (socket) =>
          acceptDeclared(socket, tunnel, outboundParts, settings.outbound),
        )),
      );
    }
    const destroy = () => {
      renewals.close();
      proofs.close();
      pool.destroy();
      tunnels.destroy();
    };
    const addressesOf = (listeners: readonly Listener[]) => listeners.map(({ address }) => address);
    return {
      addresses: {
        outbound: addressesOf(outbound),
        inbound: addressesOf(inbound),
        hbone: addressesOf(hbone),
        declared: addressesOf(declared),
      },
      pool,
      affinities: outboundParts.affinities,
      names: outboundParts.names,
      captured: captured.open,
      *tunnels() {
        yield* tunnels.tunnels();
        yield* pool.tunnels();
      },
      identityChanged(identity) {
        pool.retireOthersThan(identity);
        renewals.rotated();
        proofs.recheck();
      },
      revocationsChanged: proofs.recheck,
      policyChanged: permissions.recheck,
      retireInbound() {
        for (const listener of [...hbone, ...inbound]) listener.close();
        tunnels.retire();
      },
      retireOutbound() {
        for (const listener of [...outbound, ...declared]) listener.close();
      },
      async close(timeoutMs) {
        renewals.close();
        const { promise: late, resolve } = Promise.withResolvers<void>();
        const timer = parts.clock.after(timeoutMs, resolve);
        await Promise.race([late, Promise.all([pool.close(), tunnels.close()])]);
        timer.cancel();
        destroy();
      },
      destroy,
    };
  } catch (error) {
    for (const listener of bound) listener.close();
    renewals.close();
    proofs.close();
    throw error;
  }
}
