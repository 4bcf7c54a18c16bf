import type { PolicyState } from '../control-api.ts';

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

/** The mode of one inbound port. */
export interface PortMode {
  readonly mode: Mode;
  /** The PeerAuthentication that sets it, or `floor`, or undefined when none does. */
  readonly setBy: string | undefined;
  /** Why that PeerAuthentication cannot be followed as it is written, so that it means STRICT. */
  readonly problem?: string | undefined;
}

/** What the policy says of a port, before the floor of the pod. */
export function modeOfPolicy({ mode, modeSetBy, modeProblem, ports }: PolicyState, port: number): PortMode {
  return (ports && byPort(ports).get(port)) ?? { mode, setBy: modeSetBy, problem: modeProblem };
}

const modesByPort = new WeakMap<NonNullable<PolicyState['ports']>, ReadonlyMap<number, PortMode>>();

/** Made once for each policy: there may be a mode for each of 65,535 ports. */
function byPort(ports: NonNullable<PolicyState['ports']>): ReadonlyMap<number, PortMode> {
  const known = modesByPort.get(ports);
  if (known !== undefined) return known;
  const made = new Map<number, PortMode>();
  for (const { port, mode, setBy } of ports) if (!made.has(port)) made.set(port, { mode, setBy });
  modesByPort.set(ports, made);
  return made;
}

/** What is in force on a port: the stricter one of the policy and of the floor of the pod. */
export function modeInForce(policy: PolicyState, port: number, minimum: Mode): PortMode {
  const fromPolicy = modeOfPolicy(policy, port);
  return isSetByFloor(fromPolicy.mode, minimum) ? { mode: minimum, setBy: 'floor' } : fromPolicy;
}

/** A mode in force, and what it holds for. */
export interface ModeInForce extends PortMode {
  /** Undefined for every port without a mode of its own. */
  readonly port: number | undefined;
  readonly fromPolicy: Mode;
}

/** Every mode that is in force: that of most ports first, then those of ports that have one of their own. */
export function modesInForce(policy: PolicyState, minimum: Mode): readonly ModeInForce[] {
  const { mode, modeSetBy: setBy, modeProblem: problem, ports = [] } = policy;
  const all: (PortMode & { port?: number })[] = [{ mode, setBy, problem }, ...ports];
  return all.map(({ port, mode: fromPolicy, setBy, problem }) => ({
    port,
    fromPolicy,
    ...(isSetByFloor(fromPolicy, minimum) ? { mode: minimum, setBy: 'floor' } : { mode: fromPolicy, setBy, problem }),
  }));
}
