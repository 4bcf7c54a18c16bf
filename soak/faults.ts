import type { Symptom } from './apps/channel.ts';
import type { Failure } from './apps/reports.ts';

/*
 * Every fault: on whom, for how long, and the errors of applications that it explains. This table is the whole verdict: an
 * error that no row permits fails the run.
 */

export const podNames = ['web', 'api', 'db'] as const;
export type PodName = (typeof podNames)[number];

/** `api` has the same sidecar from the beginning to the end, so that its memory has a history. */
const restartable = ['web', 'db'] as const;
/** Which pods have an application that dials, and one that is dialled. */
export const clients = ['web', 'api'] as const;
export const servers = ['api', 'db'] as const;

/** What an application may see: its connection was refused, or reset before or after the server was heard. */
export type Permitted = 'refused' | 'reset-open' | 'reset-carried';

export interface Permission {
  readonly symptoms: readonly Permitted[];
  /** Which end of a connection may see it; absent for both. */
  readonly side?: Failure['side'];
  /** How long after the fault was undone. */
  readonly afterMs: number;
  /** What is carried goes on for so long after the fault began. */
  readonly carriedForMs?: number;
  /** No connection survives the fault: whatever began before it was undone may be cut, whenever its application hears of it. */
  readonly isTheEnd?: true;
}

export interface FaultRow {
  /** Faults of one lane follow each other; those of the other go on meanwhile. */
  readonly lane: 'disruptive' | 'harmless';
  /** Where it can be; absent when it is nowhere in particular. */
  readonly pods?: readonly [PodName, ...PodName[]];
  readonly shortestMs: number;
  readonly longestMs: number;
  /** For applications of the pod that it is on. */
  readonly own?: Permission;
  /** For applications that talk with that pod. */
  readonly peer?: Permission;
}

/** Of every sidecar. */
export const drainDeadlineMs = 3000;

const atOnce = 0;
/** A tunnel whose peer is gone is noticed at the second look, which come every ten seconds; an identity that ran out meanwhile is renewed. */
const soonMs = 22_000;

/** The same for the applications of the pod and for those that talk with it. */
const onBoth = (permission: Permission) => ({ own: permission, peer: permission });

export const faults = {
  /** SIGKILL, and a new one. */
  'sidecar-killed': {
    lane: 'disruptive',
    pods: restartable,
    shortestMs: 100,
    longestMs: 3000,
    own: { symptoms: ['refused', 'reset-open', 'reset-carried'], afterMs: atOnce, isTheEnd: true },
    peer: { symptoms: ['reset-open', 'reset-carried'], afterMs: atOnce },
  },
  /** SIGTERM, and a new one when it has ended; what is open at its drain deadline is reset, and nothing before. */
  'sidecar-stopped': {
    lane: 'disruptive',
    pods: restartable,
    shortestMs: 100,
    longestMs: 2000,
    own: { symptoms: ['refused', 'reset-open', 'reset-carried'], afterMs: atOnce, carriedForMs: drainDeadlineMs },
    peer: { symptoms: ['reset-open', 'reset-carried'], afterMs: atOnce, carriedForMs: drainDeadlineMs },
  },
  /** SIGSTOP and SIGCONT: whatever is open goes on; what begins meanwhile may meet a deadline. */
  'sidecar-frozen': {
    lane: 'disruptive',
    pods: podNames,
    shortestMs: 200,
    longestMs: 12_000,
    ...onBoth({ symptoms: ['reset-open'], afterMs: soonMs }),
  },
  /** SIGKILL of the control plane, shorter than half of a certificate's life: nobody notices. */
  'control-plane-killed': { lane: 'disruptive', shortestMs: 500, longestMs: 5000 },
  /** The network resets what moves in tunnels of this pod. */
  'tunnels-reset': {
    lane: 'disruptive',
    pods: podNames,
    shortestMs: 200,
    longestMs: 600,
    ...onBoth({ symptoms: ['reset-open', 'reset-carried'], afterMs: soonMs }),
  },
  /** One packet in twenty is lost on its way in: TCP repairs it, but a connect may meet its deadline. */
  'packets-lost': {
    lane: 'disruptive',
    pods: podNames,
    shortestMs: 2000,
    longestMs: 8000,
    ...onBoth({ symptoms: ['reset-open'], afterMs: soonMs }),
  },
  /** Nothing goes in or out: what is open goes on afterwards. */
  partitioned: {
    lane: 'disruptive',
    pods: podNames,
    shortestMs: 500,
    longestMs: 6000,
    ...onBoth({ symptoms: ['reset-open'], afterMs: soonMs }),
  },
  /** The server application resets what it has and is started again. */
  'server-restarted': {
    lane: 'disruptive',
    pods: servers,
    shortestMs: 100,
    longestMs: 2000,
    peer: { symptoms: ['reset-open', 'reset-carried'], afterMs: atOnce },
  },
  /** A DENY for the identity of this pod: what it dials is cut and refused, and neither what dials it nor anything else. */
  'identity-denied': {
    lane: 'disruptive',
    pods: clients,
    shortestMs: 1000,
    longestMs: 6000,
    own: { symptoms: ['reset-open', 'reset-carried'], side: 'client', afterMs: atOnce, isTheEnd: true },
    peer: { symptoms: ['reset-carried'], side: 'server', afterMs: atOnce },
  },
  /** The pod is taken out of the Service, or is said to terminate: what is open goes on, what begins goes elsewhere. */
  'endpoint-removed': { lane: 'harmless', pods: servers, shortestMs: 1000, longestMs: 8000 },
  'endpoint-terminating': { lane: 'harmless', pods: servers, shortestMs: 1000, longestMs: 8000 },
  /** Plaintext, garbage, silence and TLS without an identity, on 15006, 15008 and the port of the application. */
  strangers: { lane: 'harmless', pods: podNames, shortestMs: 1000, longestMs: 6000 },
  /** A hundred scrapes a second. */
  'scrape-flood': { lane: 'harmless', pods: podNames, shortestMs: 1000, longestMs: 6000 },
  /** Hundreds of policies that refuse no client, and PERMISSIVE and STRICT by turns: written anew again and again. */
  'policies-rewritten': { lane: 'harmless', shortestMs: 2000, longestMs: 8000 },
  'modes-switched': { lane: 'harmless', shortestMs: 2000, longestMs: 6000 },
} as const satisfies Record<string, FaultRow>;

export type FaultKind = keyof typeof faults;
export const faultKinds = Object.keys(faults) as FaultKind[];

export function rowOf(kind: FaultKind): FaultRow {
  return faults[kind];
}

/** What a symptom may be permitted as; undefined for what nothing ever permits. */
export function permittedAs(symptom: Symptom, phase: 'open' | 'carried'): Permitted | undefined {
  switch (symptom) {
    case 'refused':
      return symptom;
    case 'reset':
      return phase === 'open' ? 'reset-open' : 'reset-carried';
    case 'wrong-byte':
    case 'early-end':
    case 'stalled':
    case 'other':
      return undefined;
    default:
      return symptom satisfies never;
  }
}
