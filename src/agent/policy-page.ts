import type { PolicyPage, ShownPortMode } from '../admin-api.ts';
import { timestamp } from '../clock.ts';
import type { AuthorizationPolicy, PolicyState } from '../control-api.ts';
import type { OutboundFloor, OutboundPolicy } from '../policy/admit.ts';
import type { Mode, ModeInForce } from '../policy/mode.ts';
import { inOrderOfJudgement } from '../policy/policy-states.ts';
import type { PolicyInForce } from './policy-watch.ts';

export interface PolicyShown {
  /** Wall time, milliseconds since the epoch. */
  readonly nowMs: number;
  readonly policy: PolicyState | undefined;
  readonly inForce: PolicyInForce | undefined;
  readonly settings: {
    readonly minimumInboundMode: Mode;
    readonly outboundPolicy: OutboundPolicy;
    readonly minimumOutbound: OutboundFloor;
    readonly meshNetworks: readonly string[];
    readonly allowPeers: readonly { readonly uri: string }[];
    readonly controlPlane?: string | undefined;
  };
}

/** A page shows no more of either; the metrics count all policies. */
export const policyPageLimits = { modes: 50, policies: 1000 };

/** What is in force for this workload, and who has set it. */
export function policyPageOf({ nowMs, policy, inForce, settings }: PolicyShown): PolicyPage {
  const { minimumInboundMode: floor, allowPeers, controlPlane } = settings;
  const modes = inForce?.modes ?? [];
  const policies = policy?.authorization ?? [];
  return {
    now: timestamp(nowMs),
    inbound: {
      modes: shownModes(modes),
      modesLeftOut: Math.max(0, modes.length - policyPageLimits.modes),
      why: whyOf(policy, settings),
      floor,
      allowedPeers: controlPlane === undefined ? allowPeers.map(({ uri }) => uri) : null,
    },
    authorization: {
      policies: inOrderOfJudgement(policies).slice(0, policyPageLimits.policies).map(shownPolicy),
      leftOut: Math.max(0, policies.length - policyPageLimits.policies),
      deniesByDefault: policies.some(({ action, isDryRun }) => action === 'ALLOW' && isDryRun !== true),
    },
    outbound: {
      policy: settings.outboundPolicy,
      floor: settings.minimumOutbound,
      meshNetworks: [...settings.meshNetworks],
    },
    lastUpdate: inForce === undefined ? null : timestamp(inForce.sinceMs),
  };
}

/** As many as a page has room for. */
export function shownModes(modes: readonly ModeInForce[]): ShownPortMode[] {
  return modes.slice(0, policyPageLimits.modes).map(({ port = '*', mode, setBy = null, fromPolicy, problem }) => ({
    port: `${port}`,
    mode,
    setBy,
    fromPolicy,
    ...(problem !== undefined && { problem }),
  }));
}

function shownPolicy({ name, action, isDryRun = false, problem, rules }: AuthorizationPolicy) {
  return { name, action, rules: rules.length, isDryRun, problem: problem ?? null };
}

function whyOf(policy: PolicyState | undefined, { controlPlane }: PolicyShown['settings']): string {
  if (policy === undefined)
    return 'No policy has arrived yet, or the last one cannot be enforced, so everything new that is inbound is refused';
  return controlPlane === undefined
    ? `Without a control plane it is always ${policy.mode}`
    : "The mesh's PeerAuthentications set it, and minimumInboundMode of this pod is the least that they can say";
}
