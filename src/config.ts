import type { Owner, SettledSettings } from './config/checks.ts';
import { contradictions } from './config/checks.ts';
import { readSettingsFile } from './config/file.ts';
import { agentHelp, readFlags } from './config/flags.ts';
import type { Given, GivenSet, Origin } from './config/given.ts';
import { describeOrigin, shown } from './config/given.ts';
import { overrideProblems } from './config/overrides.ts';
import type { GivenSettings, SettingName } from './config/table.ts';
import { agentTable } from './config/table.ts';
import type { Environment } from './config/variables.ts';
import { configVariable, readVariables } from './config/variables.ts';
import { ConfigurationError, codeOf, messageOf } from './errors.ts';
import type { SidecarPorts } from './ports.ts';
import { sidecarPorts } from './ports.ts';

export { agentHelp };

/** Every setting of `remora agent`, checked; names end with their unit. */
export type AgentSettings = SettledSettings;

/** Where each value came from. */
export type Origins = Readonly<Record<SettingName, Origin>>;

export interface SettingsInput extends Owner {
  readonly args: readonly string[];
  readonly env: Environment;
  /** Flags of the running Node.js. */
  readonly nodeFlags: readonly string[];
  /** The text of a file; throws when it cannot be read. */
  readFile(path: string): string;
}

/**
 * The settings of the sidecar from flags, then the environment, then the YAML file, then the defaults. Throws
 * `ConfigurationError` with every problem at once, and `UsageError` for a command line that cannot be understood.
 */
export function loadAgentSettings(input: SettingsInput): {
  readonly settings: AgentSettings;
  readonly origins: Origins;
} {
  const flags = readFlags(input.args);
  const variables = readVariables(input.env);
  const file = readFile(flags.configFile ?? input.env[configVariable], input);
  const values = settle([...file.given, ...variables.given, ...flags.given]);
  const problems = [
    ...overrideProblems(input.env, input.nodeFlags),
    ...variables.problems,
    ...file.problems,
    ...values.problems,
  ];
  // Values that are wrong were replaced by their defaults; what these contradict would only confuse.
  const found = values.problems.length > 0 ? problems : [...problems, ...contradictions(values.settings, input)];
  if (found.length > 0) throw new ConfigurationError(found);
  return values;
}

function readFile(path: string | undefined, input: SettingsInput): GivenSet {
  if (path === undefined) return { given: [], problems: [] };
  let text: string;
  try {
    text = input.readFile(path);
  } catch (error) {
    return {
      given: [],
      problems: [
        `${shown(path)} cannot be read (${codeOf(error) || messageOf(error)}), expected a YAML file of settings`,
      ],
    };
  }
  return readSettingsFile(path, text);
}

interface Settled {
  readonly settings: AgentSettings;
  readonly origins: Origins;
  readonly problems: readonly string[];
}

/** `all` goes from the weakest place to the strongest. A value that is overridden is checked all the same. */
function settle(all: readonly Given[]): Settled {
  const values: Record<string, unknown> = {};
  const origins: Partial<Record<SettingName, Origin>> = {};
  for (const [name, { kind, default: value }] of Object.entries(agentTable)) {
    values[`${name}${kind.suffix}`] = value;
    origins[name as SettingName] = { kind: 'default' };
  }
  const problems: string[] = [];
  for (const { name, texts, origin } of all) {
    const { kind } = agentTable[name];
    const reading = kind.read(texts);
    origins[name] = origin;
    if (reading.kind === 'value') values[`${name}${kind.suffix}`] = reading.value;
    else problems.push(problem(name, reading.text, origin));
  }
  return { settings: complete(values as unknown as GivenSettings), origins: origins as Origins, problems };
}

function problem(name: SettingName, text: string, origin: Origin): string {
  const { kind } = agentTable[name];
  const meant = kind.suggest(text);
  const hint = meant === undefined ? '' : `; did you mean ${meant}?`;
  return `${name}=${shown(text)} from ${describeOrigin(origin)} is not ${kind.name}, expected ${kind.expected}${hint}`;
}

function complete(given: GivenSettings): AgentSettings {
  const isByHand = given.tunnels.length > 0 || given.deliver.length > 0;
  return { ...given, capture: given.capture ?? !isByHand, ports: portsOf(given) };
}

function portsOf(given: GivenSettings): SidecarPorts {
  return {
    outbound: given.outboundPort,
    inbound: given.inboundPort,
    hbone: given.hbonePort,
    // A unix socket takes no port; the number stays reserved, so that no peer is let through to it either way.
    admin: given.adminListen.kind === 'tcp' ? given.adminListen.address.port : sidecarPorts.admin,
    metrics: given.metricsPort,
    health: given.healthPort,
  };
}
