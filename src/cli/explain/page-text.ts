import type { ShownConnection, ShownFailure } from '../../admin-api.ts';
import { parseDate } from '../../clock.ts';
import type { ExplainPage, InboundPage, OutboundPage } from '../../explain-api.ts';
import { moment } from '../../phrases.ts';
import { printable } from '../../printable.ts';
import { inboundText } from './inbound-text.ts';
import type { Found } from './lines.ts';
import { ago, policyFacts, saidBy, step, whatToDo } from './lines.ts';
import { outboundText } from './outbound-text.ts';

/** The page for a person: the verdict first, then each step with its facts, in the order of a connection. */
export function explainText(page: ExplainPage): string[] {
  return page.kind === 'id' ? storyText(page) : nowText(page);
}

const nowText = (page: OutboundPage | InboundPage) => (page.kind === 'to' ? outboundText(page) : inboundText(page));

function storyText({ id, now, failure, connection, again }: Extract<ExplainPage, { kind: 'id' }>): string[] {
  const nowMs = parseDate(now);
  if (failure === undefined && connection === undefined)
    return [
      `The connection ${printable(id)} is not known here, or no longer: only those that are open, and the last that failed, are remembered`,
      'The sidecar of the other side may know it by the same id, and the log of this one has its line',
    ];
  const told = again === null ? [] : (again.kind === 'to' ? again.destinations : again.ports).flatMap(saidBy);
  const story = failure ? failureText(failure, told, nowMs) : connection ? connectionText(connection, nowMs) : [];
  if (again === null) return [...story, '', 'Too little is known of it to say what would become of it now'];
  return [...story, '', 'If it were made now:', '', ...nowText(besides(id, again))];
}

/** The story has told of that one already. */
function besides(id: string, page: OutboundPage | InboundPage): OutboundPage | InboundPage {
  const others = (failures: readonly ShownFailure[]) => failures.filter((failure) => failure.id !== id);
  if (page.kind === 'from') return { ...page, recentFailures: others(page.recentFailures) };
  const destinations = page.destinations.map((one) => ({ ...one, recentFailures: others(one.recentFailures) }));
  return { ...page, destinations };
}

/** What to do stands but once: where the same would happen again, there, by what is known now. */
function failureText(failure: ShownFailure, again: readonly Found[], nowMs: number): string[] {
  const { happened, remedy, reason, detail, otherRemedy } = failure;
  const isOfOthers = reason === 'peer_refused' && otherRemedy !== undefined;
  const found = detail === undefined ? '' : `: ${printable(detail)}`;
  return [
    `${printable(happened)}, ${ago(failure.at, nowMs)}`,
    `  ${printable(reason)}${found}`,
    ...(again.some((one) => one.reason === reason)
      ? []
      : [`  ${whatToDo(isOfOthers ? `Over there: ${otherRemedy}` : remedy)}`]),
    '',
    ...wayText(failure),
    ...certificateText(failure),
    ...otherText(failure),
  ];
}

function connectionText(connection: ShownConnection, nowMs: number): string[] {
  const { openedAt, bytesSent, bytesReceived, security } = connection;
  return [
    `It is open since ${moment(openedAt)}, ${ago(openedAt, nowMs)}`,
    '',
    ...wayText(connection),
    ...step('Carried', [`${bytesSent} bytes to the server, ${bytesReceived} back, by ${printable(security)}`]),
  ];
}

/** Who and where to, for both. */
function wayText(line: ShownFailure | ShownConnection): string[] {
  const { id, direction, peerAddress, originalDestination, service, endpoint, peerId, localId, tunnelFrom, tunnelTo } =
    line;
  const expectedId = 'expectedId' in line ? line.expectedId : undefined;
  const presentedId = 'presentedId' in line ? line.presentedId : undefined;
  const facts: readonly (readonly [string, string | undefined])[] = [
    ['Id', `${id}, ${direction}`],
    ['From', peerAddress],
    ['To', originalDestination && `${originalDestination}${service === undefined ? '' : ` (${service})`}`],
    ['Endpoint', endpoint],
    ['Tunnel', tunnelTo && `${tunnelFrom === undefined ? '' : `from ${tunnelFrom} `}to ${tunnelTo}`],
    ['Peer', peerId],
    ['Expected', expectedId],
    ['Presented', presentedId],
    ['We', localId],
  ];
  const lines = facts.flatMap(([label, fact]) => (fact === undefined ? [] : step(label, [printable(fact)])));
  const policies = [...(line.policy === undefined ? [] : [`${printable(line.policy)} decided`]), ...policyFacts(line)];
  return [...lines, ...step('Policies', policies)];
}

function certificateText(failure: ShownFailure): string[] {
  const { presentedNotBefore, presentedNotAfter, presentedIssuer, presentedSerial, clockSkewSeconds } = failure;
  const dates =
    presentedNotAfter === undefined
      ? []
      : [`valid from ${moment(presentedNotBefore ?? '')} until ${moment(presentedNotAfter)}`];
  const names =
    presentedSerial === undefined
      ? []
      : [`serial ${printable(presentedSerial)}, issued by ${printable(presentedIssuer ?? '(none)')}`];
  const skew = clockSkewSeconds === undefined ? [] : [clockFact(clockSkewSeconds)];
  return step('Certificate', [...dates, ...names, ...skew]);
}

function clockFact(skewSeconds: number): string {
  const side = skewSeconds < 0 ? 'behind' : 'ahead of';
  return `the clock of the control plane is ${Math.abs(skewSeconds)} s ${side} ours`;
}

function otherText({ reason, otherReason, otherHappened, otherRemedy }: ShownFailure): string[] {
  if (otherReason === undefined) return [];
  return step('Other side', [
    `${printable(otherHappened ?? '')} (${printable(otherReason)})`,
    ...(otherRemedy === undefined || reason === 'peer_refused' ? [] : [printable(otherRemedy)]),
  ]);
}
