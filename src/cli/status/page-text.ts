import type { ShownPortMode, StatusPage } from '../../admin-api.ts';
import { captureSettings } from '../../annotations.ts';
import { parseDate } from '../../clock.ts';
import { asGiven, counted, indented, liftRevocation, moment, roughly } from '../../phrases.ts';
import { printable } from '../../printable.ts';
import { controlPlaneLines } from './control-plane-text.ts';
import { failureLines } from './failures-text.ts';
import { line, titleWidth } from './line.ts';

/** The page for a person: whether it is ready first, then one line for each thing that it depends on, then what failed. */
export function statusText(page: StatusPage, columns: number): string[] {
  const nowMs = parseDate(page.now);
  return [
    readyLine(page),
    ...indented(2, closedGateLines(page, nowMs)),
    ...failingNowLines(page),
    '',
    line(
      'Sidecar',
      `${nameOf(page)}remora ${printable(page.version)}, up for ${roughly(nowMs - parseDate(page.startedAt))}`,
    ),
    ...identityLines(page, nowMs),
    ...controlPlaneLines(page, nowMs),
    line('Inbound mode', modeText(page)),
    ...policyLines(page),
    line(
      'Outbound',
      `minimumOutbound ${printable(page.minimumOutbound)}, outboundPolicy ${printable(page.outboundPolicy)}`,
    ),
    line('Interception', interceptionText(page)),
    ...exclusionLines(page),
    line('Carrying', carriedText(page)),
    ...changedLines(page, columns),
    ...drainLines(page),
    ...failureLines(page, nowMs, columns),
  ];
}

function readyLine(page: StatusPage): string {
  const { isReady, gates } = page;
  if (isReady) return failingNow(page).length === 0 ? 'Ready' : 'Ready, but connections FAIL';
  const closed = gates.filter(({ isOpen }) => !isOpen).length;
  return `NOT READY: ${counted(closed, 'gate')} of ${gates.length} ${closed === 1 ? 'is' : 'are'} closed`;
}

function closedGateLines({ gates }: StatusPage, nowMs: number): string[] {
  return gates
    .filter(({ isOpen }) => !isOpen)
    .flatMap(({ gate, why, since, remedy }) => {
      const when =
        since === null ? '' : ` since ${moment(since)}, for ${roughly(Math.max(0, nowMs - parseDate(since)))}`;
      return [
        `${gate}, closed${when}: ${printable(why ?? '')}`,
        ...(remedy === null ? [] : [`  What to do: ${printable(remedy)}`]),
      ];
    });
}

const directions = ['inbound', 'outbound'] as const;

/** The directions in which more of the new connections failed than were made, within the last minute. */
function failingNow({ newConnections }: StatusPage) {
  return directions.filter((direction) => newConnections[direction].failed > newConnections[direction].carried);
}

function failingNowLines(page: StatusPage): string[] {
  return failingNow(page).map((direction) => {
    const { carried, failed, reasons } = page.newConnections[direction];
    const words = reasons.map(({ reason, count }) => `${count} ${printable(reason)}`).join(', ');
    return `  ${direction}: ${failed} of ${failed + carried} new connections FAILED within the last minute: ${words}`;
  });
}

function nameOf({ pod: { name, namespace, workload } }: StatusPage): string {
  const shown = name ?? workload;
  if (shown === null) return '';
  return `${printable(namespace === null ? shown : `${namespace}/${shown}`)}, `;
}

function identityLines({ identity }: StatusPage, nowMs: number): string[] {
  if (identity === null) return [line('Identity', 'none yet')];
  const { spiffeId, isExpired, endedBecause, isRevoked, notAfter, nextRenewal, lastFailure } = identity;
  const leftMs = parseDate(notAfter) - nowMs;
  const lapsed = `LAPSED ${roughly(-leftMs)} ago, at ${moment(notAfter)}${endedBecause === null ? '' : `: ${printable(endedBecause)}`}`;
  const renewal = nextRenewal === null ? '' : `, next renewal at ${moment(nextRenewal)}`;
  return [
    line('Identity', printable(spiffeId)),
    line('', isExpired ? lapsed : `valid for ${roughly(leftMs)} more${renewal}`),
    ...(isRevoked ? [line('', `no renewal helps until that is lifted: ${liftRevocation}`)] : []),
    ...(lastFailure === null || isRevoked ? [] : renewalFailureLines(lastFailure, nowMs)),
  ];
}

function renewalFailureLines(
  { reason, happened, remedy, message, at }: NonNullable<NonNullable<StatusPage['identity']>['lastFailure']>,
  nowMs: number,
): string[] {
  const when = `renewal failed ${roughly(nowMs - parseDate(at))} ago (${printable(reason)})`;
  return [line('', `${when}: ${printable(happened)}`), line('', `${printable(remedy)}. ${printable(message)}`)];
}

function modeText({ modes, minimumInboundMode, controlPlane }: StatusPage): string {
  const [most, ...ports] = modes;
  if (most === undefined) return 'none in force, so everything new is refused';
  const nobody = controlPlane.address === null ? 'there is no control plane' : 'mesh default';
  const by = ({ setBy, problem }: ShownPortMode) =>
    setBy === 'floor'
      ? 'the floor of this pod, minimumInboundMode'
      : `${problem === undefined ? '' : 'INVALID, '}${printable(setBy ?? nobody)}`;
  const floor = most.setBy === 'floor' ? '' : `; floor of this pod ${minimumInboundMode}`;
  const own = ports.map((one) => `, ${one.port} ${one.mode} (${by(one)})`);
  return `${most.mode} (${by(most)}${floor})${own.join('')}`;
}

/** Nothing where there are none, as in most pods. */
function policyLines({ policies, firstInvalidPolicy: first }: StatusPage): string[] {
  if (policies === null) return [];
  const { enforced, audit, dry_run: onTrial, invalid } = policies;
  const shown = [
    ...(enforced > 0 ? [`${enforced} enforced`] : []),
    ...(audit > 0 ? [`${audit} of AUDIT`] : []),
    ...(onTrial > 0 ? [`${onTrial} on trial`] : []),
    ...(invalid > 0 ? [`${invalid} INVALID`] : []),
  ];
  const more = invalid > 1 ? `; ${invalid - 1} more: GET /policy` : '';
  return [
    ...(shown.length === 0 ? [] : [line('Policies', shown.join(', '))]),
    ...(first === undefined ? [] : [line('', `INVALID ${printable(first.name)}: ${printable(first.problem)}${more}`)]),
  ];
}

function interceptionText({ interception: { isOn, proofs, unknown, bypassed } }: StatusPage): string {
  if (!isOn) return 'none, the applications dial tunnels';
  const shown = proofs.map(
    ({ direction, family, isOk }) => `${direction} ${printable(family)} ${isOk ? 'ok' : 'LOST'}`,
  );
  const around = bypassed.inbound + bypassed.outbound;
  const bypasses = around === 0 ? [] : [`${counted(around, 'connection')} GO AROUND THE SIDECAR`];
  const unproved = unknown.map(({ direction, why }) => `${direction} not known (${printable(why)})`);
  return [...shown, ...unproved, ...bypasses].join(', ');
}

/** What passes by because it was asked for: no fault, and often the cause of one. */
function exclusionLines({ changedSettings, interception: { isOn } }: StatusPage): string[] {
  const scope = changedSettings.filter(({ name }) => Object.hasOwn(captureSettings, name));
  if (!isOn || scope.length === 0) return [];
  const settings = scope.map(shownSetting).join(', ');
  return [line('Not captured', `by ${settings}: what that leaves out goes around this sidecar, as it is`)];
}

/** The list as on the page of all settings, which has each in full. */
function changedLines({ changedSettings }: StatusPage, columns: number): string[] {
  if (changedSettings.length === 0) return [line('Not default', 'nothing')];
  return wrapped(changedSettings.map(shownSetting), columns - titleWidth).map((text, index) =>
    line(index === 0 ? 'Not default' : '', text),
  );
}

function shownSetting({ typed, from }: StatusPage['changedSettings'][number]): string {
  return printable(asGiven(typed, from));
}

/** As many of the parts on a line as fit. */
function wrapped(parts: readonly string[], width: number): string[] {
  const lines: string[] = [];
  for (const part of parts) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + part.length + 3 <= width) lines[lines.length - 1] = `${last}, ${part}`;
    else lines.push(part);
  }
  return lines.map((text, index) => (index < lines.length - 1 ? `${text},` : text));
}

function carriedText({ connections, tunnels, places: { inUse, most } }: StatusPage): string {
  const both = (one: StatusPage['connections']) => `${one.inbound} inbound and ${one.outbound} outbound`;
  const room = `${inUse} of at most ${most}${inUse < most ? '' : ', FULL: new ones are refused'}`;
  return `${both(connections)} connections (${room}), in ${both(tunnels)} tunnels`;
}

function drainLines({ drain: { stage, isStopping, open } }: StatusPage): string[] {
  if (stage === 'serving') return [];
  const takes = stage === 'leaving' ? 'new connections are taken for the drain delay' : 'nothing new comes in';
  const then = isStopping ? 'the process ends' : 'the process goes on';
  return [line('Draining', `${takes}; ${counted(open, 'connection')} open, then ${then}`)];
}
