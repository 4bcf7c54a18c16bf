import type { PolicyState } from '../control-api.ts';
import type { InboundFloor } from './authorize.ts';
import { decideInbound } from './authorize.ts';

/** Somebody without an identity who has called a port. */
export interface PlaintextCaller {
  readonly ip: string;
  readonly port: number;
  /** The address of the pod that it called. */
  readonly destinationIp: string;
  /** The kubelet or something else on the node, by its address. */
  readonly isNode: boolean;
  /** The SPIFFE ID that it proves when the port is STRICT: its sidecar sends plaintext only where a port is DISABLE. */
  readonly meshedId: string | undefined;
  readonly open: number;
  /** Connections that have ended in which it sent something. */
  readonly spoke: number;
}

/** What becomes of a caller of a port that is not STRICT when the port is switched to STRICT. */
export type UnderStrict =
  | { readonly breaks: true }
  /** One sentence why nothing changes for it. */
  | { readonly breaks: false; readonly why: string };

/** Whether a caller loses by the switch what `policy` permits it now. The mode of the port is of no matter here. */
export function underStrict(caller: PlaintextCaller, policy: PolicyState, floor: InboundFloor): UnderStrict {
  const { ip, port, destinationIp, isNode, meshedId, open, spoke } = caller;
  const request = { destination: { ip: destinationIp, port }, principal: undefined, source: ip };
  const decision = decideInbound(request, policy, floor);
  if (decision.kind === 'refused') return { breaks: false, why: `It is refused already: ${decision.why}` };
  if (!isNode && meshedId !== undefined && isPermitted({ ...request, principal: meshedId }, policy, floor))
    return { breaks: false, why: 'It has a sidecar, and came in plaintext because the port was DISABLE' };
  if (isNode && open === 0 && spoke === 0)
    return { breaks: false, why: 'It only connects, as a TCP probe does, and the port stays open for that' };
  return { breaks: true };
}

const isPermitted = (...asked: Parameters<typeof decideInbound>) => decideInbound(...asked).kind === 'permitted';
