import type { Address } from '../../addresses.ts';
import { formatAddress, parseAddress } from '../../addresses.ts';
import type { ShownFailure } from '../../admin-api.ts';
import type { CaptureScope, PortRange } from '../../annotations.ts';
import type { CaptureRules, CaptureVerdict } from '../../capture-scope.ts';
import { withinPodRule } from '../../capture-scope.ts';
import { DeniedError } from '../../errors.ts';
import type { ShownInbound, ShownPorts, ShownVerdict } from '../../explain-api.ts';
import type { SpiffeId } from '../../identity/spiffe-id.ts';
import type { AuthorizedBy } from '../../policy/authorize.ts';
import { decideInbound } from '../../policy/authorize.ts';
import { effectiveMode, isSetByFloor } from '../../policy/mode.ts';
import { modeOn, refuseDetected } from '../inbound/capture.ts';
import type { InboundGuard } from '../inbound/guard.ts';
import type { InboundSettings } from '../inbound/tunnel.ts';
import type { ProxyParts } from '../parts.ts';
import { currentIdentity, takeConnection, takeDescriptor } from '../parts.ts';
import type { RecentFailures } from '../recent-failures.ts';
import type { CaptureProofs } from './capture.ts';
import { captureFacts, isLost, lostVerdict } from './capture.ts';
import type { SettingShown } from './excluded.ts';
import { exclusionBy } from './excluded.ts';
import { knownAgainst, whyRevoked } from './known-against.ts';
import { inViewOf, latelyOf } from './lately.ts';
import { explainLimits } from './outbound.ts';
import { ownRemedies, remedyOfPlaintext, withRemedy } from './remedies.ts';
import { refusalBy, refused } from './verdict.ts';

/** Who would connect. */
export type Caller =
  | { readonly kind: 'identity'; readonly id: SpiffeId }
  /** From a known address, or from wherever. */
  | { readonly kind: 'plaintext'; readonly ip: string | undefined };

export interface InboundExplainParts extends ProxyParts {
  readonly guard: InboundGuard;
  readonly failures: RecentFailures;
  readonly captureProofs: CaptureProofs;
  /** Whether no new connections are taken any more. */
  isDraining(): boolean;
  /** The addresses of the pod. */
  ownAddresses(): readonly string[];
  /** Default: nothing is said of settings. */
  readonly setting?: SettingShown;
}

export interface InboundExplainSettings extends Pick<InboundSettings, 'floor'> {
  readonly hasControlPlane: boolean;
  /** Undefined without redirect rules. */
  readonly capture: { readonly rules: CaptureRules; readonly scope: CaptureScope } | undefined;
  /** Without redirect rules what tunnels are delivered to. */
  readonly deliveries: readonly Address[];
}

type AskedCaller = Caller & {
  readonly known: ShownInbound['caller'];
  /** It is asked for all ports, and not for the one alone. */
  readonly isOfAll: boolean;
};

/** Ports that one answer holds for, and one of them. */
interface Ports {
  readonly name: string;
  readonly port: number;
}

/** Whether this caller may reach a port of the pod, or all of them, by the stages that decide for a real connection. */
export function explainInbound(
  caller: Caller,
  port: number | undefined,
  known: ShownInbound['caller'],
  parts: InboundExplainParts,
  settings: InboundExplainSettings,
): ShownInbound {
  const ports = port === undefined ? allPorts(settings) : [{ name: `port ${port}`, port }];
  const { minimumMode } = settings.floor;
  return {
    from: nameOf(caller),
    identity: caller.kind === 'identity' ? identityFacts(caller.id, parts) : null,
    caller: known,
    hasControlPlane: settings.hasControlPlane,
    policyMode: parts.policy.current()?.mode ?? null,
    minimumInboundMode: minimumMode,
    ports: ports.map((each) => explainPorts(each, { ...caller, known, isOfAll: port === undefined }, parts, settings)),
    recentFailures: failuresFrom(caller, port, parts.failures),
  };
}

const nameOf = (caller: Caller) => (caller.kind === 'identity' ? caller.id.uri : (caller.ip ?? 'plaintext'));

function identityFacts(id: SpiffeId, { identity, revocations }: InboundExplainParts): ShownInbound['identity'] {
  const { trustDomain } = id;
  return {
    trustDomain,
    isTrustDomainKnown: isKnown(trustDomain, identity),
    revoked: whyRevoked(id, revocations.current()) ?? null,
  };
}

function isKnown(trustDomain: string, identity: ProxyParts['identity']): boolean {
  try {
    return identity.current().bundles.domains.has(trustDomain);
  } catch (error) {
    if (error instanceof DeniedError) return false;
    throw error;
  }
}

function explainPorts(
  { name, port }: Ports,
  caller: AskedCaller,
  parts: InboundExplainParts,
  settings: InboundExplainSettings,
): ShownPorts {
  const rules = captureOf(caller, port, settings);
  const capture = rules === undefined ? null : captureFacts(rules, 'inbound', undefined, parts.captureProofs);
  const subject = `${caller.kind === 'identity' ? caller.id.uri : `Plaintext from ${caller.ip ?? 'anywhere'}`} to ${name}`;
  const common = { ports: name, capture, mode: modeOf(parts, settings) };
  if (caller.kind === 'plaintext' && isLeftAlone(capture))
    return { ...common, verdict: goesAround(subject, capture, parts) };
  if (caller.kind === 'plaintext' && capture !== null && isLost(capture))
    return { ...common, verdict: lostVerdict(`${subject} REACHES THE APPLICATION, whatever the mode is`) };
  try {
    if (parts.isDraining()) throw new DeniedError('draining', 'The sidecar takes no new connections');
    takeDescriptor(parts)?.();
    if (caller.kind === 'identity') prove(caller.id, parts);
    const destination = parts.guard.check({ ip: parts.ownAddresses()[0] ?? '0.0.0.0', port });
    if (caller.kind === 'plaintext')
      refuseDetected(noHello, modeOn(port, parts.policy.current(), settings.floor), destination);
    const principal = caller.kind === 'identity' ? caller.id.uri : undefined;
    const decision = decideInbound({ destination, principal }, parts.policy.current(), settings.floor);
    if (decision.kind === 'refused') throw new DeniedError(decision.reason, decision.why);
    takeConnection(parts)();
    return {
      ...common,
      ...judged(subject, destination, port, caller, parts),
      permittedBy: permittedBy(caller, decision.by),
    };
  } catch (error) {
    const refusal = refusalBy(error);
    const isOver = refusal.reason === 'identity_expired';
    const remedies = isOver ? ownRemedies(parts.identity) : remediesFor(caller, port, parts, settings);
    return { ...common, verdict: refused(subject, withRemedy(refusal, remedies)) };
  }
}

/** What comes from the pod itself never meets the inbound rules. */
function captureOf(caller: Caller, port: number, { capture }: InboundExplainSettings): CaptureVerdict | undefined {
  const rules = capture?.rules;
  if (caller.kind === 'identity' || caller.ip === undefined) return rules?.inbound(port);
  const asDialled = rules?.outbound({ ip: caller.ip, port });
  return asDialled?.rule === withinPodRule ? asDialled : rules?.inbound(port);
}

const noHello = { kind: 'plaintext', why: 'no-client-hello' } as const;

/** What the handshake would say, as far as the identity alone decides it. */
function prove(id: SpiffeId, parts: InboundExplainParts): void {
  const { bundles } = currentIdentity(parts);
  const against = knownAgainst(id, { bundles, revocations: parts.revocations.current() });
  if (against !== undefined) throw against;
}

/** The application may have failed those before it, and so may what only a handshake shows. */
function judged(
  subject: string,
  destination: Address,
  port: number,
  caller: AskedCaller,
  { clock, failures }: InboundExplainParts,
): Pick<ShownPorts, 'verdict' | 'lately'> {
  const nowMs = clock.now();
  const ofPort = caller.isOfAll ? undefined : failures.inARow({ kind: 'port', port });
  const ofPeer = caller.kind === 'identity' ? failures.inARow({ kind: 'from', id: caller.id.uri }) : undefined;
  const lately = latelyOf(ofPeer, nowMs) ?? latelyOf(ofPort, nowMs);
  return inViewOf(
    letIn(subject, caller.isOfAll ? undefined : destination),
    `${subject} would be let in`,
    lately,
    nowMs,
  );
}

function remediesFor(
  caller: AskedCaller,
  port: number,
  { ownAddresses }: InboundExplainParts,
  { floor, hasControlPlane }: InboundExplainSettings,
): Readonly<Record<string, string>> {
  const [ip = 'its address'] = ownAddresses();
  const target = formatAddress({ ip, port });
  const mayBePermissive = hasControlPlane && floor.minimumMode !== 'STRICT';
  return {
    default_deny: 'If it should be allowed, name it in allowPeers of this sidecar',
    ...(caller.kind === 'plaintext' && {
      plaintext_in_strict: remedyOfPlaintext(caller.ip, target, caller.known, mayBePermissive),
    }),
  };
}

/** `destination` is undefined where several are meant. */
function letIn(subject: string, destination: Address | undefined): ShownVerdict {
  const isNamed = destination !== undefined && destination.ip !== '0.0.0.0';
  const application = isNamed ? `the application at ${formatAddress(destination)}` : 'the application';
  return { kind: 'carried', sentence: `${subject} would be let in, to ${application}` };
}

/** The sidecar's own ports are left alone too, and lead to no application. */
function isLeftAlone(capture: CaptureVerdict | null): boolean {
  return capture === null || (!capture.isCaptured && capture.rule !== ownPortsRule);
}

function goesAround(subject: string, capture: CaptureVerdict | null, { setting }: InboundExplainParts): ShownVerdict {
  const { why, remedy } =
    capture === null
      ? { why: 'it captures nothing', remedy: undefined }
      : exclusionBy(capture.rule, 'inbound', setting);
  const sentence = `${subject} would not pass this sidecar: ${why}`;
  return { kind: 'not_carried', sentence, ...(remedy !== undefined && { remedy }) };
}

function modeOf({ policy }: InboundExplainParts, { floor }: InboundExplainSettings): ShownPorts['mode'] {
  const fromPolicy = policy.current()?.mode;
  if (fromPolicy === undefined) return null;
  const setBy = isSetByFloor(fromPolicy, floor.minimumMode) ? 'floor' : 'policy';
  return { mode: effectiveMode(fromPolicy, floor.minimumMode), setBy };
}

function permittedBy(caller: Caller, by: AuthorizedBy): string {
  if (by === 'allowed_peers') return 'It is among the allowed peers of this sidecar';
  return caller.kind === 'identity'
    ? 'No policy narrows who may connect: every identity of a trusted domain may'
    : 'The mode takes peers without an identity';
}

/** Every port, those together that the rules treat alike; the sidecar's own are left out. */
function allPorts({ capture, deliveries }: InboundExplainSettings): Ports[] {
  if (capture === undefined) {
    const ports = deliveries.map(({ port }) => ({ first: port, last: port }));
    return [...ports.map(({ first }) => ({ name: `port ${first}`, port: first })), ...others(ports, undefined)];
  }
  const { rules, scope } = capture;
  const isEverywhere = scope.includeInboundPorts === '*';
  const named = scope.includeInboundPorts === '*' ? scope.excludeInboundPorts : scope.includeInboundPorts;
  const port = named.map(({ first }) => first).find((first) => rules.inbound(first).rule !== ownPortsRule);
  const namedPorts = port === undefined ? [] : [{ name: `ports ${textOf(named)}`, port }];
  const rest = others(named, rules);
  return isEverywhere ? [...rest, ...namedPorts] : [...namedPorts, ...rest];
}

const ownPortsRule = "The sidecar's own ports";

function others(ranges: readonly PortRange[], rules: CaptureRules | undefined): Ports[] {
  const isNamed = (port: number) => ranges.some(({ first, last }) => first <= port && port <= last);
  const name = ranges.length === 0 ? 'every port' : `every port but ${textOf(ranges)}`;
  for (let port = 1; port <= 65535; port += 1)
    if (!isNamed(port) && rules?.inbound(port).rule !== ownPortsRule) return [{ name, port }];
  return [];
}

const textOf = (ranges: readonly PortRange[]) =>
  ranges.map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`)).join(', ');

function failuresFrom(caller: Caller, port: number | undefined, failures: RecentFailures): ShownFailure[] {
  return failures
    .all()
    .filter((failure) => failure.direction === 'inbound' && isBy(caller, failure) && isTo(port, failure))
    .slice(0, explainLimits.failures);
}

function isBy(caller: Caller, { peerId, presentedId, peerAddress }: ShownFailure): boolean {
  if (caller.kind === 'identity') return (peerId ?? presentedId) === caller.id.uri;
  if (caller.ip !== undefined) return parseAddress(peerAddress)?.ip === caller.ip;
  return peerId === undefined && presentedId === undefined;
}

function isTo(port: number | undefined, { originalDestination }: ShownFailure): boolean {
  if (port === undefined || originalDestination === undefined) return true;
  return parseAddress(originalDestination)?.port === port;
}
