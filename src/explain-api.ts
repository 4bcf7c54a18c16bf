import * as v from 'valibot';
import { policyCounts, policyFacts, shownConnection, shownFailure } from './admin-api.ts';

/** The shape of `GET /explain`, for both sides: what would become of a connection now, step by step, and why. */

const count = v.pipe(v.number(), v.integer(), v.minValue(0));
const mode = v.picklist(['DISABLE', 'PERMISSIVE', 'STRICT']);

/** A reason of the closed lists, its words, and what exactly was found. */
export const shownRefusal = v.object({
  outcome: v.picklist(['closed', 'denied', 'handshake']),
  reason: v.string(),
  happened: v.string(),
  remedy: v.string(),
  detail: v.optional(v.string()),
});
export type ShownRefusal = v.InferOutput<typeof shownRefusal>;

/** What would become of a connection; `sentence` says it to a person. */
export const shownVerdict = v.variant('kind', [
  v.object({ kind: v.literal('carried'), sentence: v.string() }),
  v.object({ kind: v.literal('refused'), sentence: v.string(), ...shownRefusal.entries }),
  /** The rules leave it alone and this sidecar never sees it, or the sidecar answers it itself. */
  v.object({ kind: v.literal('not_carried'), sentence: v.string(), remedy: v.optional(v.string()) }),
  /** It passes no sidecar though it should: the rules are not in order, or leave out what has a sidecar at its other end. */
  v.object({ kind: v.literal('goes_around'), sentence: v.string(), remedy: v.string() }),
]);
export type ShownVerdict = v.InferOutput<typeof shownVerdict>;

/** What was tried last on this way failed, and nothing was carried there since. */
export const shownLately = v.object({
  /** In a row. */
  failures: count,
  /** Of the first of them. */
  since: v.string(),
  latest: shownFailure,
});
export type ShownLately = v.InferOutput<typeof shownLately>;

/** Whether the redirect rules capture it, and the comment of the rule that decides. */
export const shownCapture = v.object({
  isCaptured: v.boolean(),
  rule: v.string(),
  /** Whether the rules were in order when that was tried last; null when it is not known. */
  isProved: v.nullable(v.boolean()),
});
export type ShownCapture = v.InferOutput<typeof shownCapture>;

export const shownEndpointFacts = v.object({
  /** Of the application. */
  address: v.string(),
  /** The sidecar that would be dialled for it; absent in plaintext. */
  via: v.optional(v.string()),
  transport: v.picklist(['hbone', 'direct', 'plaintext']),
  /** Expected of whoever answers there; absent in plaintext. */
  expectedId: v.optional(v.string()),
  isReady: v.boolean(),
  isTerminating: v.boolean(),
  /** `chosen_from`; `reserve`: only when none of those takes it; `not_used`: never now. */
  use: v.picklist(['chosen_from', 'reserve', 'not_used']),
  /** Why it is no more than a reserve, or not used. */
  why: v.optional(v.string()),
  /** Why a connection to it would fail before anything is dialled. */
  refusal: v.optional(shownRefusal),
  /** It could not be reached lately. */
  setAside: v.optional(v.object({ ...shownRefusal.entries, failures: count, forSeconds: v.number() })),
  /** Ours that are open, the tunnels that lead there, and the connections in them. */
  connections: count,
  tunnels: count,
  streams: count,
});
export type ShownEndpointFacts = v.InferOutput<typeof shownEndpointFacts>;

/** A connection of the pod's application to one address. */
export const shownOutbound = v.object({
  destination: v.string(),
  verdict: shownVerdict,
  /** Present where experience speaks against a verdict that is `carried`, which then says so too. */
  lately: v.optional(shownLately),
  /** Null without redirect rules. */
  capture: v.nullable(shownCapture),
  /** Present when it is a static tunnel that would carry it. */
  tunnel: v.optional(
    v.object({ listen: v.string(), target: v.string(), peer: v.string(), via: v.nullable(v.string()) }),
  ),
  /** Null when nothing is looked up for it. */
  registry: v.nullable(
    v.object({
      /**
       * `outside`: outside the mesh networks, and not registered, so that nobody is asked. `no_policy`: outside the mesh networks,
       * and without a policy it is not known whether it is registered.
       */
      answer: v.picklist(['known', 'unknown', 'unavailable', 'outside', 'no_policy']),
      /** Outside the mesh networks, and asked for because a ServiceEntry registers it. */
      isRegistered: v.optional(v.boolean()),
      /** `namespace/name` of the ServiceEntry that the answer comes from. */
      entry: v.optional(v.string()),
      service: v.optional(v.string()),
      why: v.optional(v.string()),
      /** How old the answer is that was at hand; null when the control plane was asked. */
      heldForSeconds: v.nullable(v.number()),
      isControlPlaneUp: v.boolean(),
    }),
  ),
  /** What this pod allows. */
  outboundPolicy: v.picklist(['ALLOW_ANY', 'REGISTRY_ONLY']),
  minimumOutbound: v.picklist(['plaintext', 'mutual_tls']),
  endpoints: v.array(shownEndpointFacts),
  /** How many more there are. */
  endpointsNotShown: count,
  /** The endpoint that all connections to it go to for now, where the Service wants them together; else null. */
  keptAt: v.nullable(v.string()),
  recentFailures: v.array(shownFailure),
});
export type ShownOutbound = v.InferOutput<typeof shownOutbound>;

/** What would become of a peer on some ports of this pod. */
export const shownPorts = v.object({
  /** `8080`, or in words. */
  ports: v.string(),
  verdict: shownVerdict,
  /** As of a destination. */
  lately: v.optional(shownLately),
  /** Null without redirect rules. Tunnels of sidecars are never captured. */
  capture: v.nullable(shownCapture),
  /**
   * Null before the first policy. `setBy` is `namespace/name` of the PeerAuthentication, `floor`: what the pod itself demands, or null for the
   * default of the mesh; `fromPolicy` what it was before the floor; `problem` why that
   * PeerAuthentication cannot be followed as it is written.
   */
  mode: v.nullable(
    v.object({ mode, setBy: v.nullable(v.string()), fromPolicy: mode, problem: v.optional(v.string()) }),
  ),
  /** The AuthorizationPolicies of the workload, and what they say; absent without any, and where nobody came to ask them. */
  policies: v.optional(v.object({ ...policyCounts.entries, ...policyFacts })),
  /** What permits it, in one sentence. */
  permittedBy: v.optional(v.string()),
});
export type ShownPorts = v.InferOutput<typeof shownPorts>;

/** A connection from elsewhere to this pod. */
export const shownInbound = v.object({
  /** A SPIFFE ID, an address, or `plaintext`. */
  from: v.string(),
  /** Null for a peer without identity. */
  identity: v.nullable(
    v.object({
      /** The address that it comes from; null where that was not said: then each DENY rule about one holds, and none of ALLOW. */
      at: v.nullable(v.string()),
      trustDomain: v.string(),
      isTrustDomainKnown: v.boolean(),
      /** Why nobody may rely on it; null when nothing is known against it. */
      revoked: v.nullable(v.string()),
    }),
  ),
  /** What the registry says of the address of a caller without identity; null where nobody was asked. */
  caller: v.nullable(
    v.object({
      answer: v.picklist(['sidecar', 'no_sidecar', 'unknown', 'unavailable']),
      /** Whom its sidecar would prove to be. */
      spiffeId: v.optional(v.string()),
      why: v.optional(v.string()),
    }),
  ),
  hasControlPlane: v.boolean(),
  minimumInboundMode: mode,
  /** Those that most connections are for first. Never empty. */
  ports: v.array(shownPorts),
  /** How many more there are that the policy treats in a way of their own. */
  portsNotShown: count,
  recentFailures: v.array(shownFailure),
});
export type ShownInbound = v.InferOutput<typeof shownInbound>;

const outboundPage = v.object({
  kind: v.literal('to'),
  now: v.string(),
  to: v.string(),
  /** One for each address of a name. */
  destinations: v.array(shownOutbound),
  /** Why the name has no address. */
  lookupFailure: v.optional(v.string()),
});
const inboundPage = v.object({ kind: v.literal('from'), now: v.string(), ...shownInbound.entries });

/** `GET /explain?to=ip:port`, `?from=spiffe://…&port=8080&at=ip`, `?id=…`. */
export const explainPage = v.variant('kind', [
  outboundPage,
  inboundPage,
  v.object({
    kind: v.literal('id'),
    now: v.string(),
    id: v.string(),
    /** It failed lately; else it is open now; else nothing is known of it. */
    failure: v.optional(shownFailure),
    connection: v.optional(shownConnection),
    /** The same connection if it were made now; null when too little is known of it. */
    again: v.nullable(v.variant('kind', [outboundPage, inboundPage])),
  }),
]);
export type ExplainPage = v.InferOutput<typeof explainPage>;
export type OutboundPage = v.InferOutput<typeof outboundPage>;
export type InboundPage = v.InferOutput<typeof inboundPage>;
