import type { Address } from '../addresses.ts';
import type { PolicyState } from '../control-api.ts';
import { DeniedError } from '../errors.ts';
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

/**
 * Whether a peer may reach a port of this pod. Throws `DeniedError`: without a policy everything is refused, so that a
 * sidecar never has an open window before its first policy arrives.
 */
export function authorize(
  request: InboundRequest,
  policy: PolicyState | undefined,
  floor: InboundFloor,
): InboundPermit {
  if (policy === undefined) throw new DeniedError('policy_unavailable', 'No policy has arrived yet');
  const mode = effectiveMode(policy.mode, floor.minimumMode);
  if (request.principal === undefined && mode === 'STRICT') {
    throw new DeniedError('default_deny', `Port ${request.destination.port} is STRICT and the peer has no identity`);
  }
  if (floor.allowedPeers !== undefined && !floor.allowedPeers.has(request.principal ?? '')) {
    throw new DeniedError(
      'default_deny',
      `${request.principal ?? 'A peer without identity'} is not among the allowed peers`,
    );
  }
  return permitInbound(request.destination);
}
