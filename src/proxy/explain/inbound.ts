import type { Address } from '../../addresses.ts';
import { formatAddress, parseAddress } from '../../addresses.ts';
import type { ShownFailure } from '../../admin-api.ts';
import type { CaptureVerdict } from '../../capture-scope.ts';
import { withinPodRule } from '../../capture-scope.ts';
import { DeniedError } from '../../errors.ts';
import type { ShownInbound, ShownPorts, ShownVerdict } from '../../explain-api.ts';
import type { SpiffeId } from '../../identity/spiffe-id.ts';
import { decideInbound } from '../../policy/authorize.ts';
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
import { explainMode, explainPolicies, permittedBy, policyRemedies } from './inbound-policy.ts';
import type { PortSettings, Ports } from './inbound-ports.ts';
import { allPorts, ownPortsRule } from './inbound-ports.ts';
import { knownAgainst, whyRevoked } from './known-against.ts';
import { inViewOf, latelyOf } from './lately.ts';
import { explainLimits } from './outbound.ts';
import { ownRemedies, remediesOfDisable, remedyOfPlaintext, withRemedy } from './remedies.ts';
import { refusalBy, refused } from './verdict.ts';

/** Who would connect. */
export type Caller =
  | {
      readonly kind: 'identity';
      readonly id: SpiffeId;
      /** Undefined where it is not said: then each DENY rule about one holds, and none of ALLOW. */
      readonly ip: string | undefined;
    }
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

export interface InboundExplainSettings extends Pick<InboundSettings, 'floor'>, PortSettings {
  readonly hasControlPlane: boolean;
}

type AskedCaller = Caller & {
  readonly known: ShownInbound['caller'];
  /** It is asked for all ports, and not for the one alone. */
  readonly isOfAll: boolean;
};

/** Whether this caller may reach a port of the pod, or all of them, by the stages that decide for a real connection. */
export function explainInbound(
  caller: Caller,
  port: number | undefined,
  known: ShownInbound['caller'],
  parts: InboundExplainParts,
  settings: InboundExplainSettings,
): ShownInbound {
  const one = port === undefined ? undefined : { ports: [{ name: `port ${port}`, port }], notShown: 0 };
  const { ports, notShown } = one ?? allPorts(settings, parts.policy.current());
  return {
    from: nameOf(caller),
    identity: caller.kind === 'identity' ? identityFacts(caller, parts) : null,
    caller: known,
    hasControlPlane: settings.hasControlPlane,
    minimumInboundMode: settings.floor.minimumMode,
    ports: ports.map((each) => explainTold(each, { ...caller, known, isOfAll: port === undefined }, parts, settings)),
    portsNotShown: notShown,
    recentFailures: failuresFrom(caller, port, parts.failures),
  };
}

const nameOf = (caller: Caller) => (caller.kind === 'identity' ? caller.id.uri : (caller.ip ?? 'plaintext'));

function identityFacts(
  { id, ip }: Extract<Caller, { kind: 'identity' }>,
  { identity, revocations }: InboundExplainParts,
): ShownInbound['identity'] {
  const { trustDomain } = id;
  return {
    at: ip ?? null,
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

/**
 * A port that the policy has as DISABLE is told to sidecars as one in plaintext: whoever has an identity comes there without it, and only
 * what becomes of that counts.
 */
function explainTold(
  ports: Ports,
  caller: AskedCaller,
  parts: InboundExplainParts,
  settings: InboundExplainSettings,
): ShownPorts {
  const own = explainPorts(ports, caller, parts, settings);
  if (caller.kind === 'plaintext' || own.mode?.fromPolicy !== 'DISABLE') return own;
  const { ip, known, isOfAll } = caller;
  const plain = explainPorts(ports, { kind: 'plaintext', ip, known, isOfAll }, parts, settings);
  const told =
    'but sidecars are told that the port takes plaintext, because it is DISABLE, and so come without an identity';
  const sentence = `Through a tunnel ${own.verdict.sentence}; ${told}: ${plain.verdict.sentence}`;
  const said = { ...plain.verdict, sentence };
  if (said.kind !== 'refused') return { ...plain, verdict: said };
  return { ...plain, verdict: withRemedy(said, remediesOfDisable) };
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
  const policy = parts.policy.current();
  const hasIdentity = caller.kind === 'identity';
  let common: Pick<ShownPorts, 'ports' | 'capture' | 'mode' | 'policies'> = {
    ...{ ports: name, capture },
    mode: explainMode(port, policy, settings.floor.minimumMode),
  };
  if (caller.kind === 'plaintext' && isLeftAlone(capture))
    return { ...common, verdict: goesAround(subject, capture, parts) };
  if (caller.kind === 'plaintext' && capture !== null && isLost(capture))
    return { ...common, verdict: lostVerdict(`${subject} REACHES THE APPLICATION, whatever the mode is`) };
  try {
    if (parts.isDraining()) throw new DeniedError('draining', 'The sidecar takes no new connections');
    takeDescriptor(parts)?.();
    if (caller.kind === 'identity') prove(caller.id, parts);
    const destination = parts.guard.check({ ip: parts.ownAddresses()[0] ?? '0.0.0.0', port });
    if (!hasIdentity) refuseDetected(noHello, modeOn(port, policy, settings.floor), destination);
    const principal = hasIdentity ? caller.id.uri : undefined;
    const decision = decideInbound({ destination, principal, source: caller.ip }, policy, settings.floor);
    const policies = explainPolicies(policy, decision);
    common = { ...common, ...(policies && { policies }) };
    if (decision.kind === 'refused') throw new DeniedError(decision.reason, decision.why);
    takeConnection(parts)();
    const by = permittedBy(hasIdentity, decision.by, decision, policies !== undefined);
    return { ...common, ...judged(subject, destination, port, caller, parts), permittedBy: by };
  } catch (error) {
    const refusal = refusalBy(error);
    const isOver = refusal.reason === 'identity_expired';
    const remedies = isOver
      ? ownRemedies(parts.identity)
      : remediesFor(caller, port, common.policies?.policy, parts, settings);
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
  decidedBy: string | undefined,
  { ownAddresses, policy }: InboundExplainParts,
  { floor, hasControlPlane }: InboundExplainSettings,
): Readonly<Record<string, string>> {
  const [ip = 'its address'] = ownAddresses();
  const target = formatAddress({ ip, port });
  const mayBePermissive = hasControlPlane && floor.minimumMode !== 'STRICT';
  return {
    ...policyRemedies(policy.current(), decidedBy, caller.kind === 'identity'),
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

function failuresFrom(caller: Caller, port: number | undefined, failures: RecentFailures): ShownFailure[] {
  return failures
    .all()
    .filter((failure) => failure.direction === 'inbound' && isBy(caller, failure) && isTo(caller, port, failure))
    .slice(0, explainLimits.failures);
}

function isBy(caller: Caller, { peerId, presentedId, peerAddress }: ShownFailure): boolean {
  if (caller.kind === 'identity') return (peerId ?? presentedId) === caller.id.uri;
  if (caller.ip !== undefined) return parseAddress(peerAddress)?.ip === caller.ip;
  return peerId === undefined && presentedId === undefined;
}

/** A tunnel that failed is of every port for those who come through one; which was meant nobody had said. */
function isTo(caller: Caller, port: number | undefined, { originalDestination, tunnelTo }: ShownFailure): boolean {
  if (port === undefined) return true;
  if (originalDestination === undefined) return caller.kind === 'identity' || tunnelTo === undefined;
  return parseAddress(originalDestination)?.port === port;
}
