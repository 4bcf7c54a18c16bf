import * as v from 'valibot';
import { callerKind, endpointTransport } from './control-api.ts';
import { readinessGates, renewalReasons } from './outcomes.ts';

/** The shapes of the admin pages of a sidecar, for both sides: JSON over HTTP on loopback or a unix socket. */
export const adminPaths = {
  index: '/',
  certificates: '/certs',
  ready: '/ready',
  status: '/status',
  connections: '/connections',
  tunnels: '/tunnels',
  handshakes: '/handshakes',
  policy: '/policy',
  strictPreview: '/strict-preview',
  destinations: '/destinations',
  config: '/config',
  logging: '/logging',
  explain: '/explain',
  drain: '/drain',
  quit: '/quitquitquit',
} as const;

/** RFC 3339. */
const instant = v.string();

/** A certificate as a person compares it; never with a private key. */
export const shownCertificate = v.object({
  subject: v.string(),
  issuer: v.string(),
  /** Upper-case hexadecimal. */
  serial: v.string(),
  notBefore: instant,
  notAfter: instant,
  /** SHA-256 of the DER, lower-case hexadecimal. */
  fingerprint: v.string(),
  pem: v.string(),
});
export type ShownCertificate = v.InferOutput<typeof shownCertificate>;

export const shownRenewalFailure = v.object({
  reason: v.picklist(Object.keys(renewalReasons) as (keyof typeof renewalReasons)[]),
  happened: v.string(),
  remedy: v.string(),
  /** What exactly was found. */
  message: v.string(),
  at: instant,
});

/** What AuthorizationPolicies have to do with a connection; nothing of it in a line of a connection that none concerns. */
export const policyFacts = {
  /** `namespace/name` of the one that decided. */
  policy: v.optional(v.string()),
  /** AUDIT policies that match, the first of them, and how many there are. */
  audited: v.optional(v.array(v.string())),
  auditedCount: v.optional(v.number()),
  /** What would have been decided if the policies on trial were in force. */
  dryRun: v.optional(
    v.object({
      verdict: v.picklist(['allowed', 'denied']),
      reason: v.optional(v.string()),
      policy: v.optional(v.string()),
    }),
  ),
};

/** What is said of one connection, by the same names in the log and on the pages; docs/logs.md has every field. */
export const connectionLine = v.object({
  /** In the log of both sidecars. */
  id: v.string(),
  direction: v.picklist(['inbound', 'outbound']),
  /** Whoever dialled: the application outbound, the other pod inbound. */
  peerAddress: v.string(),
  originalDestination: v.optional(v.string()),
  endpoint: v.optional(v.string()),
  service: v.optional(v.string()),
  peerId: v.optional(v.string()),
  localId: v.optional(v.string()),
  transport: v.optional(v.string()),
  security: v.optional(v.string()),
  tlsVersion: v.optional(v.string()),
  cipher: v.optional(v.string()),
  group: v.optional(v.string()),
  /** Short name of the tunnel, and both ends of its TCP connection: the same on either side. */
  tunnel: v.optional(v.string()),
  tunnelFrom: v.optional(v.string()),
  tunnelTo: v.optional(v.string()),
  ...policyFacts,
  openedAt: instant,
  durationMs: v.number(),
  bytesSent: v.optional(v.number()),
  bytesReceived: v.optional(v.number()),
  outcome: v.picklist(['closed', 'denied', 'handshake']),
  reason: v.string(),
  expectedId: v.optional(v.string()),
  /** What the certificate says of itself, which need not be true. */
  presentedId: v.optional(v.string()),
  presentedSerial: v.optional(v.string()),
  presentedIssuer: v.optional(v.string()),
  presentedNotBefore: v.optional(instant),
  presentedNotAfter: v.optional(instant),
  expiredForSeconds: v.optional(v.number()),
  validInSeconds: v.optional(v.number()),
  /** The clock of the control plane minus this one. */
  clockSkewSeconds: v.optional(v.number()),
  /** Why the other side's sidecar refused it, in the words of its own log. */
  otherReason: v.optional(v.string()),
  otherHappened: v.optional(v.string()),
  otherRemedy: v.optional(v.string()),
  happened: v.optional(v.string()),
  remedy: v.optional(v.string()),
  /** What exactly was found. */
  detail: v.optional(v.string()),
});
export type ConnectionLine = v.InferOutput<typeof connectionLine>;

/** A connection that was refused, could not be made, or ended otherwise than by its applications: as its log line has it. */
export const shownFailure = v.object({
  ...connectionLine.entries,
  at: instant,
  happened: v.string(),
  remedy: v.string(),
});
export type ShownFailure = v.InferOutput<typeof shownFailure>;

const count = v.pipe(v.number(), v.integer(), v.minValue(0));

/** Who chains to one root, as this sidecar has seen it. */
export const shownPeers = v.object({
  /** Tunnels that are open now. */
  open: count,
  /** Identities that are connected, or were within the last hour, the latest first: each with when it was last connected. */
  recent: v.array(v.object({ spiffeId: v.string(), lastSeen: instant })),
  /** At most so many more were so, whose names were not kept. */
  unnamed: count,
  /** When one of them was last connected; null if none was since `peersSince`. */
  lastSeen: v.nullable(instant),
});
export type ShownPeers = v.InferOutput<typeof shownPeers>;

export const shownRoot = v.object({
  ...shownCertificate.entries,
  peers: shownPeers,
  /** As far as this sidecar knows: nobody has chained to it for an hour, ourselves included. */
  mayBeRemoved: v.boolean(),
  /** Why, in one sentence. */
  removal: v.string(),
});
export type ShownRoot = v.InferOutput<typeof shownRoot>;

export const certificatesPage = v.object({
  /** When the page was made. */
  now: instant,
  spiffeId: v.string(),
  /** Grows with each certificate and each change of the trust bundles. */
  generation: v.number(),
  /** No connection is made or taken with it after its end. */
  isExpired: v.boolean(),
  /** Why it is over before its certificate is; null when it is not. */
  endedBecause: v.nullable(v.string()),
  /** Every certificate for it is revoked, the next one too: no renewal helps. */
  isRevoked: v.boolean(),
  notBefore: instant,
  notAfter: instant,
  /** Leaf first, without the root. */
  chain: v.array(shownCertificate),
  /** SHA-256 of the root that the chain ends in, lower-case hexadecimal. */
  issuedBy: v.string(),
  /** Null when something else renews. */
  nextRenewal: v.nullable(instant),
  lastFailure: v.nullable(shownRenewalFailure),
  /** The clock of the control plane minus this one; null when it is not known. */
  clockSkewSeconds: v.nullable(v.number()),
  /** What is in force. */
  revocations: v.object({
    certificates: count,
    identities: count,
    /** Why it is not known who is revoked, so that nobody new is trusted; else null. */
    unknown: v.nullable(v.string()),
  }),
  /** Since when peers are counted. */
  peersSince: instant,
  /** Roots by trust domain. */
  trustBundles: v.record(v.string(), v.array(shownRoot)),
  /** Roots that are in no bundle any more, with peers that were connected within the last hour. */
  removedRoots: v.array(v.object({ fingerprint: v.string(), peers: shownPeers })),
});
export type CertificatesPage = v.InferOutput<typeof certificatesPage>;

const directionOf = v.picklist(['inbound', 'outbound']);
const perDirection = v.object({ inbound: count, outbound: count });
/** AuthorizationPolicies of a workload, by what they do. */
export const policyCounts = v.object({ enforced: count, audit: count, dry_run: count, invalid: count });
const policyMode = v.picklist(['DISABLE', 'PERMISSIVE', 'STRICT']);
/** The mode, or null while everything is refused because no policy can be enforced. */
const shownMode = v.nullable(policyMode);
/** The mode in force on a port. */
export const shownPortMode = v.object({
  /** `*`: every port that has no mode of its own. */
  port: v.string(),
  mode: policyMode,
  /** `namespace/name` of the PeerAuthentication, or `floor`: minimumInboundMode of this pod. Null is the default of the mesh. */
  setBy: v.nullable(v.string()),
  /** What the policy says, before the floor. */
  fromPolicy: policyMode,
  /** Why that PeerAuthentication cannot be followed as it is written, so that it means STRICT. */
  problem: v.optional(v.string()),
});
export type ShownPortMode = v.InferOutput<typeof shownPortMode>;

/** A connection that is carried now: what its log line will say. */
export const shownConnection = v.object({
  id: v.string(),
  direction: directionOf,
  peerAddress: v.string(),
  openedAt: instant,
  ageSeconds: v.number(),
  originalDestination: v.string(),
  /** The address that was dialled for it. */
  endpoint: v.optional(v.string()),
  service: v.optional(v.string()),
  transport: v.string(),
  security: v.string(),
  peerId: v.optional(v.string()),
  localId: v.optional(v.string()),
  /** Of the peer's certificate. */
  peerNotAfter: v.optional(instant),
  /** When it will be cut unless its peer is proved anew; null for never. */
  endsAt: v.optional(v.nullable(instant)),
  /** That carries it; the same at both ends. */
  tunnel: v.optional(v.string()),
  /** Both ends of the tunnel's TCP connection: the same on either side. */
  tunnelFrom: v.optional(v.string()),
  tunnelTo: v.optional(v.string()),
  tlsVersion: v.optional(v.string()),
  cipher: v.optional(v.string()),
  group: v.optional(v.string()),
  ...policyFacts,
  /** From the client to the server. */
  bytesSent: count,
  bytesReceived: count,
});
export type ShownConnection = v.InferOutput<typeof shownConnection>;
export const connectionsPage = v.object({
  now: instant,
  connections: v.array(shownConnection),
  /** How many more are carried than a page shows. */
  leftOut: v.number(),
});
export type ConnectionsPage = v.InferOutput<typeof connectionsPage>;

/** One HBONE tunnel. */
export const shownTunnel = v.object({
  /** The same at both ends. */
  name: v.string(),
  direction: directionOf,
  peerId: v.string(),
  /** Of the sidecar that was dialled, or that dialled. */
  peerAddress: v.string(),
  peerNotAfter: instant,
  openedAt: instant,
  ageSeconds: v.number(),
  /** Connections in it, and those that are being opened. */
  streams: count,
  tlsVersion: v.string(),
  cipher: v.string(),
  group: v.string(),
  /** When what it carries will be cut unless its peer is proved anew; null for never. */
  endsAt: v.nullable(instant),
  /** It takes nothing new, and ends when its last connection does. */
  isRetiring: v.boolean(),
});
export type ShownTunnel = v.InferOutput<typeof shownTunnel>;
export const tunnelsPage = v.object({ now: instant, tunnels: v.array(shownTunnel) });
export type TunnelsPage = v.InferOutput<typeof tunnelsPage>;

export const handshakesPage = v.object({ now: instant, handshakes: v.array(shownFailure) });
export type HandshakesPage = v.InferOutput<typeof handshakesPage>;

/** How far a sidecar has come on the way to its end. */
export const shownDrain = v.object({
  /** serving; leaving: not ready, and new connections are taken for the drain delay; draining: no new inbound connections. */
  stage: v.picklist(['serving', 'leaving', 'draining']),
  /** The process ends when nothing is open any more, or at the drain deadline. */
  isStopping: v.boolean(),
  /** Connections that are open or being opened. */
  open: count,
});
/** What `POST /drain` and `POST /quitquitquit` answer. */
export const drainReply = v.object({ did: v.string(), drain: shownDrain });
export type DrainReply = v.InferOutput<typeof drainReply>;

const newConnections = v.object({
  carried: count,
  failed: count,
  reasons: v.array(v.object({ reason: v.string(), count })),
});

export const statusPage = v.object({
  now: instant,
  version: v.string(),
  startedAt: instant,
  /** Null where the settings do not say. */
  pod: v.object({ name: v.nullable(v.string()), namespace: v.nullable(v.string()), workload: v.nullable(v.string()) }),
  isReady: v.boolean(),
  gates: v.array(
    v.object({
      gate: v.picklist(readinessGates),
      isOpen: v.boolean(),
      why: v.nullable(v.string()),
      since: v.nullable(instant),
      remedy: v.nullable(v.string()),
    }),
  ),
  /** Null before the first. */
  identity: v.nullable(
    v.object({
      spiffeId: v.string(),
      isExpired: v.boolean(),
      endedBecause: v.nullable(v.string()),
      /** Every certificate for it: no renewal helps. */
      isRevoked: v.boolean(),
      notAfter: instant,
      nextRenewal: v.nullable(instant),
      lastFailure: v.nullable(shownRenewalFailure),
    }),
  ),
  /** That of most ports first; empty while everything new is refused because no policy can be enforced. */
  modes: v.array(shownPortMode),
  /** What no control plane can lower. */
  minimumInboundMode: policyMode,
  /**
   * How many AuthorizationPolicies there are, by what they do; null while none can be enforced. The PeerAuthentication that
   * sets the mode is among the invalid ones where it is invalid.
   */
  policies: v.nullable(policyCounts),
  /** With its kind, and why; absent when all are valid. */
  firstInvalidPolicy: v.optional(v.object({ name: v.string(), problem: v.string() })),
  minimumOutbound: v.string(),
  outboundPolicy: v.string(),
  /** The address is null without one. */
  controlPlane: v.object({
    address: v.nullable(v.string()),
    /** Its stream, which says nothing of whether a new call can be made. */
    isUp: v.boolean(),
    /** Since when that is so: the start of the sidecar when it never was up. Null without a control plane. */
    since: v.nullable(instant),
    hasBeenUp: v.boolean(),
    /** Why the last stream ended, or could not be opened; null while one is up. */
    why: v.nullable(v.string()),
    /** Calls besides the stream of which the last one, within ten minutes, failed. */
    failing: v.array(
      v.object({
        call: v.string(),
        since: instant,
        last: instant,
        reason: v.string(),
        happened: v.string(),
        remedy: v.string(),
        message: v.string(),
      }),
    ),
  }),
  connections: perDirection,
  tunnels: perDirection,
  /** Places of connections that are open or being opened, and how many there are. */
  places: v.object({ inUse: count, most: count }),
  /** Those of the last minute: how many are or were carried, and how many failed before they were, of what. */
  newConnections: v.object({ inbound: newConnections, outbound: newConnections }),
  interception: v.object({
    /** False with tunnels that were declared by hand. */
    isOn: v.boolean(),
    /** What the last proof of each kind showed. */
    proofs: v.array(v.object({ direction: directionOf, family: v.string(), isOk: v.boolean() })),
    /** Directions of which nothing is known, and why. */
    unknown: v.array(v.object({ direction: directionOf, why: v.string() })),
    /** Connections of the application that go around the sidecar now. */
    bypassed: perDirection,
  }),
  /** Connections that failed within the last ten minutes, the most frequent first; of each kind at most 50 are remembered. */
  failures: v.array(
    v.object({
      direction: directionOf,
      outcome: v.picklist(['closed', 'denied', 'handshake']),
      reason: v.string(),
      happened: v.string(),
      remedy: v.string(),
      count,
      last: instant,
      /** Of the last one, for the log and `remora explain`. */
      lastId: v.string(),
    }),
  ),
  drain: shownDrain,
  /** Settings that were given and differ from their defaults, as typed, without what may be secret. */
  changedSettings: v.array(v.object({ name: v.string(), typed: v.string(), from: v.string() })),
});
export type StatusPage = v.InferOutput<typeof statusPage>;

export const policyPage = v.object({
  now: instant,
  inbound: v.object({
    /** In force, that of most ports first; empty while everything new is refused. */
    modes: v.array(shownPortMode),
    /** How many more ports have one of their own than a page shows. */
    modesLeftOut: count,
    /** Where they come from, and why everything is refused when it is. */
    why: v.string(),
    /** `minimumInboundMode`: no control plane can lower it. */
    floor: policyMode,
    /** Without a control plane: those who may connect at all; null when that is not restricted. */
    allowedPeers: v.nullable(v.array(v.string())),
  }),
  /** The AuthorizationPolicies of this workload. */
  authorization: v.object({
    /** In the order in which they are judged; those of AUDIT and on trial, which decide nothing, last. */
    policies: v.array(
      v.object({
        /** `namespace/name`. */
        name: v.string(),
        action: v.picklist(['ALLOW', 'DENY', 'AUDIT']),
        /** How many it has. */
        rules: count,
        isDryRun: v.boolean(),
        /** Why it cannot be enforced as it is written; null when it can. */
        problem: v.nullable(v.string()),
      }),
    ),
    /** How many more there are than a page shows. */
    leftOut: count,
    /** Whether one of ALLOW is in force, so that whoever none of them allows is refused. */
    deniesByDefault: v.boolean(),
  }),
  outbound: v.object({
    /** What happens to a destination outside the mesh networks. */
    policy: v.string(),
    /** `minimumOutbound`: the weakest way out of this pod. */
    floor: v.string(),
    meshNetworks: v.array(v.string()),
  }),
  /** When the policy in force came; null while there is none. */
  lastUpdate: v.nullable(instant),
});
export type PolicyPage = v.InferOutput<typeof policyPage>;

/** Somebody without an identity who has called a port; the names are the registry's. */
export const shownCaller = v.object({
  address: v.string(),
  workload: v.optional(v.string()),
  namespace: v.optional(v.string()),
  pod: v.optional(v.string()),
  kind: callerKind,
  connections: count,
  /** Of these, those that are carried now. */
  open: count,
  firstAt: instant,
  /** Now while one is open. */
  lastAt: instant,
  /** Whether it loses something by the switch. */
  breaks: v.boolean(),
  /** Why it does not. */
  why: v.optional(v.string()),
});
export type ShownCaller = v.InferOutput<typeof shownCaller>;

/** At most so many more callers that were not remembered; null for none. */
const forgottenCallers = v.nullable(v.object({ callers: count, lastAt: instant }));

/** What switching to STRICT now would break. */
export const strictPreviewPage = v.object({
  now: instant,
  /** Since when callers are remembered: the start of the sidecar. */
  since: instant,
  pod: v.object({ name: v.nullable(v.string()), namespace: v.nullable(v.string()), workload: v.nullable(v.string()) }),
  /** Of every port that has none of its own. */
  mode: shownMode,
  /** The PeerAuthentication that makes it STRICT because it cannot be followed as it is written. */
  invalidMode: v.optional(v.object({ name: v.string(), problem: v.string() })),
  /** Those that somebody called in plaintext, and those with a mode of their own. */
  ports: v.array(
    v.object({
      port: v.number(),
      mode: shownMode,
      /** The latest first. */
      callers: v.array(shownCaller),
      forgotten: forgottenCallers,
    }),
  ),
  /** Of further ports. */
  forgotten: forgottenCallers,
});
export type StrictPreviewPage = v.InferOutput<typeof strictPreviewPage>;

/** A destination that the sidecar remembers, as the control plane told it last. */
export const shownDestination = v.object({
  address: v.string(),
  service: v.nullable(v.string()),
  /** Since it was told. While the control plane is up a change is told at once, so that an old one is right all the same. */
  ageSeconds: v.number(),
  endpoints: v.array(
    v.object({
      address: v.string(),
      /** Expected of whoever answers there; null in plaintext. */
      spiffeId: v.nullable(v.string()),
      transport: endpointTransport,
      zone: v.nullable(v.string()),
      ready: v.boolean(),
      terminating: v.boolean(),
      /** It could not be reached lately, and is passed over for now. */
      isSetAside: v.boolean(),
    }),
  ),
});
export type ShownDestination = v.InferOutput<typeof shownDestination>;
export const destinationsPage = v.object({ now: instant, destinations: v.array(shownDestination) });
export type DestinationsPage = v.InferOutput<typeof destinationsPage>;

/** Every setting by its name in the file of settings. */
export const configPage = v.object({
  settings: v.record(
    v.string(),
    v.object({
      /** As a person writes it, without what may be secret; null when it has none. */
      value: v.nullable(v.string()),
      /** The flag, the variable, the file with its line, or the default. */
      from: v.string(),
    }),
  ),
});
export type ConfigPage = v.InferOutput<typeof configPage>;
