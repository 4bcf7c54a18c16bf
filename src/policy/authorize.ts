import type { Address } from '../addresses.ts';
import type { PolicyState } from '../control-api.ts';
import { DeniedError } from '../errors.ts';
import type { DeniedReason } from '../outcomes.ts';
import type { Mode } from './mode.ts';
import { effectiveMode } from './mode.ts';
import type { InboundPermit } from './permit.ts';
import { permitInbound } from './permit.ts';

/** What authorization may look at; the identity comes from the certificate and from nowhere else. */
export interface InboundRequest {
  readonly destination: Address;
  /** Undefined for a plaintext peer, which has no identity. */
  readonly principal: string | undefined;
}

/** What the pod itself demands; no control plane can lower it. */
export interface InboundFloor {
  readonly minimumMode: Mode;
  /** Exactly these peers, when it is given; for a sidecar without a control plane. */
  readonly allowedPeers: ReadonlySet<string> | undefined;
}

/** What lets a peer in: `allowed_peers` names it, or nothing narrows who may connect beyond the `mode`. */
export type AuthorizedBy = 'allowed_peers' | 'mode';

/** Whether a peer may reach a port, and what decides it. */
export type Authorization =
  | { readonly kind: 'permitted'; readonly by: AuthorizedBy }
  | { readonly kind: 'refused'; readonly reason: DeniedReason; readonly why: string };

/**
 * Whether a peer may reach a port of this pod. Throws `DeniedError`: without a policy everything is refused, so that a
 * sidecar never has an open window before its first policy arrives.
 */
export function authorize(
  request: InboundRequest,
  policy: PolicyState | undefined,
  floor: InboundFloor,
): InboundPermit {
  const decision = decideInbound(request, policy, floor);
  if (decision.kind === 'refused') throw new DeniedError(decision.reason, decision.why);
  return permitInbound(request.destination);
}

/** What `authorize` goes by, for whoever asks why. */
export function decideInbound(
  { destination, principal }: InboundRequest,
  policy: PolicyState | undefined,
  { minimumMode, allowedPeers }: InboundFloor,
): Authorization {
  if (policy === undefined) return refused('policy_unavailable', 'No policy has arrived yet');
  if (principal === undefined && effectiveMode(policy.mode, minimumMode) === 'STRICT')
    return refused('default_deny', `Port ${destination.port} is STRICT and the peer has no identity`);
  if (allowedPeers === undefined) return { kind: 'permitted', by: 'mode' };
  if (allowedPeers.has(principal ?? '')) return { kind: 'permitted', by: 'allowed_peers' };
  return refused('default_deny', `${principal ?? 'A peer without identity'} is not among the allowed peers`);
}

function refused(reason: DeniedReason, why: string): Authorization {
  return { kind: 'refused', reason, why };
}
