import { access, readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import type { ToolOptions } from '../../system-tool.ts';
import { runTool } from '../../system-tool.ts';
import { namespaceNames } from './janitor.ts';

/** Every process of a demo has it in its environment, with the name of the demo. */
export const runVariable = 'DEMO_RUN';

/** What the rules of this machine, not of a pod, were before the demo. */
export type RulesBefore = readonly string[];

/** The tables of nftables in this namespace; none where they cannot be listed. */
export async function ruleTables(env: ToolOptions['env']): Promise<RulesBefore> {
  const result = await runTool('nft', ['list', 'tables'], { env });
  return result.kind === 'ended' && result.status === 0 ? result.stdout.split('\n').filter(Boolean) : [];
}

/** What is still there of a demo that has cleaned up; each a few words for a person. */
export async function findLeftovers(
  name: string,
  rulesBefore: RulesBefore,
  env: ToolOptions['env'],
): Promise<string[]> {
  const namespaces = (await namespaceNames(env)).filter((namespace) => namespace.startsWith(`${name}-`));
  const rules = (await ruleTables(env)).filter((table) => !rulesBefore.includes(table));
  const files = (await readdir(tmpdir())).filter((file) => file.startsWith(`${name}-`));
  return [
    ...namespaces.map((namespace) => `namespace ${namespace}`),
    ...rules.map((table) => `rules ${table}`),
    ...(await processesOf(name)).map((process) => `process ${process}`),
    ...files.map((file) => `folder ${tmpdir()}/${file}`),
  ];
}

/** Looks at every process that this user may look at. */
async function processesOf(name: string): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await readdir('/proc')).filter((entry) => /^\d+$/.test(entry))) {
    const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
    if (!environment.split('\0').includes(`${runVariable}=${name}`)) continue;
    // One that has ended and only waits to be counted by its parent has no program any more.
    const isThere = await access(`/proc/${pid}/exe`).then(
      () => true,
      () => false,
    );
    if (isThere) found.push(pid);
  }
  return found;
}
