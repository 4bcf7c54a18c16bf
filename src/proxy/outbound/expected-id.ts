import type { Address } from '../../addresses.ts';
import { formatAddress } from '../../addresses.ts';
import { HandshakeError } from '../../errors.ts';
import type { SpiffeId } from '../../identity/spiffe-id.ts';
import { parseSpiffeId } from '../../identity/spiffe-id.ts';

/** Who must answer at an endpoint. Throws `HandshakeError` where the registry names nobody that could prove it. */
export function expectedIdOf({
  address,
  spiffeId,
}: {
  readonly address: Address;
  readonly spiffeId: string;
}): SpiffeId {
  const expected = parseSpiffeId(spiffeId);
  if (expected.kind === 'id') return expected.id;
  throw new HandshakeError(
    'peer_identity',
    `The registry expects '${spiffeId}' at ${formatAddress(address)}, which is no SPIFFE ID`,
  );
}
