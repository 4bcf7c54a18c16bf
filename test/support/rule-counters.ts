import type { TestPod } from './pods.ts';

/** How many packets each rule of the pod has matched, by chain and comment: `outbound: The sidecar itself`. */
export async function ruleCounters(pod: Pick<TestPod, 'sh'>): Promise<Record<string, number>> {
  const counters: Record<string, number> = {};
  let chain = '';
  for (const line of (await pod.sh('nft list table inet remora')).split('\n')) {
    chain = /^\tchain (\S+)/.exec(line)?.[1] ?? chain;
    const [, packets, comment] = /counter packets (\d+) .* comment "([^"]*)"/.exec(line) ?? [];
    if (comment !== undefined) counters[`${chain}: ${comment}`] = Number(packets);
  }
  return counters;
}
