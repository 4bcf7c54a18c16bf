import { createCaptureRules } from '../../capture-scope.ts';
import type { AgentSettings } from '../../config.ts';
import type { DataPlane, DataPlaneParts, DataPlaneSettings } from '../data-plane.ts';
import type { PodAddresses } from '../inbound/guard.ts';
import type { RecentFailures } from '../recent-failures.ts';
import type { Explain } from './explain.ts';
import { createExplain } from './explain.ts';
import type { InboundExplainParts } from './inbound.ts';
import { createNameExplainer } from './lookup.ts';
import type { OutboundExplainParts } from './outbound.ts';

export interface SidecarExplainParts
  extends Omit<DataPlaneParts, 'registry'>,
    Pick<OutboundExplainParts, 'registry' | 'isControlPlaneUp' | 'captureProofs' | 'setting'>,
    Pick<InboundExplainParts, 'isDraining'> {
  readonly failures: RecentFailures;
  readonly podAddresses: PodAddresses;
}

/** Explains the connections of a running sidecar: by its data plane, and by the settings that its redirect rules were made from. */
export function explainSidecar(
  { pool, affinities, names }: DataPlane,
  parts: SidecarExplainParts,
  settings: AgentSettings,
  { listen, inbound, outbound }: DataPlaneSettings,
): Explain {
  const { clock, podAddresses } = parts;
  const rules = createCaptureRules(settings, settings.ports, podAddresses.has);
  return createExplain(
    {
      ...parts,
      ...{ pool, affinities, names },
      ownAddresses: podAddresses.all,
      lookUp: createNameExplainer(clock),
    },
    {
      outbound,
      inbound: {
        floor: inbound.floor,
        hasControlPlane: settings.controlPlane !== undefined,
        capture: settings.capture ? { rules, scope: settings } : undefined,
        deliveries: settings.deliver,
      },
      declared: listen.declared,
    },
  );
}
