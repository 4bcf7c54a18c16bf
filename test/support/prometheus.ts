import { execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { isOnPath } from './pods.ts';

/** Why tests with Prometheus cannot run here; undefined when they can. */
export const noPrometheusBecause =
  isOnPath('promtool') && isOnPath('prometheus') ? undefined : 'needs the package prometheus';

/** What promtool says, and its exit code; `input` is its standard input. */
export function promtool(
  args: readonly string[],
  input = '',
): { readonly status: number | null; readonly said: string } {
  const { status, stdout, stderr } = spawnSync('promtool', args, { encoding: 'utf8', input });
  return { status, said: stdout + stderr };
}

/** A series of an answer, with its value of now. */
export interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [number, string];
}

/** An alert that is pending or firing. */
export interface ActiveAlert {
  readonly state: 'pending' | 'firing';
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface Target {
  readonly health: string;
  readonly lastError: string;
  readonly labels: Readonly<Record<string, string>>;
}

export interface Rule {
  readonly name: string;
  readonly health: string;
  readonly lastError?: string;
}

/** A real Prometheus. */
export interface Prometheus {
  /** Rejects with its own words when the query is wrong. */
  query(expression: string): Promise<readonly Sample[]>;
  alerts(): Promise<readonly ActiveAlert[]>;
  targets(): Promise<readonly Target[]>;
  rules(): Promise<readonly Rule[]>;
  stop(): Promise<void>;
}

/** Of the namespace, where nobody else is. */
const address = '127.0.0.1:9090';

/** Starts it in a network namespace, with its files in `folder`; resolves when it answers. */
export async function startPrometheus(namespace: string, folder: string, config: object): Promise<Prometheus> {
  const file = join(folder, 'prometheus.yaml');
  await writeFile(file, stringify(config, { aliasDuplicateObjects: false }));
  const inNamespace = ['netns', 'exec', namespace];
  const child = spawn(
    'ip',
    [
      ...inNamespace,
      'prometheus',
      ...[`--config.file=${file}`, `--storage.tsdb.path=${join(folder, 'data')}`, `--web.listen-address=${address}`],
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  const exited = once(child, 'exit');
  await whenReady(child.stderr, exited);

  const ask = async <Data>(path: string, ...form: readonly string[]): Promise<Data> => {
    const fields = form.flatMap((field) => ['--data-urlencode', field]);
    const curl = ['curl', '-sS', '--max-time', '20', '--get', ...fields, `http://${address}/api/v1/${path}`];
    const { stdout } = await promisify(execFile)('ip', [...inNamespace, ...curl], { maxBuffer: 2 ** 24 });
    const { status, error, data } = JSON.parse(stdout) as { status: string; error?: string; data: Data };
    if (status !== 'success') throw new Error(`${form}: ${error}`);
    return data;
  };
  return {
    query: async (expression) => (await ask<{ result: Sample[] }>('query', `query=${expression}`)).result,
    alerts: async () => (await ask<{ alerts: ActiveAlert[] }>('alerts')).alerts,
    targets: async () => (await ask<{ activeTargets: Target[] }>('targets')).activeTargets,
    rules: async () => (await ask<{ groups: { rules: Rule[] }[] }>('rules')).groups.flatMap(({ rules }) => rules),
    async stop() {
      child.kill();
      await exited;
    },
  };
}

async function whenReady(output: NodeJS.ReadableStream, exited: Promise<unknown>): Promise<void> {
  const said: string[] = [];
  const ready = Promise.withResolvers<void>();
  // Read to its end: a full pipe would stop it.
  createInterface({ input: output }).on('line', (line) => {
    said.push(line);
    if (line.includes('Server is ready to receive web requests')) ready.resolve();
  });
  const ended = exited.then(() => {
    throw new Error(`Prometheus ended: ${said.slice(-3).join('\n')}`);
  });
  ended.catch(() => undefined);
  await Promise.race([ready.promise, ended]);
}
