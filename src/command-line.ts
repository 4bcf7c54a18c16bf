import { Command, CommanderError } from 'commander';
import { exitCodes, UsageError } from './errors.ts';
import type { Host } from './host.ts';

/** The options of a subcommand, or the exit code when the command line was answered by help and nothing is left to do. */
export type ParsedCommandLine<Options> =
  | { readonly kind: 'options'; readonly options: Options; readonly arguments: readonly string[] }
  | { readonly kind: 'done'; readonly exitCode: number };

/**
 * A commander command that never ends the process: a wrong command line becomes a `UsageError` of one sentence. Give it
 * options, then pass it to `parseCommandLine`.
 */
export function createCommand(name: string, description: string): Command {
  return new Command(`remora ${name}`)
    .description(description)
    .allowExcessArguments(false)
    .exitOverride()
    .configureHelp({ helpWidth: 120, minWidthToWrap: 30 });
}

/** For an option that may be repeated. */
export function appended(value: string, values: readonly string[] = []): string[] {
  return [...values, value];
}

/** Parses `host.args`; throws `UsageError`. Help goes to standard output. */
export function parseCommandLine<Options extends object>(command: Command, host: Host): ParsedCommandLine<Options> {
  command.configureOutput({ writeOut: (text) => host.stdout.write(text), writeErr: () => undefined });
  try {
    command.parse(host.args, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return { kind: 'done', exitCode: exitCodes.ok };
    throw new UsageError(error.message.replace(/^error: /, '').replaceAll(/\s*\n\s*/g, ' '), { cause: error });
  }
  return { kind: 'options', options: command.opts<Options>(), arguments: command.args };
}
