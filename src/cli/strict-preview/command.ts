import { adminPaths, strictPreviewPage } from '../../admin-api.ts';
import { createCommand, parseCommandLine } from '../../command-line.ts';
import { exitCodes, UsageError } from '../../errors.ts';
import type { Subcommand } from '../../host.ts';
import type { LookOptions } from '../admin/look.ts';
import { lookAtAgent, withLookOptions } from '../admin/look.ts';
import { isInTheWay, strictPreviewText } from './page-text.ts';

interface Options extends LookOptions {
  readonly namespace?: string;
  readonly mesh?: true;
  readonly stateDir?: string;
  readonly adminSocket?: string;
}

/**
 * `remora strict-preview`: what switching the ports of a running agent to STRICT now would break; or those of a namespace or
 * of the mesh, as a control plane knows it. Exits with 0 when that is nothing that was seen, with 1 when something would break
 * or is not known, and with 69 when nobody answers.
 */
export const run: Subcommand = async (host) => {
  const parsed = parseCommandLine<Options>(commandLine(), host);
  if (parsed.kind === 'done') return parsed.exitCode;
  const { namespace, mesh, stateDir, adminSocket, ...look } = parsed.options;
  if (namespace === undefined && mesh === undefined) {
    if (stateDir !== undefined || adminSocket !== undefined)
      throw new UsageError('Expected --namespace or --mesh beside --state-dir and --admin-socket');
    return lookAtAgent(host, look, {
      path: adminPaths.strictPreview,
      schema: strictPreviewPage,
      text: strictPreviewText,
      exitCode: (page) => (isInTheWay(page) ? exitCodes.failure : exitCodes.ok),
    });
  }
  if (namespace !== undefined && mesh !== undefined) throw new UsageError('Expected one of --namespace and --mesh');
  if (look.watch || look.admin !== undefined)
    throw new UsageError('Expected --watch and --admin for an agent alone, without --namespace and --mesh');
  const { previewMesh } = await import('../../control-plane/preview/strict-command.ts');
  const place = { ...(stateDir !== undefined && { stateDir }), ...(adminSocket !== undefined && { adminSocket }) };
  return previewMesh(host, { namespace, ...place, json: look.json === true });
};

function commandLine() {
  return withLookOptions(createCommand('strict-preview', 'Show what switching to STRICT now would break'))
    .option('--namespace <name>', 'all workloads of a namespace, as the control plane knows it')
    .option('--mesh', 'all workloads that the control plane knows')
    .option('--state-dir <directory>', 'state directory of the control plane, with --namespace or --mesh')
    .option('--admin-socket <path>', 'its admin socket, where that is not in the state directory');
}
