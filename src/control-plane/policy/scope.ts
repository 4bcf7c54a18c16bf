/** Which workloads an object of Istio's policy is about. */
export interface Scope {
  readonly name: string;
  readonly namespace: string;
  /** RFC 3339; absent for an object that no API server has seen. */
  readonly creationTimestamp: string | undefined;
  /** Labels that a workload must have; undefined or empty selects all of the namespace. */
  readonly selector: Readonly<Record<string, string>> | undefined;
}
