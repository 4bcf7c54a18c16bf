import type { Mode } from '../../policy/mode.ts';
import type { Scope } from './scope.ts';

/** A mode, or UNSET: that of the wider scope. */
export type PeerMode = 'UNSET' | Mode;

/** Istio's PeerAuthentication. */
export interface PeerAuthentication extends Scope {
  readonly mode: PeerMode;
  /** Ports of the workload with a mode of their own. */
  readonly ports: ReadonlyMap<number, PeerMode>;
  /** One sentence why it cannot be followed as it is written: then its scope is STRICT. Absent when it can. */
  readonly problem: string | undefined;
}
