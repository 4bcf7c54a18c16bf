import type { RevocationState } from '../../control-api.ts';
import { maxReplyBytes } from '../../control-api.ts';

/** Serials as they stand in a message. */
export type RevokedSerials = RevocationState['certificates'][number];

/** Bytes of `data` in a line of a stream: what is left for topic, epoch and version is more than they need. */
export const maxStateBytes = maxReplyBytes - 1024;

/** Bytes that a state takes in a message. */
export function bytesOf(state: RevocationState): number {
  return Buffer.byteLength(JSON.stringify(state));
}

/**
 * The operator's list, which always fits, with as much of the CRLs as fits beside it. What does not is not left out in
 * silence: who is revoked is then unknown to sidecars, and they trust nobody new.
 */
export function unionOf(
  list: RevocationState,
  crls: readonly RevokedSerials[],
  unknown: string | undefined,
): RevocationState {
  const certificates = [...list.certificates, ...crls.filter(({ serials }) => serials.length > 0)];
  const whole: RevocationState = {
    certificates,
    identities: list.identities,
    ...(unknown !== undefined && { unknown }),
  };
  if (bytesOf(whole) <= maxStateBytes) return whole;
  const total = certificates.reduce((sum, { serials }) => sum + serials.length, 0);
  return cutTo(maxStateBytes, list, crls, `more certificates are revoked (${total}) than sidecars can be told of`);
}

function cutTo(
  bytes: number,
  list: RevocationState,
  crls: readonly RevokedSerials[],
  unknown: string,
): RevocationState {
  const certificates = [...list.certificates];
  const { identities } = list;
  let room = bytes - bytesOf({ certificates, identities, unknown });
  for (const { serials, ...whose } of crls) {
    room -= bytesOf({ certificates: [{ ...whose, serials: [] }], identities: [] });
    let count = 0;
    for (; count < serials.length && room > (serials[count]?.length ?? 0) + 3; count++)
      room -= (serials[count]?.length ?? 0) + 3;
    if (count > 0) certificates.push({ ...whose, serials: serials.slice(0, count) });
  }
  return { certificates, identities, unknown };
}
