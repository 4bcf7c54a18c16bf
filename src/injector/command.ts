import { createReadStream } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import type { Command } from 'commander';
import { Option } from 'commander';
import { createCommand, parseCommandLine } from '../command-line.ts';
import { objectName } from '../config/address-kinds.ts';
import { splitList } from '../config/flags.ts';
import type { Given } from '../config/given.ts';
import { shown } from '../config/given.ts';
import type { Setting } from '../config/setting.ts';
import { flagOf } from '../config/setting.ts';
import { ConfigurationError, codeOf, exitCodes, FailureError, messageOf, UsageError } from '../errors.ts';
import type { Host, Subcommand } from '../host.ts';
import { injectPod } from './inject.ts';
import { injectText } from './inject-text.ts';
import { inputText, mostInputBytes } from './input-text.ts';
import type { InjectionSettingName, InjectionSettings } from './settings.ts';
import { injectionTable, readInjectionSettings } from './settings.ts';

/** `remora inject`: Kubernetes objects from standard input to standard output, with the sidecar in their pods. */
export const run: Subcommand = async (host) => {
  const uses: Use[] = [];
  const parsed = parse(
    injectCommand((flag, value) => void uses.push([flag, value])),
    host,
  );
  if (parsed.kind === 'done') return parsed.exitCode;
  const namespace = once(uses, 'namespace') ?? 'default';
  if (objectName.parse(namespace) === undefined)
    throw new UsageError(`--namespace=${shown(namespace)} is not ${objectName.name}, expected ${objectName.expected}`);
  const settings = await settingsFrom(uses);
  const input = inputText(await readInput(host));
  if (input.kind === 'broken') throw new FailureError(input.problem);
  const result = injectText(input.text, namespace, (pod, context) => injectPod(pod, context, settings));
  if (result.kind === 'refused') throw new FailureError(result.problems.join('\n'));
  for (const remark of result.remarks) host.stderr.write(`remora: ${remark}\n`);
  await writeAll(host.stdout, result.text);
  return exitCodes.ok;
};

/** Other tools take files by name. */
function parse(command: Command, host: Host) {
  try {
    return parseCommandLine(command, host);
  } catch (error) {
    if (!(error instanceof UsageError) || !/^(?:unknown option '-f'|too many arguments)/.test(error.message))
      throw error;
    throw new UsageError(
      `${error.message.replace(/\.$/, '')}; objects come by standard input: remora inject < web.yaml`,
      { cause: error },
    );
  }
}

const examples = `
Objects come by standard input, and go out by standard output.

  remora inject --image registry.example.com/remora:0.1.0 --mesh-networks 10.0.0.0/8 < web.yaml
  kubectl get deployment -n shop -o json | remora inject --settings injection.yaml | kubectl apply -f -`;

/** One use of a flag. */
type Use = readonly [flag: string, value: string];

const names = Object.keys(injectionTable) as InjectionSettingName[];

function injectCommand(used: (flag: string, value: string) => void): Command {
  const command = createCommand(
    'inject',
    'Adds the sidecar to Kubernetes YAML or JSON: standard input to standard output',
  );
  const add = (flag: string, placeholder: string, does: string) =>
    command.addOption(
      new Option(`--${flag} <${placeholder}>`, does).argParser((value: string) => {
        used(flag, value);
        return value;
      }),
    );
  add('settings', 'file', 'YAML file of the settings below; flags override it');
  add('namespace', 'name', 'Namespace of objects that name none (default: default)');
  for (const name of names) {
    const setting: Setting<unknown> = injectionTable[name];
    add(flagOf(name), setting.kind.placeholder, `${setting.does} (default: ${defaultOf(setting)})`);
  }
  return command.addHelpText('after', examples);
}

function defaultOf({ kind, default: value, defaultDoc }: Setting<unknown>): string {
  return (defaultDoc ?? (kind.show(value) || 'none')).replaceAll('`', '');
}

function valuesOf(uses: readonly Use[], flag: string): string[] {
  return uses.filter(([used]) => used === flag).map(([, value]) => value);
}

function once(uses: readonly Use[], flag: string): string | undefined {
  const values = valuesOf(uses, flag);
  if (values.length > 1) throw new UsageError(`--${flag} is given ${values.length} times, expected once`);
  return values[0];
}

async function settingsFrom(uses: readonly Use[]): Promise<InjectionSettings> {
  const given = names.flatMap((name): Given<InjectionSettingName>[] => {
    const flag = flagOf(name);
    const isList = injectionTable[name].kind.isList;
    const texts = isList
      ? valuesOf(uses, flag).flatMap(splitList)
      : [once(uses, flag)].filter((text) => text !== undefined);
    return valuesOf(uses, flag).length === 0 ? [] : [{ name, texts, origin: { kind: 'flag', flag: `--${flag}` } }];
  });
  const path = once(uses, 'settings');
  return readInjectionSettings(path === undefined ? undefined : { path, text: await readSettings(path) }, given);
}

/** As much as the settings may have, and a little more, so that they say that it is too much. */
const mostSettingsBytes = 256 * 1024;

/** A pipe is as good as a file: `--settings <(…)`. */
async function readSettings(path: string): Promise<string> {
  try {
    return String(await readAll(createReadStream(path, { end: mostSettingsBytes })));
  } catch (error) {
    const why = codeOf(error) || messageOf(error);
    throw new ConfigurationError(`${shown(path)} cannot be read (${why}), expected a YAML file of settings`, {
      cause: error,
    });
  }
}

async function readInput({ stdin, stderr }: Host): Promise<Uint8Array> {
  if ((stdin as Readable & { isTTY?: boolean }).isTTY)
    stderr.write('remora: reading Kubernetes YAML from standard input, which ends with Ctrl-D\n');
  return readAll(stdin, mostInputBytes);
}

async function readAll(stream: Readable, most = Number.POSITIVE_INFINITY): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of stream) {
    const bytes = Buffer.from(chunk as Uint8Array | string);
    length += bytes.length;
    if (length > most)
      throw new FailureError(
        `The input has more than ${mostInputBytes} bytes (16 MiB), expected fewer objects at once`,
      );
    chunks.push(bytes);
  }
  return Buffer.concat(chunks);
}

/** Resolves when everything is written: the process ends right afterwards. */
function writeAll(output: Writable, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    output.write(text, (error) =>
      error
        ? reject(new FailureError(`The output cannot be written: ${messageOf(error)}`, { cause: error }))
        : resolve(),
    );
  });
}
