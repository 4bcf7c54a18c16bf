import type { PolicyPage } from '../admin-api.ts';
import { timestamp } from '../clock.ts';
import type { PolicyState } from '../control-api.ts';
import type { OutboundFloor, OutboundPolicy } from '../policy/admit.ts';
import type { Mode } from '../policy/mode.ts';
import { isSetByFloor } from '../policy/mode.ts';
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

/** The mode that is in force, and who has set it. */
export function policyPageOf({ nowMs, policy, inForce, settings }: PolicyShown): PolicyPage {
  const { minimumInboundMode: floor, allowPeers, controlPlane } = settings;
  const mode = inForce?.mode ?? null;
  return {
    now: timestamp(nowMs),
    inbound: {
      mode,
      setBy: policy === undefined ? null : setByOf(policy, floor),
      why: whyOf(policy, mode, settings),
      fromPolicy: policy?.mode ?? null,
      floor,
      allowedPeers: controlPlane === undefined ? allowPeers.map(({ uri }) => uri) : null,
    },
    outbound: {
      policy: settings.outboundPolicy,
      floor: settings.minimumOutbound,
      meshNetworks: [...settings.meshNetworks],
    },
    lastUpdate: inForce === undefined ? null : timestamp(inForce.sinceMs),
  };
}

/** What sets the mode in force. */
export function setByOf({ mode }: PolicyState, floor: Mode): 'policy' | 'floor' {
  return isSetByFloor(mode, floor) ? 'floor' : 'policy';
}

function whyOf(policy: PolicyState | undefined, mode: Mode | null, { controlPlane }: PolicyShown['settings']): string {
  if (policy === undefined)
    return 'No policy has arrived yet, or the last one cannot be enforced, so everything inbound is refused';
  if (mode !== policy.mode) return `The policy says ${policy.mode}, and minimumInboundMode lets nothing below ${mode}`;
  return controlPlane === undefined
    ? `Without a control plane it is always ${policy.mode}`
    : `The control plane says ${policy.mode}`;
}
