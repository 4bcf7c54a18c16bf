import { controlPlanePorts, sidecarPorts } from '../ports.ts';
import { controlPlaneFamilies } from './control-plane-families.ts';
import type { Families, Family } from './family.ts';
import { sidecarFamilies } from './sidecar-families.ts';

/** Who serves a page of metrics, where, and every family on it. */
export const metricsPages = {
  sidecar: { port: sidecarPorts.metrics, families: sidecarFamilies },
  controlPlane: { port: controlPlanePorts.metrics, families: controlPlaneFamilies },
} as const satisfies Record<string, { readonly port: number; readonly families: Families }>;

/**
 * The names that the series of a family have, each with its labels: what a query may ask for. The names are an interface:
 * families and labels are added, and never renamed.
 */
export function seriesOf(name: string, { type, labels = {} }: Family): ReadonlyMap<string, readonly string[]> {
  const own = Object.keys(labels);
  if (type !== 'histogram') return new Map([[name, own]]);
  return new Map([
    [`${name}_bucket`, [...own, 'le']],
    [`${name}_sum`, own],
    [`${name}_count`, own],
  ]);
}
