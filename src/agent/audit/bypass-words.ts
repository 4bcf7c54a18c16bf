import { formatAddress } from '../../addresses.ts';
import { gateRemedies } from '../../outcomes.ts';
import { sidecarUid } from '../../ports.ts';
import type { Suspect } from './look.ts';

const happened = {
  outbound: 'A connection of the application goes around the sidecar: it is neither encrypted nor authorized',
  inbound: 'A connection to the application goes around the sidecar: it is neither encrypted nor authorized',
} as const;

/** For whoever may change the pod; within a sentence. */
export const rulesRemedy = gateRemedies.interception.replace(/^Find/, 'find');

const remedy = `It goes on like this until it ends: ${rulesRemedy}`;
const remedyOfOwnUid = `An application with uid and gid ${sidecarUid} is taken for the sidecar by the rules: give it another user. Otherwise ${rulesRemedy}`;

/** The line about a connection that goes around the sidecar; whose program it is, is told by the uid alone. */
export function bypassLine({ direction, socket, rule }: Suspect): [Record<string, unknown>, string] {
  const { local, remote, uid } = socket;
  const addresses = { localAddress: formatAddress(local), remoteAddress: formatAddress(remote) };
  return [
    { direction, ...addresses, uid, rule, remedy: uid === sidecarUid ? remedyOfOwnUid : remedy },
    happened[direction],
  ];
}
