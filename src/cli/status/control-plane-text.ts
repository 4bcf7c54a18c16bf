import type { StatusPage } from '../../admin-api.ts';
import { parseDate } from '../../clock.ts';
import { moment, roughly } from '../../phrases.ts';
import { printable } from '../../printable.ts';
import { line } from './line.ts';

/** Its stream, what comes of it while that is down, and the calls that fail beside it. */
export function controlPlaneLines({ controlPlane, identity }: StatusPage, nowMs: number): string[] {
  const { address, isUp, since, hasBeenUp, why } = controlPlane;
  if (address === null) return [line('Control plane', 'none')];
  const place = printable(address);
  const when = since === null ? '' : ` since ${moment(since)}`;
  if (isUp) return [line('Control plane', `stream up${when}, ${place}`), ...failingLines(controlPlane, nowMs)];
  const because = why === null ? '' : `: ${printable(why)}`;
  return [
    line('Control plane', `stream ${hasBeenUp ? 'DOWN' : 'NEVER UP'}${when}, ${place}${because}`),
    line(
      '',
      hasBeenUp
        ? 'meanwhile policy, destinations and revocations stay as it last told them'
        : 'it has told no policy yet',
    ),
    ...identityEndLines(identity, nowMs),
    ...failingLines(controlPlane, nowMs),
  ];
}

/** What comes of it in the end, where the control plane issues the certificates. */
function identityEndLines(identity: StatusPage['identity'], nowMs: number): string[] {
  if (identity === null || identity.nextRenewal === null) return [];
  if (identity.isExpired) return [line('', 'this identity is OVER, and without the control plane there is no other')];
  const { notAfter } = identity;
  return [
    line(
      '',
      `unless a renewal succeeds, this identity ends at ${moment(notAfter)}, in ${roughly(parseDate(notAfter) - nowMs)}`,
    ),
  ];
}

/** Each reason once, with the calls that fail of it. */
function failingLines({ failing }: StatusPage['controlPlane'], nowMs: number): string[] {
  return [...Map.groupBy(failing, ({ reason }) => reason).values()].flatMap((calls) => {
    const [latest] = calls.toSorted((one, other) => parseDate(other.last) - parseDate(one.last));
    const [first] = calls.map(({ since }) => since).sort((one, other) => parseDate(one) - parseDate(other));
    if (latest === undefined || first === undefined) return [];
    const names = calls.map(({ call }) => printable(call)).join(', ');
    const when = `since ${moment(first)}, last ${roughly(Math.max(0, nowMs - parseDate(latest.last)))} ago`;
    return [
      line('', `calls FAIL ${when} (${names}; ${printable(latest.reason)}): ${printable(latest.happened)}`),
      line('', `${printable(latest.remedy)}. ${printable(latest.message)}`),
    ];
  });
}
