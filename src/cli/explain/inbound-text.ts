import type { ShownFailure } from '../../admin-api.ts';
import { parseDate } from '../../clock.ts';
import type { InboundPage, ShownPorts } from '../../explain-api.ts';
import { counted } from '../../phrases.ts';
import { printable } from '../../printable.ts';
import { captureFact, failureStep, policyFacts, saidBy, step, verdictLines } from './lines.ts';

/** A connection to this pod, in the order in which it is taken. */
export function inboundText(page: InboundPage): string[] {
  const sections = page.ports.map((ports) => [
    ...verdictLines(ports.verdict, ports.lately),
    '',
    ...portSteps(ports, page),
  ]);
  return [
    ...sections.flatMap((lines, index) => [...(index > 0 ? [''] : []), ...lines]),
    ...(page.portsNotShown === 0
      ? []
      : [
          '',
          `${counted(page.portsNotShown, 'more port')} that the policy treats in a way of their own: --port explains one`,
        ]),
    ...failureStep(page.recentFailures, page.ports.flatMap(saidBy), parseDate(page.now), placeOf),
  ];
}

/** The port that was meant, which nobody knows before a tunnel is there. */
function placeOf({ originalDestination, tunnelTo }: ShownFailure): string {
  if (originalDestination !== undefined) return `, to ${printable(originalDestination)}`;
  return tunnelTo === undefined ? '' : `, a tunnel to ${printable(tunnelTo)}, for whichever port`;
}

function portSteps(ports: ShownPorts, page: InboundPage): string[] {
  return [
    ...captureStep(ports, page),
    ...identityStep(page),
    ...callerStep(page),
    ...modeStep(ports, page),
    ...policiesStep(ports, page),
    ...(ports.permittedBy === undefined ? [] : step('Permitted', [printable(ports.permittedBy)])),
  ];
}

function captureStep({ capture }: ShownPorts, { identity }: InboundPage): string[] {
  const tunnel = identity === null ? [] : ['its sidecar comes through a tunnel, which is never captured'];
  if (capture === null) return step('Captured', [...tunnel, 'this sidecar has no redirect rules']);
  const plain = captureFact(capture);
  return step('Captured', [...tunnel, identity === null ? plain : `mutual TLS with the port itself: ${plain}`]);
}

function callerStep({ caller }: InboundPage): string[] {
  if (caller === null) return [];
  const { answer, spiffeId, why } = caller;
  switch (answer) {
    case 'sidecar':
      return step('Caller', [`the registry knows a pod with a sidecar there: ${printable(spiffeId ?? '')}`]);
    case 'no_sidecar':
      return step('Caller', ['the registry knows a pod without a sidecar there']);
    case 'unknown':
      return step('Caller', ['the registry knows nobody there']);
    case 'unavailable':
      return step('Caller', [`whom the registry knows there is not known: ${printable(why ?? '')}`]);
    default:
      return answer satisfies never;
  }
}

function identityStep({ identity }: InboundPage): string[] {
  if (identity === null) return step('Identity', ['none']);
  const { at, trustDomain, isTrustDomainKnown, revoked } = identity;
  const trusted = isTrustDomainKnown ? 'has a trust bundle here' : 'has NO trust bundle here';
  return step('Identity', [
    `its trust domain ${printable(trustDomain)} ${trusted}`,
    revoked === null ? 'not revoked; its certificate has to prove it' : `NOT RELIED ON: ${printable(revoked)}`,
    ...(at === null ? [] : [`it comes from ${printable(at)}`]),
  ]);
}

function modeStep({ mode }: ShownPorts, { hasControlPlane, minimumInboundMode }: InboundPage): string[] {
  if (mode === null) return step('Mode', ['no policy can be enforced, so nobody new is let in']);
  if (!hasControlPlane) return step('Mode', [`${mode.mode}, as always without a control plane`]);
  const { setBy, fromPolicy, problem } = mode;
  if (problem !== undefined)
    return step('Mode', [
      `STRICT: the PeerAuthentication ${printable(setBy ?? '')} is INVALID, and STRICT is what that means`,
      printable(problem),
    ]);
  const by = setBy === null ? 'the default of the mesh, no PeerAuthentication sets it' : `${printable(setBy)} sets it`;
  const why =
    setBy === 'floor'
      ? `--minimum-inbound-mode of this pod sets it; the policy says ${fromPolicy}`
      : `${by}; --minimum-inbound-mode of this pod is ${minimumInboundMode}`;
  return step('Mode', [`${mode.mode}: ${why}`]);
}

/** Nothing where there are none. */
function policiesStep({ policies }: ShownPorts, { identity }: InboundPage): string[] {
  if (policies === undefined) return [];
  const { enforced, audit, dry_run: onTrial, invalid, policy } = policies;
  const counts = [
    `${enforced} enforced`,
    ...(invalid > 0 ? [`${invalid} INVALID`] : []),
    ...(audit > 0 ? [`${audit} of AUDIT`] : []),
    ...(onTrial > 0 ? [`${onTrial} on trial`] : []),
  ];
  return step('Policies', [
    `${counts.join(', ')}${policy === undefined ? '' : `; ${printable(policy)} decides`}`,
    ...policyFacts(policies),
    ...(identity?.at === null
      ? ['without its address DENY rules about one hold, and none of ALLOW: --at says from where']
      : []),
  ]);
}
