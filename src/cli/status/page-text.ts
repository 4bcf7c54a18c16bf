import type { StatusPage } from '../../admin-api.ts';
import { parseDate } from '../../clock.ts';
import { counted, indented, moment, roughly } from '../../phrases.ts';
import { printable } from '../../printable.ts';
import type { Column } from '../admin/columns.ts';
import { tableLines } from '../admin/columns.ts';

/** The page for a person: whether it is ready first, then one line for each thing that it depends on, then what failed. */
export function statusText(page: StatusPage, columns: number): string[] {
  const nowMs = parseDate(page.now);
  return [
    readyLine(page),
    ...indented(2, closedGateLines(page)),
    '',
    line(
      'Sidecar',
      `${nameOf(page)}remora ${printable(page.version)}, up for ${roughly(nowMs - parseDate(page.startedAt))}`,
    ),
    ...identityLines(page, nowMs),
    line('Control plane', controlPlaneText(page)),
    line('Inbound mode', page.mode ?? 'none in force, so everything is refused'),
    line('Interception', interceptionText(page)),
    line('Carrying', carriedText(page)),
    ...drainLines(page),
    ...failureLines(page, nowMs, columns),
  ];
}

const line = (title: string, text: string) => `${(title && `${title}:`).padEnd(15)}${text}`;

function readyLine({ isReady, gates }: StatusPage): string {
  if (isReady) return 'Ready';
  const closed = gates.filter(({ isOpen }) => !isOpen).length;
  return `NOT READY: ${counted(closed, 'gate')} of ${gates.length} ${closed === 1 ? 'is' : 'are'} closed`;
}

function closedGateLines({ gates }: StatusPage): string[] {
  return gates.filter(({ isOpen }) => !isOpen).map(({ gate, why }) => `${gate}: ${printable(why ?? '')}`);
}

function nameOf({ pod: { name, namespace, workload } }: StatusPage): string {
  const shown = name ?? workload;
  if (shown === null) return '';
  return `${printable(namespace === null ? shown : `${namespace}/${shown}`)}, `;
}

function identityLines({ identity }: StatusPage, nowMs: number): string[] {
  if (identity === null) return [line('Identity', 'none yet')];
  const { spiffeId, isExpired, endedBecause, notAfter, nextRenewal, lastFailure } = identity;
  const leftMs = parseDate(notAfter) - nowMs;
  const lapsed = `LAPSED: ${endedBecause === null ? `${roughly(-leftMs)} ago` : printable(endedBecause)}`;
  const renewal = nextRenewal === null ? '' : `, next renewal at ${moment(nextRenewal)}`;
  return [
    line('Identity', printable(spiffeId)),
    line('', isExpired ? lapsed : `valid for ${roughly(leftMs)} more${renewal}`),
    ...(lastFailure === null ? [] : renewalFailureLines(lastFailure, nowMs)),
  ];
}

function renewalFailureLines(
  { reason, happened, remedy, message, at }: NonNullable<NonNullable<StatusPage['identity']>['lastFailure']>,
  nowMs: number,
): string[] {
  const when = `renewal failed ${roughly(nowMs - parseDate(at))} ago (${printable(reason)})`;
  return [line('', `${when}: ${printable(happened)}`), line('', `${printable(remedy)}. ${printable(message)}`)];
}

function controlPlaneText({ controlPlane: { address, isUp } }: StatusPage): string {
  if (address === null) return 'none';
  return `${isUp ? 'up' : 'NOT REACHABLE, what it last said stays in force'}, ${printable(address)}`;
}

function interceptionText({ interception: { isOn, proofs, bypassed } }: StatusPage): string {
  if (!isOn) return 'none, the applications dial tunnels';
  const shown = proofs.map(
    ({ direction, family, isOk }) => `${direction} ${printable(family)} ${isOk ? 'ok' : 'LOST'}`,
  );
  const around = bypassed.inbound + bypassed.outbound;
  const bypasses = around === 0 ? [] : [`${counted(around, 'connection')} GO AROUND THE SIDECAR`];
  return [...shown, ...bypasses].join(', ') || 'not proved yet';
}

function carriedText({ connections, tunnels }: StatusPage): string {
  const both = (one: StatusPage['connections']) => `${one.inbound} inbound and ${one.outbound} outbound`;
  return `${both(connections)} connections, in ${both(tunnels)} tunnels`;
}

function drainLines({ drain: { stage, isStopping, open } }: StatusPage): string[] {
  if (stage === 'serving') return [];
  const takes = stage === 'leaving' ? 'new connections are taken for the drain delay' : 'nothing new comes in';
  const then = isStopping ? 'the process ends' : 'the process goes on';
  return [line('Draining', `${takes}; ${counted(open, 'connection')} open, then ${then}`)];
}

type Failure = StatusPage['failures'][number];

function failureLines({ failures }: StatusPage, nowMs: number, columns: number): string[] {
  if (failures.length === 0) return [line('Failures', 'none within the last ten minutes')];
  const table: readonly Column<Failure>[] = [
    { title: 'COUNT', text: ({ count }) => String(count), isNumber: true },
    { title: 'LAST', text: ({ last }) => `${roughly(Math.max(0, nowMs - parseDate(last)))} ago` },
    { title: 'DIR', text: ({ direction }) => (direction === 'inbound' ? 'in' : 'out') },
    { title: 'REASON', text: ({ reason }) => printable(reason) },
    { title: 'LAST ID', text: ({ lastId }) => printable(lastId), least: 16 },
    { title: 'WHAT HAPPENED', text: ({ happened }) => printable(happened), least: 30, isSentence: true },
  ];
  return [
    '',
    'Failures within the last ten minutes; at most 50 of a kind are counted',
    ...tableLines(failures, table, columns),
  ];
}
