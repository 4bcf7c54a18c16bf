import { timestamp } from '../clock.ts';
import type { RootSet, RotationPhase } from './root-set.ts';
import { fingerprintOf, phaseOf } from './root-set.ts';
import type { Living, LivingSidecar } from './sidecar-book.ts';

/** The steps of a rotation, and the way back from its first one. */
export const rotationSteps = ['add', 'switch', 'remove', 'abort'] as const;
export type RotationStep = (typeof rotationSteps)[number];

/** Whom a step would break. */
export interface Obstacle {
  /** `namespace/pod`; null when it is nobody in particular. */
  readonly who: string | null;
  /** A sentence behind the name, or a whole one. */
  readonly why: string;
}

/** What decides. */
export interface RotationFacts {
  readonly roots: RootSet;
  readonly living: Living;
  readonly nowMs: number;
  /** A CRL that is good by this root alone, without which sidecars trust nobody new. */
  crlUnder?(rootFingerprint: string): string | undefined;
}

const neededPhase: Readonly<Record<RotationStep, RotationPhase>> = {
  add: 'steady',
  switch: 'added',
  remove: 'switched',
  abort: 'added',
};
const wrongPhase: Readonly<Record<RotationPhase, string>> = {
  steady: 'no rotation is under way, begin one with `add`',
  added: 'the next root is there already: `switch` to it, or `abort`',
  switched: 'the switch is done already: `remove` the previous root',
};

/** Why a step makes no sense now, whoever forces it. */
export function impossibility(step: RotationStep, { roots, nowMs }: RotationFacts): string | undefined {
  const phase = phaseOf(roots);
  if (phase !== neededPhase[step]) return wrongPhase[phase];
  if (step !== 'switch' || roots.next === undefined) return undefined;
  const { validFromDate, validToDate } = roots.next.certificate;
  if (validFromDate.getTime() > nowMs) return `the next root is valid from ${timestamp(validFromDate.getTime())} on`;
  if (validToDate.getTime() <= nowMs) return `the next root ended at ${timestamp(validToDate.getTime())}`;
  return undefined;
}

/** Whom a step would break now: nobody, when it is empty. The step must be possible. */
export function obstaclesTo(step: RotationStep, facts: RotationFacts): readonly Obstacle[] {
  const { roots, living, nowMs } = facts;
  switch (step) {
    case 'add':
      return [];
    case 'switch': {
      const next = roots.next && fingerprintOf(roots.next.certificate);
      if (next === undefined) return [];
      return [
        ...unknown(living, nowMs),
        ...unnamed(living, () => true),
        ...living.sidecars.flatMap((one) => about(one, distrust(one, next, 'next'))),
      ];
    }
    case 'remove':
      return roots.previous === undefined ? [] : removal(fingerprintOf(roots.previous), facts);
    case 'abort': {
      const next = roots.next && fingerprintOf(roots.next.certificate);
      return next === undefined ? [] : chaining(next, living);
    }
    default:
      return step satisfies never;
  }
}

function removal(previous: string, { roots, living, nowMs, crlUnder }: RotationFacts): readonly Obstacle[] {
  const remaining = fingerprintOf(roots.root.certificate);
  const crl = crlUnder?.(previous);
  return [
    ...unknown(living, nowMs),
    ...(crl === undefined
      ? []
      : [{ who: null, why: `Without it nobody vouches for the CRL in ${crl}, and sidecars would trust nobody new` }]),
    ...chaining(previous, living),
    ...living.sidecars.flatMap((one) => [
      ...about(one, distrust(one, remaining, 'issuing')),
      ...about(one, controlPlaneDistrust(one, remaining)),
    ]),
  ];
}

/** Who has a certificate, or meets peers, under a root. */
function chaining(root: string, living: Living): readonly Obstacle[] {
  return [
    ...unnamed(living, (one) => one === root),
    ...living.sidecars.flatMap((one) => [
      ...about(one, certificateUnder(one, root)),
      ...about(one, one.report?.issuedBy === root ? 'reports that its own certificate is under it' : undefined),
      ...about(one, peersUnder(one, root)),
    ]),
  ];
}

function certificateUnder({ certificates }: LivingSidecar, root: string): string | undefined {
  const untilMs = certificates.get(root);
  return untilMs === undefined ? undefined : `has a certificate under it until ${timestamp(untilMs)}`;
}

/** A report without them had no room for them all. */
function peersUnder({ report }: LivingSidecar, root: string): string | undefined {
  if (report === undefined) return undefined;
  if (report.peersByRoot === undefined) return 'has not said under which roots its peers are';
  const peers = report.peersByRoot.find((one) => one.root === root)?.peers ?? 0;
  return peers === 0 ? undefined : `reports ${peers} ${peers === 1 ? 'peer' : 'peers'} under it`;
}

function distrust(
  { report, streams, toldRoots }: LivingSidecar,
  root: string,
  role: 'next' | 'issuing',
): string | undefined {
  if (report?.trustedRoots?.includes(root)) return undefined;
  const what = `has not confirmed that it trusts the ${role} root`;
  if (toldRoots?.includes(root)) return `${what}, of which it was told`;
  return streams === 0 ? `${what}, and has no stream on which to tell it` : `${what}, and is yet to be told`;
}

function controlPlaneDistrust({ report }: LivingSidecar, root: string): string | undefined {
  if (report?.controlPlaneRoots === undefined) return 'has not said by which roots it trusts the control plane';
  if (report.controlPlaneRoots.includes(root)) return undefined;
  return 'trusts the control plane by a CA file without the issuing root';
}

function unknown({ unknownUntilMs }: Living, nowMs: number): readonly Obstacle[] {
  if (unknownUntilMs <= nowMs) return [];
  const why = `Certificates from before this control plane started are not known, and may be in use until ${timestamp(unknownUntilMs)}`;
  return [{ who: null, why }];
}

function unnamed({ unnamedUntilMs }: Living, concerns: (root: string) => boolean): readonly Obstacle[] {
  const untilMs = Math.max(0, ...[...unnamedUntilMs].filter(([root]) => concerns(root)).map(([, atMs]) => atMs));
  if (untilMs === 0) return [];
  return [{ who: null, why: `More sidecars than can be kept by name have certificates until ${timestamp(untilMs)}` }];
}

function about({ pod }: LivingSidecar, why: string | undefined): readonly Obstacle[] {
  return why === undefined ? [] : [{ who: pod, why }];
}
