import type { Address } from '../addresses.ts';
import type { PolicyState } from '../control-api.ts';
import { DeniedError } from '../errors.ts';
import type { DeniedReason } from '../outcomes.ts';
import type { PolicyDecision } from '../refusal-facts.ts';
import type { Verdict } from './judge.ts';
import { judge } from './judge.ts';
import type { Mode } from './mode.ts';
import { modeInForce } from './mode.ts';
import type { InboundPermit } from './permit.ts';
import { permitInbound } from './permit.ts';

/** What authorization may look at; the identity comes from the certificate and from nowhere else. */
export interface InboundRequest {
  readonly destination: Address;
  /** SPIFFE ID; undefined for a plaintext peer, which has no identity. */
  readonly principal: string | undefined;
  /** Canonical IP address of the peer; undefined when it is not known, and so may be any. */
  readonly source?: string | undefined;
}

/** What the pod itself demands; no control plane can lower it. */
export interface InboundFloor {
  readonly minimumMode: Mode;
  /** Exactly these peers, when it is given; for a sidecar without a control plane. */
  readonly allowedPeers: ReadonlySet<string> | undefined;
}

/** What lets a peer in: `allowed_peers` names it, an ALLOW `policy` does, or nothing narrows who may connect beyond the `mode`. */
export type AuthorizedBy = 'allowed_peers' | 'policy' | 'mode';

/** Whether a peer may reach a port, and what decides it. */
export type Authorization = (
  | { readonly kind: 'permitted'; readonly by: AuthorizedBy }
  | { readonly kind: 'refused'; readonly reason: DeniedReason; readonly why: string }
) & {
  /** `namespace/name` of the AuthorizationPolicy that decides; absent when none does. */
  readonly policy?: string | undefined;
  /** AUDIT policies that match; absent when none does. */
  readonly audited?: readonly string[] | undefined;
  /** What policies on trial would have decided; absent when there are none. */
  readonly dryRun?: Verdict | undefined;
};

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
  if (decision.kind === 'refused')
    throw new DeniedError(decision.reason, decision.why, { facts: { decision: policyDecisionOf(decision) } });
  return permitInbound(request, decision);
}

/** What AuthorizationPolicies have to do with a decision; undefined when it is nothing. */
export function policyDecisionOf({ policy, audited, dryRun }: Authorization): PolicyDecision | undefined {
  if (policy === undefined && audited === undefined && dryRun === undefined) return undefined;
  return { policy, audited, dryRun };
}

/** What `authorize` goes by, for whoever asks why. */
export function decideInbound(
  request: InboundRequest,
  policy: PolicyState | undefined,
  { minimumMode, allowedPeers }: InboundFloor,
): Authorization {
  const { destination, principal } = request;
  if (policy === undefined) return refused('policy_unavailable', 'No policy has arrived yet');
  if (principal === undefined && modeInForce(policy, destination.port, minimumMode).mode === 'STRICT')
    return refused('default_deny', `Port ${destination.port} is STRICT and the peer has no identity`);
  if (allowedPeers !== undefined && !allowedPeers.has(principal ?? ''))
    return refused('default_deny', `${principal ?? 'A peer without identity'} is not among the allowed peers`);
  if (policy.authorization === undefined || policy.authorization.length === 0)
    return { kind: 'permitted', by: allowedPeers === undefined ? 'mode' : 'allowed_peers' };
  const { verdict, audited, dryRun } = judge(policy.authorization, request);
  const besides = { ...(audited.length > 0 && { audited }), ...(dryRun !== undefined && { dryRun }) };
  if (verdict.kind === 'denied') {
    const { reason, by } = verdict;
    return { ...refused(reason, whyDenied(verdict, principal)), policy: by, ...besides };
  }
  if (verdict.by === undefined)
    return { kind: 'permitted', by: allowedPeers === undefined ? 'mode' : 'allowed_peers', ...besides };
  return { kind: 'permitted', by: 'policy', policy: verdict.by, ...besides };
}

function whyDenied({ reason, by }: Extract<Verdict, { kind: 'denied' }>, principal: string | undefined): string {
  const peer = principal ?? 'a peer without identity';
  switch (reason) {
    case 'policy_deny':
      return `The AuthorizationPolicy ${by} denies ${peer}`;
    case 'policy_error':
      return `The AuthorizationPolicy ${by} cannot be enforced as it is written, so it denies everybody`;
    case 'default_deny':
      return `AuthorizationPolicies allow some, and none of them ${peer}`;
    default:
      return reason satisfies never;
  }
}

function refused(reason: DeniedReason, why: string): Extract<Authorization, { kind: 'refused' }> {
  return { kind: 'refused', reason, why };
}
