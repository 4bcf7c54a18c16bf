import type { AuthorizationPolicy } from '../../control-api.ts';
import type { Scope } from './scope.ts';

/** Istio's AuthorizationPolicy as sidecars get it, and whom it is about. */
export interface ScopedPolicy extends Scope {
  readonly policy: AuthorizationPolicy;
  /** It selects a gateway or a waypoint by `targetRef`, and no workload. */
  readonly isSkipped: boolean;
}
