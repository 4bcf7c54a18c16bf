import type { Words } from '../../outcomes.ts';
import { deniedReasons, handshakeReasons } from '../../outcomes.ts';

const reasons: ReadonlyMap<string, Words> = new Map(Object.entries({ ...deniedReasons, ...handshakeReasons }));

/** What a refusal means and what to do about it; both empty for a reason that is in no closed list. */
export function wordsOf(reason: string): Words {
  return reasons.get(reason) ?? { happened: '', remedy: '' };
}

/** `1 request`, `2 requests`. */
export function counted(count: number, noun: string): string {
  return `${count.toLocaleString('en-US')} ${noun}${count === 1 ? '' : 's'}`;
}

/** `ECONNRESET 12×, alpn 3×`; empty when there is nothing. */
export function tally(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([name, count]) => `${name} ${count}×`)
    .join(', ');
}
