import type { AuthorizationPolicy, PolicyRule } from '../control-api.ts';

/** Whether policies have no more than so many rules and texts together. Stops counting as soon as they have more. */
export function isLighterThan(limit: number, policies: readonly AuthorizationPolicy[]): boolean {
  let left = limit - policies.length;
  for (const { rules } of policies) {
    for (const rule of rules) {
      left -= weightOf(rule);
      if (left < 0) return false;
    }
  }
  return left >= 0;
}

function weightOf({ from = [], to = [], when = [] }: PolicyRule): number {
  let weight = 1;
  for (const lists of [...from, ...to]) for (const list of Object.values(lists)) weight += list?.length ?? 0;
  for (const { values, notValues } of when) weight += (values?.length ?? 0) + (notValues?.length ?? 0);
  return weight;
}
