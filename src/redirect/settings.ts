import { parsePort } from '../addresses.ts';
import type { CaptureScope, CaptureSetting } from '../annotations.ts';
import { captureProblem, captureSettings, parseCaptureSetting, wholePod } from '../annotations.ts';
import { ConfigurationError } from '../errors.ts';
import type { SidecarPorts } from '../ports.ts';
import { sidecarPorts, sidecarUid } from '../ports.ts';
import type { RedirectSettings } from './rules.ts';

/** One setting of `remora init`: the flag `--<flag>`, or else the variable `REMORA_<FLAG>`. */
export interface SettingFlag {
  readonly flag: string;
  readonly placeholder: string;
  readonly does: string;
}

const portFlags: Readonly<Record<keyof SidecarPorts, SettingFlag>> = {
  outbound: portFlag('outbound', 'outbound capture'),
  inbound: portFlag('inbound', 'inbound capture'),
  hbone: portFlag('hbone', 'tunnels, never captured'),
  admin: portFlag('admin', 'the admin server, never captured'),
  metrics: portFlag('metrics', 'metrics and application probes, never captured'),
  health: portFlag('health', 'readiness and liveness, never captured'),
};

const idFlags = {
  uid: {
    flag: 'uid',
    placeholder: 'id',
    does: `user of the sidecar, which with its group is not captured (default ${sidecarUid})`,
  },
  gid: { flag: 'gid', placeholder: 'id', does: `group of the sidecar (default ${sidecarUid})` },
} as const;

const scopeFlags: Readonly<Record<CaptureSetting, SettingFlag>> = {
  includeInboundPorts: scopeFlag('includeInboundPorts', 'ports', 'inbound ports to capture, or * (default *)'),
  excludeInboundPorts: scopeFlag('excludeInboundPorts', 'ports', 'inbound ports to leave alone where all are captured'),
  includeOutboundPorts: scopeFlag('includeOutboundPorts', 'ports', 'outbound ports to capture, whatever the address'),
  excludeOutboundPorts: scopeFlag('excludeOutboundPorts', 'ports', 'outbound ports to leave alone'),
  includeOutboundIpRanges: scopeFlag(
    'includeOutboundIpRanges',
    'cidrs',
    'outbound ranges to capture, or * (default *)',
  ),
  excludeOutboundIpRanges: scopeFlag('excludeOutboundIpRanges', 'cidrs', 'outbound ranges to leave alone'),
};

/** Every setting, in the order of the help. */
export const settingFlags: readonly SettingFlag[] = [
  ...Object.values(scopeFlags),
  ...Object.values(idFlags),
  ...Object.values(portFlags),
];

/** Where a setting was written, and its text. */
interface Given {
  readonly name: string;
  readonly text: string;
}

/** The text of a setting, or undefined when it is not given. */
export type ReadSetting = (flag: string) => Given | undefined;

/** Reads settings from the flags that were given, by their names without dashes in front, and from the environment. */
export function settingReader(
  flags: Readonly<Record<string, string>>,
  env: Readonly<Record<string, string | undefined>>,
): ReadSetting {
  return (flag) => {
    const text = flags[flag];
    if (text !== undefined) return { name: `--${flag}`, text };
    const variable = `REMORA_${flag.replaceAll('-', '_').toUpperCase()}`;
    const value = env[variable];
    return value === undefined || isServiceLink(value) ? undefined : { name: variable, text: value };
  };
}

/** Kubernetes sets `REMORA_OUTBOUND_PORT=tcp://10.0.0.7:80` in every pod beside a Service that is named remora-outbound. */
function isServiceLink(value: string): boolean {
  return /^(?:tcp|udp|sctp):\/\//.test(value);
}

/** Throws `ConfigurationError` with every bad value at once. */
export function readSettings(read: ReadSetting): RedirectSettings {
  const problems: string[] = [];
  const numberOf = (flag: string, fallback: number, parse: (text: string) => number | undefined, expected: string) => {
    const given = read(flag);
    const value = given === undefined ? fallback : parse(given.text);
    if (value === undefined && given !== undefined) problems.push(captureProblem(given.name, given.text, expected));
    return value ?? fallback;
  };
  const idOf = (flag: string) =>
    numberOf(flag, sidecarUid, parseId, 'a number from 1 to 4294967294; 0 would let every process of root pass');
  const settings = {
    ports: readPorts((key) => numberOf(portFlags[key].flag, sidecarPorts[key], parsePort, 'a port from 1 to 65535')),
    uid: idOf(idFlags.uid.flag),
    gid: idOf(idFlags.gid.flag),
    scope: readScope(read, problems),
  };
  problems.push(...sharedPorts(settings.ports));
  if (problems.length > 0) throw new ConfigurationError(problems);
  return settings;
}

function readPorts(read: (key: keyof SidecarPorts) => number): SidecarPorts {
  return {
    outbound: read('outbound'),
    inbound: read('inbound'),
    hbone: read('hbone'),
    admin: read('admin'),
    metrics: read('metrics'),
    health: read('health'),
  };
}

function readScope(read: ReadSetting, problems: string[]): CaptureScope {
  const scopeOf = <Setting extends CaptureSetting>(name: Setting): CaptureScope[Setting] => {
    const given = read(scopeFlags[name].flag);
    if (given === undefined) return wholePod[name];
    const parsed = parseCaptureSetting(name, given.text);
    if (parsed.kind === 'value') return parsed.value;
    problems.push(captureProblem(given.name, given.text, parsed.expected));
    return wholePod[name];
  };
  return {
    includeInboundPorts: scopeOf('includeInboundPorts'),
    excludeInboundPorts: scopeOf('excludeInboundPorts'),
    includeOutboundPorts: scopeOf('includeOutboundPorts'),
    excludeOutboundPorts: scopeOf('excludeOutboundPorts'),
    includeOutboundIpRanges: scopeOf('includeOutboundIpRanges'),
    excludeOutboundIpRanges: scopeOf('excludeOutboundIpRanges'),
  };
}

function sharedPorts(ports: SidecarPorts): string[] {
  const keys = Object.keys(portFlags) as (keyof SidecarPorts)[];
  return keys.flatMap((key, index) => {
    const other = keys.slice(0, index).find((earlier) => ports[earlier] === ports[key]);
    if (other === undefined) return [];
    return [`--${portFlags[key].flag} and --${portFlags[other].flag} are both ${ports[key]}, expected a port for each`];
  });
}

/** A uid or gid; the largest 32-bit number means "none" to the kernel. */
function parseId(text: string): number | undefined {
  if (!/^[1-9]\d{0,9}$/.test(text)) return undefined;
  const id = Number(text);
  return id < 2 ** 32 - 1 ? id : undefined;
}

function portFlag(name: keyof SidecarPorts, does: string): SettingFlag {
  return { flag: `${name}-port`, placeholder: 'port', does: `port of ${does} (default ${sidecarPorts[name]})` };
}

function scopeFlag(name: CaptureSetting, placeholder: string, does: string): SettingFlag {
  return { flag: captureSettings[name].flag.replace(/^--/, ''), placeholder, does };
}
