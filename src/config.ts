import type { Owner, SettledSettings } from './config/checks.ts';
import { contradictions } from './config/checks.ts';
import { readSettingsFile } from './config/file.ts';
import { agentHelp, readFlags } from './config/flags.ts';
import type { GivenSet, Origin } from './config/given.ts';
import { shown } from './config/given.ts';
import { overrideProblems } from './config/overrides.ts';
import { settle } from './config/settle.ts';
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
  const { values, origins, problems: bad } = settle(agentTable, [...file.given, ...variables.given, ...flags.given]);
  const settings = complete(values);
  const problems = [...overrideProblems(input.env, input.nodeFlags), ...variables.problems, ...file.problems, ...bad];
  // Values that are wrong were replaced by their defaults; what these contradict would only confuse.
  const found = bad.length > 0 ? problems : [...problems, ...contradictions(settings, input)];
  if (found.length > 0) throw new ConfigurationError(found);
  return { settings, origins };
}

function readFile(path: string | undefined, input: SettingsInput): GivenSet<SettingName> {
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
  return readSettingsFile(path, text, agentTable);
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
