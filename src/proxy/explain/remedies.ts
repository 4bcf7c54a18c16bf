import type { ShownFailure } from '../../admin-api.ts';
import type { Destination } from '../../control-api.ts';
import type { ShownInbound, ShownRefusal } from '../../explain-api.ts';
import { deniedReasons } from '../../outcomes.ts';
import type { Resolution } from '../../policy/admit.ts';
import type { placeOf } from '../outbound/resolve.ts';
import type { ProxyParts } from '../parts.ts';

/** The words of a reason may send their reader to `remora explain`: where he is there already, this is what they lead to. */
export function withRemedy<T extends ShownRefusal>(refusal: T, remedies: Readonly<Record<string, string>>): T {
  const remedy = remedies[refusal.reason];
  return remedy === undefined ? refusal : { ...refusal, remedy };
}

/** Of what the registry and this pod say to a destination. */
export const outboundRemedies = (
  place: ReturnType<typeof placeOf>,
  resolution: Resolution,
): Readonly<Record<string, string>> => ({
  unknown_destination: {
    mesh: 'Create a Service or ServiceEntry for it; it is kept back because it lies inside meshNetworks',
    registered:
      'Look at the ServiceEntries with its address: none of them that this namespace sees has this port, or there are too many',
    outside: 'Create a Service or ServiceEntry for it, or set outboundPolicy of this pod to ALLOW_ANY',
    no_policy: deniedReasons.policy_unavailable.remedy,
  }[place],
  no_endpoint: resolution.kind === 'known' ? remedyWithoutEndpoint(resolution.destination) : '',
});

function remedyWithoutEndpoint({ entry, endpoints, problem }: Destination): string {
  if (endpoints.length > 0)
    return 'Look below which endpoints it has and why none is used, and check the readiness of their pods';
  if (entry === undefined) return 'It has no endpoint: check the selector of its Service, and that its pods run';
  return `Correct the ServiceEntry ${entry}, or what it leads to: ${problem ?? 'it has no endpoint'}`;
}

/** Of our own identity, which has come to its end by itself, or was ended. */
export function ownRemedies({ current }: ProxyParts['identity']): Readonly<Record<string, string>> {
  const isEnded = current().endedBecause !== undefined;
  return {
    identity_expired: isEnded
      ? 'What was revoked `remora control-plane revoke --list` shows beside the control plane, and --lift takes it back; a root that is gone has to be in the trust bundle again'
      : '`remora certs` says what its renewals fail of, and `remora status` whether the control plane answers',
  };
}

/** What to do about a failure that happened, with what is known of it. */
export function withRemedyOf(failure: ShownFailure): ShownFailure {
  const { reason, otherRemedy, expectedId, presentedId } = failure;
  if (reason === 'peer_refused' && otherRemedy !== undefined)
    return { ...failure, remedy: `Over there: ${otherRemedy}` };
  if (reason === 'peer_identity' && expectedId !== undefined && presentedId !== undefined)
    return {
      ...failure,
      remedy: `${expectedId} is expected and ${presentedId} was presented: compare the service account that the registry has of that pod with the certificate that \`remora certs\` shows beside it; \`remora mesh\` beside the control plane has both`,
    };
  return failure;
}

const withIdentity = 'Let the mode of the port be PERMISSIVE or STRICT, so that sidecars come with their identity';

/** Of a sidecar that is told to come in plaintext, because the port is DISABLE: no rule that asks for an identity lets it in. */
export const remediesOfDisable: Readonly<Record<string, string>> = {
  default_deny: `${withIdentity}; else let a rule match the address of the peer`,
  plaintext_in_strict: `${withIdentity}: minimumInboundMode of this pod takes no plaintext`,
};

/** What to do about a caller that speaks plaintext to a port that is STRICT. */
export function remedyOfPlaintext(
  ip: string | undefined,
  target: string,
  caller: ShownInbound['caller'],
  mayBePermissive: boolean,
): string {
  const meanwhile = mayBePermissive ? ', or let the mode be PERMISSIVE while it moves' : '';
  const look = `run there \`remora status\` and \`remora explain --to ${target}\``;
  if (caller === null) return `If the caller has a sidecar, this went around it: ${look}; else inject one${meanwhile}`;
  switch (caller.answer) {
    case 'sidecar':
      return `${ip} is a pod with a sidecar, ${caller.spiffeId}: this went around it; ${look}`;
    case 'no_sidecar':
      return `${ip} is a pod without a sidecar: inject one${meanwhile}`;
    case 'unknown':
      return `The registry does not know ${ip}, so look what runs there; if it belongs to the mesh, inject a sidecar${meanwhile}`;
    case 'unavailable':
      return `Whether ${ip} has a sidecar is not known, ${caller.why}: if it has one, this went around it, and ${look}; else inject one${meanwhile}`;
    default:
      return caller.answer satisfies never;
  }
}
