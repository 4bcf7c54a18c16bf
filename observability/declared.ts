import { metricsPages } from '../src/metrics/families.ts';
import type { Families } from '../src/metrics/family.ts';

/** Every family of both pages. */
export const declaredFamilies: Families = { ...metricsPages.sidecar.families, ...metricsPages.controlPlane.families };
