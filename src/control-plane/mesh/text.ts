import { parseDate } from '../../clock.ts';
import type { ReportedFailure, SidecarState } from '../../control-api.ts';
import { closedReasons, deniedReasons, handshakeReasons } from '../../outcomes.ts';
import { counted, moment, roughly } from '../../phrases.ts';
import { printable } from '../../printable.ts';
import { tableOf } from '../text-table.ts';
import { joinedEdges } from './edges.ts';
import type { MeshSidecar, MeshStatus, OtherPod } from './status.ts';

/** A failure is news for this long; milliseconds. */
const recentMs = 600_000;

/** A line for each sidecar, and one about all of them. */
export function meshText(mesh: MeshStatus): string[] {
  const { sidecars, trustDomain, unnamedRoots } = mesh;
  const nowMs = parseDate(mesh.now);
  const others = othersText(mesh);
  if (sidecars.length === 0) return [`No sidecar of ${printable(trustDomain)} is alive`, ...others];
  const rows = sidecars.map((sidecar) => rowOf(sidecar, nowMs).map((cell) => printable(cell)));
  return [
    summaryOf(sidecars, nowMs),
    '',
    ...tableOf([['pod', 'ready', 'mode', 'certificate', 'open', 'report', 'version', 'last failure'], ...rows]),
    ...(unnamedRoots > 0 ? ['', 'And sidecars whose names had no place'] : []),
    ...others,
  ];
}

const namedPods = 10;

/** The pods of the registry that have no line. */
function othersText({ otherPods }: MeshStatus): string[] {
  const lineOf = (pods: readonly OtherPod[], what: string) => {
    if (pods.length === 0) return [];
    const names = pods.slice(0, namedPods).map(({ pod }) => printable(pod));
    const more = pods.length > namedPods ? ` and ${pods.length - namedPods} more` : '';
    return [`${counted(pods.length, 'pod')} of the registry ${what}: ${names.join(', ')}${more}`];
  };
  const [silent, plain] = [otherPods.filter((one) => one.hasSidecar), otherPods.filter((one) => !one.hasSidecar)];
  const lines = [
    ...lineOf(silent, 'with a sidecar that has no certificate and no stream here'),
    ...lineOf(plain, 'without a sidecar'),
  ];
  return lines.length === 0 ? [] : ['', ...lines];
}

/** Why a pod of the registry has no line, and what to do; one sentence each. */
export function otherPodText({ pod, hasSidecar }: OtherPod): string {
  return hasSidecar
    ? `${pod} has a sidecar by the registry, but no certificate and no stream here: read its log, and \`remora status\` in the pod`
    : `${pod} has no sidecar by the registry: it reports nothing and is reached in plaintext; inject a sidecar to have it in the mesh`;
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
  const count = (isOne: (state: SidecarState, sidecar: MeshSidecar) => boolean) =>
    sidecars.filter((one) => one.state !== null && !one.isStale && isOne(one.state, one)).length;
  const silent = sidecars.filter(({ state }) => state === null).length;
  const parts: readonly (readonly [number, string])[] = [
    [sidecars.filter(({ isStale }) => isStale).length, 'STALE'],
    [sidecars.filter(({ revokedAt }) => revokedAt !== null).length, 'REVOKED'],
    [
      sidecars.filter(({ registrySpiffeId }) => registrySpiffeId !== null).length,
      'with another identity in the registry',
    ],
    [count(({ notReady }) => notReady.length > 0), 'not ready'],
    [count(({ interception, bypassed }) => bypassed > 0 || interception.some(({ isOk }) => !isOk)), 'not capturing'],
    [
      count(({ renewalFailure }, { revokedAt }) => renewalFailure !== undefined && revokedAt === null),
      'failing to renew',
    ],
    [count(({ invalidPolicies = 0 }) => invalidPolicies > 0), 'with INVALID policies'],
    [count(({ failures }) => failures.some((one) => isRecent(one, nowMs))), 'with failures in the last 10 minutes'],
    [silent, 'without a report'],
  ];
  const trouble = parts.filter(([number]) => number > 0).map(([number, what]) => `${number} ${what}`);
  return [counted(sidecars.length, 'sidecar'), ...(trouble.length > 0 ? trouble : ['nothing to say of them'])].join(
    '; ',
  );
}

function rowOf(sidecar: MeshSidecar, nowMs: number): readonly string[] {
  const { pod, version, state, reportedAt } = sidecar;
  const certificate = certificateOf(sidecar, nowMs);
  const age = ageOf(sidecar, nowMs);
  if (state === null)
    return [pod, reportedAt === null ? 'no report' : 'unknown', '', certificate, '', age, version ?? '', ''];
  const { failures, open } = state;
  const [last] = failures;
  return [
    pod,
    readinessOf(sidecar, state),
    modesOf(state),
    certificate,
    `${open.inbound} in, ${open.outbound} out`,
    age,
    version ?? '',
    last === undefined ? '' : failureOf(last, nowMs),
  ];
}

/** What a stale report says was so, and what is so nobody knows. */
function readinessOf({ isStale, registrySpiffeId }: MeshSidecar, state: SidecarState): string {
  const { notReady, interception, bypassed } = state;
  const isCapturing = bypassed === 0 && interception.every(({ isOk }) => isOk);
  const said = notReady.length > 0 ? `no: ${notReady.join(', ')}` : `yes${isCapturing ? '' : ', NOT CAPTURING'}`;
  const registry = registrySpiffeId === null ? '' : `, registry says ${accountOf(registrySpiffeId)}`;
  return `${isStale ? `unknown, was ${said}` : said}${registry}`;
}

/** `sa/web`: the rest is that of the pod. */
function accountOf(spiffeId: string): string {
  return spiffeId.replace(/^.*\/(?=sa\/)/, '');
}

function ageOf({ reportedAt, isStale }: MeshSidecar, nowMs: number): string {
  if (reportedAt === null) return 'never';
  return isStale ? `STALE, ${ago(reportedAt, nowMs)}` : ago(reportedAt, nowMs);
}

function modesOf(state: SidecarState): string {
  return modesText(state, ({ port, mode }) => (port === '*' ? mode : `${port} ${mode}`));
}

/** With what sets each, where the report names it. */
function modesInFull(state: SidecarState): string {
  return modesText(state, ({ port, mode, setBy }) => {
    const by = setBy === undefined ? '' : ` (${setBy})`;
    return port === '*' ? `${mode}${by}` : `${port} ${mode}${by}`;
  });
}

function modesText(
  { modes, modesLeftOut = 0, invalidPolicies = 0 }: SidecarState,
  shown: (mode: SidecarState['modes'][number]) => string,
): string {
  const more = modesLeftOut === 0 ? [] : [`${counted(modesLeftOut, 'more port')}`];
  const invalid = invalidPolicies === 0 ? [] : [`${counted(invalidPolicies, 'policy', 'policies')} INVALID`];
  return [...modes.map(shown), ...more, ...invalid].join(', ') || 'none yet';
}

/** While an identity is revoked its renewals fail for that reason alone, and what it last had is of no use. */
function certificateOf({ state, revokedAt }: MeshSidecar, nowMs: number): string {
  if (revokedAt !== null) return `REVOKED ${ago(revokedAt, nowMs)}`;
  if (state === null) return '';
  const { notAfter, renewalFailure } = state;
  if (notAfter === undefined) return 'none yet';
  const leftMs = parseDate(notAfter) - nowMs;
  const left = leftMs > 0 ? `${roughly(leftMs)} left` : `LAPSED ${roughly(-leftMs)} ago`;
  return renewalFailure === undefined ? left : `${left}, renewal fails (${renewalFailure})`;
}

function failureOf({ direction, outcome, reason, count, lastAt }: ReportedFailure, nowMs: number): string {
  return `${direction} ${outcome} ${reason}, ${counted(count, 'time')}, ${ago(lastAt, nowMs)}`;
}

function sidecarLines(sidecar: MeshSidecar, nowMs: number): string[] {
  const { pod, spiffeId, version, state, reportedAt, streams, isStale } = sidecar;
  const age = reportedAt === null ? 'it has not reported yet' : `reported ${ago(reportedAt, nowMs)}`;
  const heard = isStale ? `STALE, ${age}` : age;
  const head = `${printable(pod)}, ${printable(spiffeId)}: ${heard}, ${counted(streams, 'stream')} to the control plane`;
  const known = knownHere(sidecar, nowMs);
  if (state === null) return [head, ...known];
  const { notAfter, open, bypassed, interception, failures, edges } = state;
  const until = notAfter === undefined || sidecar.revokedAt !== null ? '' : `, until ${moment(notAfter)}`;
  return [
    head,
    ...known,
    `  version      ${printable(version ?? 'unknown')}`,
    `  ready        ${printable(readinessOf(sidecar, state))}`,
    `  mode         ${printable(modesInFull(state))}`,
    `  certificate  ${certificateOf(sidecar, nowMs)}${until}`,
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

/** What the control plane knows and the sidecar may not say, each with what to do. */
function knownHere({ spiffeId, streams, isStale, revokedAt, registrySpiffeId }: MeshSidecar, nowMs: number): string[] {
  const id = printable(spiffeId);
  const withoutStream = streams === 0 ? ', and it has no stream to this control plane' : '';
  return [
    ...(isStale
      ? [
          `  STALE        what follows was so when it reported${withoutStream}`,
          '               Look at its log and at `remora status` in the pod: it may have ended, or not reach this control plane.',
        ]
      : []),
    ...(revokedAt === null
      ? []
      : [
          `  REVOKED      ${ago(revokedAt, nowMs)}, at ${moment(revokedAt)}: ${id} gets no certificate and is refused by everybody`,
          `               \`remora control-plane revoke --list\` shows it; \`remora control-plane revoke --lift --identity ${id}\` lifts it, with the --state-dir of the control plane.`,
        ]),
    ...(registrySpiffeId === null
      ? []
      : [
          `  registry     says ${printable(accountOf(registrySpiffeId))}: callers expect ${printable(registrySpiffeId)} and refuse it (peer_identity)`,
          '               Restart the pod if it is to have that service account; otherwise correct the Pod in the registry.',
        ]),
  ];
}

function captureOf(interception: SidecarState['interception'], bypassed: number): string {
  if (interception.length === 0) return 'nothing is known of it';
  const proofs = interception.map(({ direction, family, isOk }) => `${direction} ${family} ${isOk ? 'ok' : 'LOST'}`);
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
