/** PeerAuthentication's modes, from the weakest to the strongest. */
export const modes = ['DISABLE', 'PERMISSIVE', 'STRICT'] as const;
export type Mode = (typeof modes)[number];

/** The policy's mode, but never weaker than the pod's own floor: no control plane can lower that. */
export function effectiveMode(fromPolicy: Mode, minimum: Mode): Mode {
  return isSetByFloor(fromPolicy, minimum) ? minimum : fromPolicy;
}

/** Whether it is the pod's own floor that sets the mode, because the policy's is weaker. */
export function isSetByFloor(fromPolicy: Mode, minimum: Mode): boolean {
  return modes.indexOf(fromPolicy) < modes.indexOf(minimum);
}
