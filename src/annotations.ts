import { parsePort } from './addresses.ts';
import { isCidr } from './prefix-table.ts';

/** A closed range of ports; a single port has both ends equal. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/**
 * Which connections of a pod are captured. The meaning is that of Istio's annotations, so that a pod moves without an
 * edit: excluded ports and ranges win over included ones, except that excluded inbound ports count only where all
 * ports are included; an outbound connection is captured by its port or by its range.
 */
export interface CaptureScope {
  readonly includeInboundPorts: '*' | readonly PortRange[];
  readonly excludeInboundPorts: readonly PortRange[];
  readonly includeOutboundPorts: readonly PortRange[];
  readonly excludeOutboundPorts: readonly PortRange[];
  /** CIDRs or addresses, of both families. */
  readonly includeOutboundIpRanges: '*' | readonly string[];
  readonly excludeOutboundIpRanges: readonly string[];
}

export type CaptureSetting = keyof CaptureScope;

/** Everything is captured. */
export const wholePod: CaptureScope = {
  includeInboundPorts: '*',
  excludeInboundPorts: [],
  includeOutboundPorts: [],
  excludeOutboundPorts: [],
  includeOutboundIpRanges: '*',
  excludeOutboundIpRanges: [],
};

/** The annotation and the flag of `remora init` for each setting; both are written in the same way. */
export const captureSettings: Readonly<Record<CaptureSetting, { readonly annotation: string; readonly flag: string }>> =
  {
    includeInboundPorts: setting('includeInboundPorts', 'include-inbound-ports'),
    excludeInboundPorts: setting('excludeInboundPorts', 'exclude-inbound-ports'),
    includeOutboundPorts: setting('includeOutboundPorts', 'include-outbound-ports'),
    excludeOutboundPorts: setting('excludeOutboundPorts', 'exclude-outbound-ports'),
    includeOutboundIpRanges: setting('includeOutboundIPRanges', 'include-outbound-ip-ranges'),
    excludeOutboundIpRanges: setting('excludeOutboundIPRanges', 'exclude-outbound-ip-ranges'),
  };

function setting(annotation: string, flag: string) {
  return { annotation: `traffic.sidecar.istio.io/${annotation}`, flag: `--${flag}` };
}

export type ParsedSetting<Value> =
  | { readonly kind: 'value'; readonly value: Value }
  | { readonly kind: 'problem'; readonly expected: string };

/** More entries than this in one list are a mistake, and would make every packet pay for it. */
const maxEntries = 1000;

const ports = 'ports from 1 to 65535 or ranges such as 9000-9100, separated by commas';
const ranges = 'addresses or CIDR ranges such as 10.0.0.0/8 or fd00::/8, separated by commas';

const parsers: { readonly [Setting in CaptureSetting]: (text: string) => ParsedSetting<CaptureScope[Setting]> } = {
  includeInboundPorts: (text) => orEverything(text, (list) => parseList(list, parsePortRange, ports)),
  excludeInboundPorts: (text) => parseList(text, parsePortRange, ports),
  includeOutboundPorts: (text) => parseList(text, parsePortRange, ports),
  excludeOutboundPorts: (text) => parseList(text, parsePortRange, ports),
  includeOutboundIpRanges: (text) => orEverything(text, (list) => parseList(list, parseRange, ranges)),
  excludeOutboundIpRanges: (text) => parseList(text, parseRange, ranges),
};

/** Reads one setting as an annotation or a flag writes it: a list separated by commas, where an empty text is an empty list. */
export function parseCaptureSetting<Setting extends CaptureSetting>(
  name: Setting,
  text: string,
): ParsedSetting<CaptureScope[Setting]> {
  return parsers[name](text);
}

/** What a pod's annotations say about capture, as flags of `remora init`, or every problem with them at once. */
export function captureFlags(
  annotations: Readonly<Record<string, string>>,
):
  | { readonly kind: 'flags'; readonly flags: readonly string[] }
  | { readonly kind: 'problems'; readonly problems: readonly string[] } {
  const flags: string[] = [];
  const problems: string[] = [];
  for (const name of Object.keys(captureSettings) as CaptureSetting[]) {
    const { annotation, flag } = captureSettings[name];
    const text = Object.hasOwn(annotations, annotation) ? annotations[annotation] : undefined;
    if (text === undefined) continue;
    const parsed = parseCaptureSetting(name, text);
    if (parsed.kind === 'problem') problems.push(captureProblem(`The annotation ${annotation}`, text, parsed.expected));
    else flags.push(`${flag}=${text}`);
  }
  return problems.length > 0 ? { kind: 'problems', problems } : { kind: 'flags', flags };
}

/** One sentence about a value that was refused; a long or unprintable value is shortened. */
export function captureProblem(name: string, text: string, expected: string): string {
  const printable = text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\uFFFD');
  const shown = printable.length > 60 ? `${printable.slice(0, 60)}…` : printable;
  return `${name} is '${shown}', expected ${expected}`;
}

function orEverything<Value>(text: string, parse: (text: string) => ParsedSetting<Value>): ParsedSetting<'*' | Value> {
  if (text.trim() === '*') return { kind: 'value', value: '*' };
  const parsed = parse(text);
  return parsed.kind === 'value' ? parsed : { kind: 'problem', expected: `* or ${parsed.expected}` };
}

function parseList<Entry>(
  text: string,
  parse: (entry: string) => Entry | undefined,
  expected: string,
): ParsedSetting<readonly Entry[]> {
  if (text.trim() === '') return { kind: 'value', value: [] };
  const texts = text.split(',', maxEntries + 1);
  if (texts.length > maxEntries) return { kind: 'problem', expected: `at most ${maxEntries} entries` };
  const entries = texts.map((entry) => parse(entry.trim()));
  const good = entries.filter((entry) => entry !== undefined);
  return good.length === entries.length ? { kind: 'value', value: good } : { kind: 'problem', expected };
}

function parsePortRange(text: string): PortRange | undefined {
  const [firstText = '', lastText = firstText, ...rest] = text.split('-');
  const first = parsePort(firstText);
  const last = parsePort(lastText);
  const isRange = first !== undefined && last !== undefined && first <= last && rest.length === 0;
  return isRange ? { first, last } : undefined;
}

function parseRange(text: string): string | undefined {
  if (!isCidr(text)) return undefined;
  return text.toLowerCase();
}
