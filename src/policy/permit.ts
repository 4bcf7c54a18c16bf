import type { Address } from '../addresses.ts';
import type { Authorization, InboundRequest } from './authorize.ts';

declare const permitted: unique symbol;

/** Proof that an inbound connection may reach this address of this pod; made by `authorize` only. */
export interface InboundPermit {
  readonly [permitted]: 'inbound';
  readonly destination: Address;
  /** What was decided about, so that it can be decided anew. */
  readonly request: InboundRequest;
  readonly decision: Authorization;
}

/** Where an outbound connection may go, and how each of these is reached. Never empty. */
export interface Route {
  /** `name.namespace`, when the destination belongs to a Service. */
  readonly service: string | undefined;
  readonly endpoints: readonly PermittedEndpoint[];
  /** Others, which are going away and still serve: for a connection that none of `endpoints` takes. */
  readonly leaving?: readonly PermittedEndpoint[] | undefined;
  /** Present when the Service wants all connections of a client at one endpoint. */
  readonly affinity?: Affinity | undefined;
}

/** All connections of this pod to `destination` go to one endpoint, until none was made for `idleMs`. */
export interface Affinity {
  /** `ip:port` as the application dials it. */
  readonly destination: string;
  readonly idleMs: number;
}

export type PermittedEndpoint = EndpointName &
  (
    | {
        readonly transport: 'hbone';
        readonly spiffeId: string;
        /** Where its sidecar takes tunnels, when that is not its own address on the usual port. */
        readonly via?: Address | undefined;
      }
    /** Mutual TLS on the port of the application itself, for a peer that does not speak HBONE. */
    | { readonly transport: 'direct'; readonly spiffeId: string }
    | { readonly transport: 'plaintext' }
  );

interface EndpointName {
  readonly address: Address;
  /** What the sidecar remembers it by: its address and its identity, so that whoever comes after it there starts clean. */
  readonly key: string;
}

/** Proof that an outbound connection may be made; made by `admit` only. */
export type OutboundPermit = { readonly [permitted]: 'outbound' } & Route;

/** @internal For `authorize` only. */
export function permitInbound(request: InboundRequest, decision: Authorization): InboundPermit {
  return { destination: request.destination, request, decision } as InboundPermit;
}

/** @internal For `admit` only. */
export function permitOutbound(route: Route): OutboundPermit {
  return route as OutboundPermit;
}
