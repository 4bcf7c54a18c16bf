import { parseDate } from '../../clock.ts';
import type { ReportedFailure, SidecarState } from '../../control-api.ts';
import { closedReasons, deniedReasons, handshakeReasons } from '../../outcomes.ts';
import { counted, moment, roughly } from '../../phrases.ts';
import { printable } from '../../printable.ts';
import { tableOf } from '../text-table.ts';
import { joinedEdges } from './edges.ts';
import type { MeshSidecar, MeshStatus } from './status.ts';

/** A failure is news for this long; milliseconds. */
const recentMs = 600_000;

/** A line for each sidecar, and one about all of them. */
export function meshText(mesh: MeshStatus): string[] {
  const { sidecars, trustDomain, unnamedRoots } = mesh;
  const nowMs = parseDate(mesh.now);
  if (sidecars.length === 0) return [`No sidecar of ${printable(trustDomain)} is alive`];
  const rows = sidecars.map((sidecar) => rowOf(sidecar, nowMs).map((cell) => printable(cell)));
  return [
    summaryOf(sidecars, nowMs),
    '',
    ...tableOf([['pod', 'ready', 'mode', 'certificate', 'open', 'version', 'last failure'], ...rows]),
    ...(unnamedRoots > 0 ? ['', 'And sidecars whose names had no place'] : []),
  ];
}

/** Everything that one sidecar reports, or each of several. */
export function podText(mesh: MeshStatus): string[] {
  const nowMs = parseDate(mesh.now);
  return mesh.sidecars.flatMap((sidecar, index) => [...(index === 0 ? [] : ['']), ...sidecarLines(sidecar, nowMs)]);
}

/** Who was connected with whom, as either end tells it. */
export function edgesText(mesh: MeshStatus): string[] {
  const nowMs = parseDate(mesh.now);
  const edges = joinedEdges(mesh.sidecars);
  if (edges.length === 0) return ['No connection was reported'];
  const rows = edges.map(({ from, to, service, security, connections, lastAt, seenBy }) =>
    [from, to, service ?? '', security, String(connections), ago(lastAt, nowMs), seenBy].map((cell) => printable(cell)),
  );
  return tableOf([['from', 'to', 'service', 'security', 'connections', 'last', 'seen by'], ...rows]);
}

function summaryOf(sidecars: readonly MeshSidecar[], nowMs: number): string {
  const count = (isOne: (state: SidecarState) => boolean) =>
    sidecars.filter(({ state }) => state !== null && isOne(state)).length;
  const silent = sidecars.filter(({ state }) => state === null).length;
  const parts: readonly (readonly [number, string])[] = [
    [count(({ notReady }) => notReady.length > 0), 'not ready'],
    [count(({ interception, bypassed }) => bypassed > 0 || interception.some(({ isOk }) => !isOk)), 'not capturing'],
    [count(({ renewalFailure }) => renewalFailure !== undefined), 'failing to renew'],
    [count(({ failures }) => failures.some((one) => isRecent(one, nowMs))), 'with failures in the last 10 minutes'],
    [silent, 'without a report'],
  ];
  const trouble = parts.filter(([number]) => number > 0).map(([number, what]) => `${number} ${what}`);
  return [counted(sidecars.length, 'sidecar'), ...(trouble.length > 0 ? trouble : ['nothing to say of them'])].join(
    '; ',
  );
}

function rowOf({ pod, version, state, reportedAt }: MeshSidecar, nowMs: number): readonly string[] {
  if (state === null) return [pod, reportedAt === null ? 'no report' : 'unknown', '', '', '', version ?? '', ''];
  const { failures, open } = state;
  const [last] = failures;
  return [
    pod,
    readinessOf(state),
    modesOf(state),
    certificateOf(state, nowMs),
    `${open.inbound} in, ${open.outbound} out`,
    version ?? '',
    last === undefined ? '' : failureOf(last, nowMs),
  ];
}

function readinessOf({ notReady, interception, bypassed }: SidecarState): string {
  if (notReady.length > 0) return `no: ${notReady.join(', ')}`;
  return bypassed > 0 || interception.some(({ isOk }) => !isOk) ? 'yes, NOT CAPTURING' : 'yes';
}

function modesOf({ modes }: SidecarState): string {
  return modes.map(({ port, mode }) => (port === '*' ? mode : `${port} ${mode}`)).join(', ') || 'none yet';
}

function certificateOf({ notAfter, renewalFailure }: SidecarState, nowMs: number): string {
  if (notAfter === undefined) return 'none yet';
  const leftMs = parseDate(notAfter) - nowMs;
  const left = leftMs > 0 ? `${roughly(leftMs)} left` : `LAPSED ${roughly(-leftMs)} ago`;
  return renewalFailure === undefined ? left : `${left}, renewal fails (${renewalFailure})`;
}

function failureOf({ direction, outcome, reason, count, lastAt }: ReportedFailure, nowMs: number): string {
  return `${direction} ${outcome} ${reason}, ${counted(count, 'time')}, ${ago(lastAt, nowMs)}`;
}

function sidecarLines(sidecar: MeshSidecar, nowMs: number): string[] {
  const { pod, spiffeId, version, state, reportedAt, streams } = sidecar;
  const heard = reportedAt === null ? 'it has not reported yet' : `reported ${ago(reportedAt, nowMs)}`;
  const head = `${printable(pod)}, ${printable(spiffeId)}: ${heard}, ${counted(streams, 'stream')} to the control plane`;
  if (state === null) return [head];
  const { notAfter, open, bypassed, interception, failures, edges } = state;
  return [
    head,
    `  version      ${printable(version ?? 'unknown')}`,
    `  ready        ${printable(readinessOf(state))}`,
    `  mode         ${printable(modesOf(state))}`,
    `  certificate  ${certificateOf(state, nowMs)}${notAfter === undefined ? '' : `, until ${moment(notAfter)}`}`,
    `  capture      ${printable(captureOf(interception, bypassed))}`,
    `  open         ${counted(open.inbound, 'inbound connection')}, ${counted(open.outbound, 'outbound connection')}`,
    ...(failures.length === 0 ? ['  failures     none since it started'] : ['  failures since it started']),
    ...failures.flatMap((failure) => [`    ${printable(failureOf(failure, nowMs))}`, ...wordsOf(failure)]),
    ...(edges.length === 0 ? [] : ['  connected with']),
    ...edges.map(({ direction, peer, service, security, connections, lastAt }) => {
      const who = direction === 'inbound' ? `from ${peer ?? 'somebody'}` : `to ${peer ?? 'somebody'}`;
      const by = service === undefined ? '' : ` as ${service}`;
      return `    ${printable(`${who}${by}: ${counted(connections, 'connection')}, ${security}, ${ago(lastAt, nowMs)}`)}`;
    }),
  ];
}

function captureOf(interception: SidecarState['interception'], bypassed: number): string {
  if (interception.length === 0) return 'nothing is known of it';
  const proofs = interception.map(({ direction, family, isOk }) => `${direction} ${family} ${isOk ? 'ok' : 'BROKEN'}`);
  return [...proofs, ...(bypassed > 0 ? [`${counted(bypassed, 'connection')} GO AROUND the sidecar`] : [])].join(', ');
}

/** What a newer sidecar names and this program does not know has no words. */
function wordsOf({ outcome, reason }: ReportedFailure): string[] {
  const lists: Readonly<
    Record<string, Readonly<Record<string, { readonly happened: string; readonly remedy: string }>>>
  > = {
    handshake: handshakeReasons,
    denied: deniedReasons,
    closed: closedReasons,
  };
  const list = Object.hasOwn(lists, outcome) ? lists[outcome] : undefined;
  const words = list !== undefined && Object.hasOwn(list, reason) ? list[reason] : undefined;
  return words === undefined ? [] : [`      ${words.happened}. ${words.remedy}`];
}

function isRecent({ lastAt }: ReportedFailure, nowMs: number): boolean {
  return nowMs - parseDate(lastAt) < recentMs;
}

/** The clock of a sidecar may be ahead of this one. */
function ago(at: string, nowMs: number): string {
  const agoMs = nowMs - parseDate(at);
  return agoMs < 1000 ? 'now' : `${roughly(agoMs)} ago`;
}
