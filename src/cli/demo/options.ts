import { createCommand, parseCommandLine } from '../../command-line.ts';
import { UsageError } from '../../errors.ts';
import type { Host } from '../../host.ts';

/** The command line of `remora demo`. */
export interface DemoOptions {
  /** Runs for a while, checks what it promises, and ends. */
  readonly once: boolean;
  /** The last line of standard output is a JSON object. */
  readonly json: boolean;
  /** Does not even try to make namespaces. */
  readonly loopback: boolean;
}

/** Reads the command line, or answers it with help. Throws `UsageError`. */
export function readOptions(
  host: Host,
): { readonly kind: 'options'; readonly options: DemoOptions } | { readonly kind: 'done'; readonly exitCode: number } {
  refuseSwallowed(host.env);
  const parsed = parseCommandLine<Partial<DemoOptions>>(commandLine(), host);
  if (parsed.kind === 'done') return parsed;
  const { once = false, json = false, loopback = false } = parsed.options;
  if (json && !once)
    throw new UsageError('--json is given without --once, expected both: it prints one result at the end');
  return { kind: 'options', options: { once, json, loopback } };
}

/** npm keeps what is not behind `--` for itself, and passes it on as variables. */
function refuseSwallowed(env: Host['env']): void {
  for (const option of ['once', 'loopback']) {
    if (env[`npm_config_${option}`] !== undefined && env.npm_lifecycle_event === 'start') {
      throw new UsageError(`npm kept --${option} for itself, expected npm start -- --${option}`);
    }
  }
}

function commandLine() {
  return createCommand('demo', 'Runs a whole mesh on this machine and shows it: a control plane and three pods')
    .option('--once', 'run for about 15 seconds, check what the mesh promises, exit 0 only if all of it holds')
    .option('--json', 'with --once: print the result as one line of JSON, and everything else to standard error')
    .option('--loopback', 'run on loopback with explicit listeners, as where namespaces are not permitted')
    .addHelpText(
      'after',
      '\nWith root it makes four network namespaces and removes them when it ends; without it runs on loopback.',
    );
}
