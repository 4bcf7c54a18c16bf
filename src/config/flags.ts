import type { Command } from 'commander';
import { Option } from 'commander';
import { createCommand } from '../command-line.ts';
import { UsageError } from '../errors.ts';
import type { Given } from './given.ts';
import { flagOf } from './setting.ts';
import type { SettingName } from './table.ts';
import { agentTable, sections } from './table.ts';
import type { TunnelPart } from './tunnel.ts';
import { tunnelParts, tunnelText } from './tunnel.ts';

const tunnelHelp: Readonly<Record<TunnelPart, readonly [placeholder: string, does: string]>> = {
  listen: ['ip:port', 'Begins a static tunnel: where local applications connect in plaintext'],
  target: ['host:port', 'The application at the far side of the tunnel'],
  peer: ['spiffe-id', 'The identity that the far sidecar of the tunnel must prove'],
  via: ['host:port', 'Where the far sidecar takes tunnels, when it is not on the host of the target'],
};

/** One use of a flag. */
type Use = readonly [flag: string, value: string];

/** The command line of `remora agent`; every use of a flag is told to `used`, in order. */
export function agentCommand(used: (flag: string, value: string) => void = () => undefined): Command {
  const command = createCommand('agent', 'Runs the sidecar');
  const add = (flag: string, placeholder: string, does: string, heading: string) => {
    const option = new Option(`--${flag} <${placeholder}>`, does).helpGroup(`${heading}:`);
    command.addOption(
      option.argParser((value: string) => {
        used(flag, value);
        return value;
      }),
    );
  };
  add('config', 'file', 'YAML file of settings; flags and environment variables override it', 'Settings');
  for (const { title, settings } of sections) {
    for (const [name, { kind, does }] of Object.entries(settings)) {
      if (name !== 'tunnels') add(flagOf(name), kind.placeholder, does, title);
      else for (const part of tunnelParts) add(part, ...tunnelHelp[part], title);
    }
  }
  return command;
}

export interface FlagSettings {
  readonly configFile: string | undefined;
  readonly given: readonly Given<SettingName>[];
}

/** Reads the command line. Throws `UsageError` for a flag that does not exist, is given twice or has no value. */
export function readFlags(args: readonly string[]): FlagSettings {
  const uses: Use[] = [];
  parse(
    agentCommand((flag, value) => void uses.push([flag, value])),
    args,
  );
  const of = (flag: string) => uses.filter(([used]) => used === flag).map(([, value]) => value);
  const once = (flag: string) => {
    const values = of(flag);
    if (values.length > 1) throw new UsageError(`--${flag} is given ${values.length} times, expected once`);
    return values;
  };
  const given = (Object.keys(agentTable) as SettingName[])
    .filter((name) => name !== 'tunnels')
    .map((name): Given<SettingName> => {
      const flag = flagOf(name);
      const texts = agentTable[name].kind.isList ? of(flag).flatMap(splitList) : once(flag);
      return { name, texts, origin: { kind: 'flag', flag: `--${flag}` } };
    })
    .filter(({ name }) => of(flagOf(name)).length > 0);
  return { configFile: once('config')[0], given: [...given, ...tunnelsOf(uses)] };
}

function parse(command: Command, args: readonly string[]): void {
  try {
    command.configureOutput({ writeOut: () => undefined, writeErr: () => undefined }).parse(args, { from: 'user' });
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    throw new UsageError(text.replace(/^error: /, '').replaceAll(/\s*\n\s*/g, ' '), { cause: error });
  }
}

/** The elements of a list in a flag or a variable; an empty text is an empty list. */
export function splitList(text: string): string[] {
  return text === '' ? [] : text.split(',').map((element) => element.trim());
}

/** Each --listen begins a tunnel, to which the flags behind it belong. */
function tunnelsOf(uses: readonly Use[]): Given<SettingName>[] {
  const tunnels: Partial<Record<TunnelPart, string>>[] = [];
  for (const [flag, value] of uses) {
    const part = tunnelParts.find((name) => name === flag);
    if (part === undefined) continue;
    if (part === 'listen') tunnels.push({});
    const current = tunnels.at(-1);
    if (current === undefined)
      throw new UsageError(`--${part} ${value} belongs to no tunnel, expected --listen before it`);
    if (current[part] !== undefined)
      throw new UsageError(`--${part} is given twice for one tunnel, expected --listen before each further tunnel`);
    current[part] = value;
  }
  for (const tunnel of tunnels) {
    const missing = (['target', 'peer'] as const).find((part) => tunnel[part] === undefined);
    if (missing !== undefined)
      throw new UsageError(`--listen ${tunnel.listen} has no --${missing}, expected one behind it`);
  }
  if (tunnels.length === 0) return [];
  return [{ name: 'tunnels', texts: tunnels.map(tunnelText), origin: { kind: 'flag', flag: '--listen' } }];
}

/** The help of `remora agent`. */
export function agentHelp(): string {
  return agentCommand(() => undefined).helpInformation();
}
