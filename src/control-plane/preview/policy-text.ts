import { parseDate } from '../../clock.ts';
import { agoOf, counted } from '../../phrases.ts';
import { printable } from '../../printable.ts';
import type { ChangedCaller, PolicyPreview } from './api.ts';
import { notKnownLines } from './strict-text.ts';

/** Whether a change of policy would refuse somebody who is permitted now, or it is not known whether. */
export function isBreaking({ refused, further, notKnown }: PolicyPreview): boolean {
  return refused.length > 0 || further.length > 0 || notKnown.pods.length + notKnown.more > 0;
}

/** The answer for a person: who would be refused, where and by what; who would be let in; what is not known. */
export function policyPreviewText(preview: PolicyPreview): string[] {
  const { refused, permitted, further, notKnown, pods, callers, added, replaced, notInForce } = preview;
  const nowMs = parseDate(preview.now);
  const verb = (names: readonly string[], what: string) =>
    names.length === 0 ? [] : [`${what}: ${names.map((name) => printable(name)).join(', ')}`];
  return [
    ...verb(added, 'New'),
    ...verb(replaced, 'In the place of the one that is applied'),
    ...notInForce.map(({ name, why }) => `${printable(name)} would not be in force: ${printable(why)}`),
    '',
    ...(refused.length === 0 ? [] : ['Would be refused:', ...changedLines(refused, nowMs), '']),
    ...(permitted.length === 0
      ? []
      : ['Would be permitted, and is refused now:', ...changedLines(permitted, nowMs), '']),
    `${counted(callers, 'caller')} of ${counted(pods, 'pod')} whose policy would be another one: ${counted(refused.length, 'caller')} would be refused, ${permitted.length} newly permitted`,
    ...further.map(
      ({ namespace, workload, callers: more, lastAt }) =>
        `Not known: at most ${counted(more, 'more caller')} of ${printable(`${namespace}/${workload}`)} that were not remembered, last ${agoOf(nowMs - parseDate(lastAt))}`,
    ),
    ...notKnownLines(notKnown),
  ];
}

/** Callers that differ by nothing but their address are told once. */
function changedLines(all: readonly ChangedCaller[], nowMs: number): string[] {
  const alike = Map.groupBy(all, (one) =>
    JSON.stringify([callerOf(one), one.namespace, one.workload, one.port, one.policy, one.why]),
  );
  return [...alike.values()].flatMap((some) => {
    const addresses = new Set(some.map(({ address }) => address)).size;
    return some.slice(0, 1).flatMap((one) => linesOf(summed(one, some), addresses, nowMs));
  });
}

function summed(one: ChangedCaller, all: readonly ChangedCaller[]): ChangedCaller {
  return {
    ...one,
    connections: all.reduce((sum, { connections }) => sum + connections, 0),
    refusals: all.reduce((sum, { refusals }) => sum + refusals, 0),
  };
}

/** The first of several is the latest. */
function linesOf(one: ChangedCaller, addresses: number, nowMs: number): string[] {
  const { namespace, workload, port, connections, refusals, lastAt, policy, why } = one;
  const times = [
    ...(connections > 0 || refusals === 0 ? [counted(connections, 'connection')] : []),
    ...(refusals > 0 ? [counted(refusals, 'refusal')] : []),
  ];
  const by = policy === null ? '' : `, by ${policy}`;
  const last = `last ${agoOf(nowMs - parseDate(lastAt))}`;
  return [
    `  ${printable(`${callerOf(one)}${addresses > 1 ? ` (${addresses} addresses)` : ''} at port ${port} of ${namespace}/${workload}${by}`)}: ${times.join(' and ')}, ${last}`,
    `    ${printable(why)}`,
  ];
}

/** Who has proved an identity is known by that. */
function callerOf({ principal, callerWorkload, callerNamespace, address, kind }: ChangedCaller): string {
  if (principal !== undefined) return principal;
  if (kind === 'kubelet') return `the kubelet, or something else on the node (${address})`;
  return callerWorkload === undefined ? address : `${callerNamespace ?? ''}/${callerWorkload}`;
}
