import { isIPv4 } from 'node:net';
import type { CaptureVerdict } from '../../capture-scope.ts';
import type { ShownCapture } from '../../explain-api.ts';
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
