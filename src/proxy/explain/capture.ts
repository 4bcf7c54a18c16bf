import { isIPv4 } from 'node:net';
import type { CaptureVerdict } from '../../capture-scope.ts';
import type { ShownCapture, ShownVerdict } from '../../explain-api.ts';
import type { Direction } from '../../outcomes.ts';

/** What was proved of the redirect rules, for each direction and family of which something is known. */
export type CaptureProofs = () => readonly {
  readonly direction: Direction;
  readonly family: 'ipv4' | 'ipv6';
  readonly isOk: boolean;
}[];

/** What the rules do, and whether they are there to do it. Without an address both families count. */
export function captureFacts(
  { isCaptured, rule }: CaptureVerdict,
  direction: Direction,
  ip: string | undefined,
  proofs: CaptureProofs,
): ShownCapture {
  const family = ip === undefined ? undefined : isIPv4(ip) ? 'ipv4' : 'ipv6';
  const ofThese = proofs().filter(
    (proof) => proof.direction === direction && (family === undefined || proof.family === family),
  );
  return { isCaptured, rule, isProved: ofThese.length === 0 ? null : ofThese.every(({ isOk }) => isOk) };
}

/** The rules should bring it here, and were found wanting. */
export const isLost = ({ isCaptured, isProved }: ShownCapture): boolean => isCaptured && isProved === false;

/** `sentence` says what happens instead. */
export const lostVerdict = (sentence: string): ShownVerdict => ({
  kind: 'goes_around',
  sentence: `${sentence}: the redirect rules were found not to hold when that was looked at last`,
  remedy:
    'Delete the pod, so that its rules are made anew, and find out who changed the table inet remora; `remora status` shows what was found',
});
