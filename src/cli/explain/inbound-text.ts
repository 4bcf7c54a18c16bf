import { parseDate } from '../../clock.ts';
import type { InboundPage, ShownPorts } from '../../explain-api.ts';
import { printable } from '../../printable.ts';
import { captureFact, failureStep, saidBy, step, verdictLines } from './lines.ts';

/** A connection to this pod, in the order in which it is taken. */
export function inboundText(page: InboundPage): string[] {
  const sections = page.ports.map((ports) => [
    ...verdictLines(ports.verdict, ports.lately),
    '',
    ...portSteps(ports, page),
  ]);
  return [
    ...sections.flatMap((lines, index) => [...(index > 0 ? [''] : []), ...lines]),
    ...failureStep(page.recentFailures, page.ports.flatMap(saidBy), parseDate(page.now)),
  ];
}

function portSteps(ports: ShownPorts, page: InboundPage): string[] {
  return [
    ...captureStep(ports, page),
    ...identityStep(page),
    ...callerStep(page),
    ...modeStep(ports, page),
    ...(ports.permittedBy === undefined ? [] : step('Permitted', [printable(ports.permittedBy)])),
  ];
}

function captureStep({ capture }: ShownPorts, { identity }: InboundPage): string[] {
  const tunnel = identity === null ? [] : ['its sidecar comes through a tunnel, which is never captured'];
  if (capture === null) return step('Captured', [...tunnel, 'this sidecar has no redirect rules']);
  const plain = captureFact(capture);
  return step('Captured', [...tunnel, identity === null ? plain : `dialled without one: ${plain}`]);
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
  const { trustDomain, isTrustDomainKnown, revoked } = identity;
  const trusted = isTrustDomainKnown ? 'has a trust bundle here' : 'has NO trust bundle here';
  return step('Identity', [
    `its trust domain ${printable(trustDomain)} ${trusted}`,
    revoked === null ? 'not revoked; its certificate has to prove it' : `NOT RELIED ON: ${printable(revoked)}`,
  ]);
}

function modeStep({ mode }: ShownPorts, { hasControlPlane, policyMode, minimumInboundMode }: InboundPage): string[] {
  if (mode === null) return step('Mode', ['no policy has arrived yet, so nobody is let in']);
  if (!hasControlPlane) return step('Mode', [`${mode.mode}, as always without a control plane`]);
  const why =
    mode.setBy === 'floor'
      ? `--minimum-inbound-mode of this pod sets it; the control plane says ${policyMode}`
      : `the control plane sets it; --minimum-inbound-mode of this pod is ${minimumInboundMode}`;
  return step('Mode', [`${mode.mode}: ${why}`]);
}
