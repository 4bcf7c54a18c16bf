import { excludedPortsRule } from '../../capture-scope.ts';
import type { Direction } from '../../outcomes.ts';

/** A setting as `/config` shows it. */
export type SettingShown = (name: string) => { readonly value: string | null; readonly from: string } | undefined;

/** Why the rules leave something alone, and what to change if they should not. */
export interface Exclusion {
  /** Continues a sentence after a colon. */
  readonly why: string;
  readonly remedy?: string;
}

/** By the comment of the rule; what an application dials within its own pod is no exclusion. */
export function exclusionBy(rule: string, direction: Direction, shown: SettingShown | undefined): Exclusion {
  const name = settingOf(rule, direction);
  if (name === undefined) return { why: 'the redirect rules leave it alone' };
  const setting = shown?.(name);
  const value = setting === undefined ? '' : ` is ${setting.value ?? 'empty'} (${setting.from})`;
  const change = name.startsWith('exclude') ? `take it out of ${name}` : `add it to ${name}`;
  return {
    why: `${name}${value}, so the redirect rules leave it alone`,
    remedy: `If it should pass, ${change} or the pod's annotation of that name, and make the pod anew: init and agent read the same list`,
  };
}

function settingOf(rule: string, direction: Direction): string | undefined {
  const side = direction === 'inbound' ? 'Inbound' : 'Outbound';
  if (rule === excludedPortsRule) return `exclude${side}Ports`;
  if (/^Excluded IPv[46] ranges$/.test(rule)) return 'excludeOutboundIpRanges';
  if (rule === 'No rule includes it')
    return direction === 'inbound' ? 'includeInboundPorts' : 'includeOutboundIpRanges';
  return undefined;
}
