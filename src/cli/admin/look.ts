import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import type { GenericSchema, InferOutput } from 'valibot';
import type { Clock } from '../../clock.ts';
import { systemClock } from '../../clock.ts';
import type { AdminListener } from '../../config/address-kinds.ts';
import { exitCodes, RemoraError, UsageError } from '../../errors.ts';
import type { Host } from '../../host.ts';
import { printableJson } from '../../printable.ts';
import { adminAddress } from './address.ts';
import { askForPage } from './client.ts';
import { createWatchScreen } from './watch-screen.ts';

/** The options that every command has that looks at a running agent. */
export interface LookOptions {
  readonly json?: boolean;
  readonly watch?: boolean;
  readonly admin?: string;
}

/** One page of an agent, and how a person reads it. */
export interface Look<Schema extends GenericSchema> {
  /** With its query. */
  readonly path: string;
  readonly schema: Schema;
  /** Lines without any control character, of `columns` characters where they can be so short. */
  text(page: InferOutput<Schema>, columns: number): readonly string[];
  /** Default: 0. With `--watch` nobody asks. */
  exitCode?(page: InferOutput<Schema>): number;
  /** Of one question and its whole answer; default: that of pages that are at hand. */
  readonly timeoutMs?: number;
}

/** Where nobody says how wide the terminal is. */
const usualColumns = 100;

/** Between two looks of `--watch`; milliseconds. */
const watchIntervalMs = 2000;

/** Gives a command `--json`, `--watch` and `--admin`. */
export function withLookOptions(command: Command): Command {
  return command
    .option('--json', 'print the admin page itself, one line each with --watch')
    .option('--watch', 'look again every two seconds, until a signal')
    .option('--admin <address>', 'admin pages of the agent, ip:port or the path of a unix socket');
}

/**
 * Asks a running agent for one page, once or until a signal, and prints it. Resolves with the exit code; throws what
 * `adminAddress` and `askForPage` throw.
 */
export async function lookAtAgent<Schema extends GenericSchema>(
  host: Host,
  options: LookOptions,
  look: Look<Schema>,
): Promise<number> {
  const listener = adminAddress(options.admin, host.env, (path) => readFileSync(path, 'utf8'));
  if (options.watch) return watchAgent(systemClock, host, listener, options, look);
  const { page, json } = await askForPage(systemClock, listener, look.path, look.schema, look.timeoutMs);
  const lines = options.json ? [printableJson(json, 2)] : look.text(page, columnsOf(host));
  host.stdout.write(`${lines.join('\n')}\n`);
  return look.exitCode?.(page) ?? exitCodes.ok;
}

/** An agent that does not answer may answer the next time. */
async function watchAgent<Schema extends GenericSchema>(
  clock: Clock,
  host: Host,
  listener: AdminListener,
  options: LookOptions,
  look: Look<Schema>,
): Promise<number> {
  const stopping = new AbortController();
  const unsubscribe = host.onStopSignal(() => stopping.abort());
  const screen = createWatchScreen(host.stdout);
  while (!stopping.signal.aborted) {
    const seen = await askForPage(clock, listener, look.path, look.schema, look.timeoutMs).catch((error: unknown) => {
      // A question that is wrong stays wrong.
      if (error instanceof RemoraError && !(error instanceof UsageError)) return error;
      throw error;
    });
    const isAnswer = !(seen instanceof RemoraError);
    if (options.json) host.stdout.write(`${printableJson(isAnswer ? seen.json : { error: seen.message }, 0)}\n`);
    else screen.show(isAnswer ? look.text(seen.page, columnsOf(host)) : [seen.message]);
    await clock.sleep(watchIntervalMs, stopping.signal).catch(() => undefined);
  }
  unsubscribe();
  return exitCodes.ok;
}

const columnsOf = ({ stdout }: Host) => stdout.columns ?? usualColumns;
