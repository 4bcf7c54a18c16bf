import type { AdminListener } from '../../config/address-kinds.ts';
import { adminListener } from '../../config/address-kinds.ts';
import { readSettingsFile } from '../../config/file.ts';
import { shown } from '../../config/given.ts';
import { settle } from '../../config/settle.ts';
import { agentTable } from '../../config/table.ts';
import { configVariable, readVariables } from '../../config/variables.ts';
import { ConfigurationError, codeOf, messageOf, UsageError } from '../../errors.ts';
import type { Host } from '../../host.ts';

/**
 * Where an agent with this environment serves its admin pages, unless `given` says so. Its other settings do not matter
 * here. Throws `UsageError`, or `ConfigurationError` for settings that cannot be read.
 */
export function adminAddress(
  given: string | undefined,
  env: Host['env'],
  readFile: (path: string) => string,
): AdminListener {
  if (given !== undefined) {
    const listener = adminListener.parse(given);
    if (listener === undefined)
      throw new UsageError(`--admin is '${shown(given)}', expected ${adminListener.expected}`);
    return listener;
  }
  const path = env[configVariable];
  const fromFile = path === undefined ? [] : readSettingsFile(path, textOf(path, readFile), agentTable).given;
  const isWanted = ({ name }: { readonly name: string }) => name === 'adminListen';
  const { values, problems } = settle(agentTable, [...fromFile, ...readVariables(env).given].filter(isWanted));
  if (problems.length > 0) throw new ConfigurationError(problems);
  return values.adminListen;
}

function textOf(path: string, readFile: (path: string) => string): string {
  try {
    return readFile(path);
  } catch (error) {
    const why = codeOf(error) || messageOf(error);
    throw new ConfigurationError(
      `${shown(path)} cannot be read (${why}), expected a YAML file of settings, or --admin`,
    );
  }
}
