import type { Address } from '../../addresses.ts';
import { formatAddress } from '../../addresses.ts';
import type { CaptureRules } from '../../capture-scope.ts';
import type { ShownEndpointFacts, ShownOutbound, ShownVerdict } from '../../explain-api.ts';
import type { Resolution } from '../../policy/admit.ts';
import { admit } from '../../policy/admit.ts';
import type { OutboundPermit } from '../../policy/permit.ts';
import type { Affinities } from '../outbound/affinities.ts';
import type { OutboundSettings } from '../outbound/capture.ts';
import { isProbe, refuseSelfCall } from '../outbound/capture.ts';
import type { Registry } from '../outbound/resolve.ts';
import { placeOf, resolve } from '../outbound/resolve.ts';
import type { ProxyParts } from '../parts.ts';
import { takeConnection, takeDescriptor } from '../parts.ts';
import type { RecentFailures } from '../recent-failures.ts';
import type { CaptureProofs } from './capture.ts';
import { captureFacts, isLost, lostVerdict } from './capture.ts';
import type { EndpointParts } from './endpoints.ts';
import { endpointFacts, explainEndpoints } from './endpoints.ts';
import type { SettingShown } from './excluded.ts';
import { exclusionBy } from './excluded.ts';
import { inViewOf, isStillSo, latelyOf } from './lately.ts';
import { outboundRemedies, withRemedy } from './remedies.ts';
import { refusalBy, refused } from './verdict.ts';

export interface OutboundExplainParts extends ProxyParts, EndpointParts {
  readonly registry: Registry & { heldForMs?(address: Address): number | undefined };
  readonly affinities: Affinities;
  readonly failures: RecentFailures;
  readonly captureProofs: CaptureProofs;
  isControlPlaneUp(): boolean;
  /** Default: nothing is said of settings. */
  readonly setting?: SettingShown;
}

export type OutboundExplainSettings = Pick<
  OutboundSettings,
  'rules' | 'reservedPorts' | 'meshNetworks' | 'resolveTimeoutMs' | 'hbonePort'
>;

/** So many endpoints and failures are shown; a Service may have a thousand of them. */
export const explainLimits = { endpoints: 100, failures: 5 } as const;

const noEndpoints = { endpoints: [], endpointsNotShown: 0, keptAt: null };

/**
 * What would become of a connection of the application, by the stages that decide for a real one: nothing is dialled, and
 * the control plane is asked as a connection would ask it.
 */
export async function explainOutbound(
  destination: Address,
  rules: CaptureRules,
  parts: OutboundExplainParts,
  settings: OutboundExplainSettings,
): Promise<ShownOutbound> {
  const name = formatAddress(destination);
  const verdictOfRules = rules.outbound(destination);
  const capture = captureFacts(verdictOfRules, 'outbound', destination.ip, parts.captureProofs);
  const common = {
    destination: name,
    capture,
    registry: null,
    ...allowed(settings),
    ...noEndpoints,
    recentFailures: failuresTo(name, parts.failures),
  };
  if (!capture.isCaptured) return { ...common, verdict: await notCaptured(destination, capture.rule, parts, settings) };
  if (isProbe(destination)) return { ...common, verdict: answeredHere(name) };
  if (isLost(capture))
    return { ...common, verdict: lostVerdict(`${name} GOES AROUND THIS SIDECAR, without mutual TLS`) };
  try {
    takeDescriptor(parts)?.();
    refuseSelfCall(destination, settings.reservedPorts);
    // Given back at once: it only has to be there.
    takeConnection(parts)();
  } catch (error) {
    return { ...common, verdict: refused(name, refusalBy(error)) };
  }
  return { ...common, ...(await explainRoute(destination, parts, settings)) };
}

/** From the registry on. */
async function explainRoute(
  destination: Address,
  parts: OutboundExplainParts,
  settings: OutboundExplainSettings,
): Promise<Pick<ShownOutbound, 'registry' | 'verdict' | 'lately' | 'endpoints' | 'endpointsNotShown' | 'keptAt'>> {
  const name = formatAddress(destination);
  const heldForMs = parts.registry.heldForMs?.(destination);
  const patient = new AbortController().signal;
  let resolution: Resolution;
  try {
    resolution = await resolve(destination, parts, settings, patient);
  } catch (error) {
    return { registry: null, ...noEndpoints, verdict: refused(name, refusalBy(error)) };
  }
  const isRegistered = placeOf(destination, parts.policy.current(), settings) === 'registered';
  const registry = {
    ...answerOf(resolution, heldForMs),
    ...(isRegistered && { isRegistered }),
    isControlPlaneUp: parts.isControlPlaneUp(),
  };
  const subject = registry.service === undefined ? name : `${name} (${registry.service})`;
  let permit: OutboundPermit | undefined;
  let verdict: ShownVerdict | undefined;
  try {
    permit = admit(destination, resolution, settings.rules);
  } catch (error) {
    const remedies = outboundRemedies(placeOf(destination, parts.policy.current(), settings), resolution);
    verdict = refused(subject, withRemedy(refusalBy(error), remedies));
  }
  const endpoints = endpointsOf(destination, resolution, permit, parts, settings);
  const kept = permit?.affinity && parts.affinities.endpointOf(permit.affinity);
  return {
    registry,
    ...(verdict === undefined ? judged(subject, destination, endpoints, parts) : { verdict }),
    endpoints: endpoints.slice(0, explainLimits.endpoints),
    endpointsNotShown: Math.max(0, endpoints.length - explainLimits.endpoints),
    keptAt: kept?.split(' ', 1)[0] ?? null,
  };
}

function endpointsOf(
  destination: Address,
  resolution: Resolution,
  permit: OutboundPermit | undefined,
  parts: EndpointParts,
  settings: OutboundExplainSettings,
): ShownEndpointFacts[] {
  if (resolution.kind !== 'known') return permittedFacts(permit, parts, settings);
  return explainEndpoints(destination, resolution.destination, permit, settings.rules, (endpoint, use) =>
    endpointFacts(endpoint, use, parts, settings),
  );
}

/** Of a permit that names its endpoints itself. */
export function permittedFacts(
  permit: OutboundPermit | undefined,
  parts: EndpointParts,
  settings: Pick<OutboundExplainSettings, 'hbonePort'>,
): ShownEndpointFacts[] {
  const use = { use: 'chosen_from', isReady: true, isTerminating: false } as const;
  return (permit?.endpoints ?? []).map((endpoint) => endpointFacts(endpoint, use, parts, settings));
}

export const allowed = ({ rules }: Pick<OutboundExplainSettings, 'rules'>) => ({
  outboundPolicy: rules.policy,
  minimumOutbound: rules.minimum,
});

function answerOf(
  resolution: Resolution,
  heldForMs: number | undefined,
): Omit<NonNullable<ShownOutbound['registry']>, 'isControlPlaneUp' | 'isRegistered'> {
  const heldForSeconds = heldForMs === undefined ? null : heldForMs / 1000;
  const { kind: answer } = resolution;
  if (resolution.kind === 'unavailable') return { answer, why: resolution.why, heldForSeconds };
  if (resolution.kind !== 'known') return { answer, heldForSeconds };
  const { service, entry } = resolution.destination;
  return { answer, ...(service !== undefined && { service }), ...(entry !== undefined && { entry }), heldForSeconds };
}

const answeredHere = (name: string): ShownVerdict => ({
  kind: 'not_carried',
  sentence: `${name} is the probe of the redirect rules: the sidecar answers it itself`,
});

/** Where a sidecar waits at the other end, whatever is left out here was hardly meant to be. */
async function notCaptured(
  destination: Address,
  rule: string,
  parts: OutboundExplainParts,
  settings: OutboundExplainSettings,
): Promise<ShownVerdict> {
  const { why, remedy } = exclusionBy(rule, 'outbound', parts.setting);
  const sentence = `${formatAddress(destination)} would not pass this sidecar: ${why}`;
  if (remedy === undefined) return { kind: 'not_carried', sentence };
  const plain = `${sentence}, and it goes as the application sends it, without mutual TLS`;
  const patient = new AbortController().signal;
  const found = await resolve(destination, parts, settings, patient).catch(() => undefined);
  const endpoints = found?.kind === 'known' ? found.destination.endpoints : [];
  if (!endpoints.some(({ transport }) => transport !== 'plaintext'))
    return { kind: 'not_carried', sentence: plain, remedy };
  return {
    kind: 'goes_around',
    sentence: `${plain}; there is a sidecar at its other end, which refuses plaintext where it is STRICT`,
    remedy,
  };
}

/** What would be tried, whether any of it can go well, and whether what was tried last did. */
export function judged(
  subject: string,
  address: Address,
  endpoints: readonly ShownEndpointFacts[],
  { clock, failures }: Pick<OutboundExplainParts, 'clock' | 'failures'>,
): Pick<ShownOutbound, 'verdict' | 'lately'> {
  const nowMs = clock.now();
  const lately = latelyOf(failures.inARow({ kind: 'to', address }), nowMs);
  const attempt = verdictOf(subject, endpoints, 'attempted').sentence;
  const counts = lately !== undefined && isStillSo(lately, endpoints) ? lately : undefined;
  return inViewOf(verdictOf(subject, endpoints, 'reached'), attempt, counts, nowMs);
}

function verdictOf(
  subject: string,
  endpoints: readonly ShownEndpointFacts[],
  verb: 'reached' | 'attempted',
): ShownVerdict {
  const tried = endpoints.filter(({ use }) => use !== 'not_used');
  const usable = tried.filter(({ refusal }) => refusal === undefined);
  const refusal = tried[0]?.refusal;
  if (usable.length === 0 && refusal !== undefined) return refused(subject, refusal);
  const vain = tried.length - usable.length;
  const besides = vain === 0 ? '' : `; ${vain} of its endpoints would refuse`;
  return { kind: 'carried', sentence: `${subject} would be ${verb} ${wayTo(subject, usable)}${besides}` };
}

function wayTo(subject: string, endpoints: readonly ShownEndpointFacts[]): string {
  const ids = new Set(endpoints.map(({ expectedId }) => expectedId));
  const [id] = ids;
  const [only] = endpoints;
  const alone = only?.address === subject ? '' : ` at ${only?.address}`;
  const where = endpoints.length === 1 ? alone : ` at one of ${endpoints.length} endpoints`;
  if (ids.size === 1) return id === undefined ? `in plaintext${where}` : `through mutual TLS${where} as ${id}`;
  return ids.has(undefined)
    ? `through mutual TLS or, where there is no sidecar, in plaintext${where}`
    : `through mutual TLS${where}, each as its own identity`;
}

/** The latest first, as the destination or as an endpoint of it. */
export function failuresTo(name: string, failures: RecentFailures) {
  return failures
    .all()
    .filter(
      ({ direction, originalDestination, endpoint }) =>
        direction === 'outbound' && (originalDestination === name || endpoint === name),
    )
    .slice(0, explainLimits.failures);
}
