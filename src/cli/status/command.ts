import { adminPaths, statusPage } from '../../admin-api.ts';
import { createCommand, parseCommandLine } from '../../command-line.ts';
import { exitCodes } from '../../errors.ts';
import type { Subcommand } from '../../host.ts';
import type { LookOptions } from '../admin/look.ts';
import { lookAtAgent, withLookOptions } from '../admin/look.ts';
import { statusText } from './page-text.ts';

/**
 * `remora status`: a running agent at one glance. Exits with 0 when it is ready and 1 when it is not; with 69 when no agent
 * answers.
 */
export const run: Subcommand = async (host) => {
  const command = createCommand('status', 'Show a running agent at one glance');
  const parsed = parseCommandLine<LookOptions>(withLookOptions(command), host);
  if (parsed.kind === 'done') return parsed.exitCode;
  return lookAtAgent(host, parsed.options, {
    path: adminPaths.status,
    schema: statusPage,
    text: statusText,
    exitCode: ({ isReady }) => (isReady ? exitCodes.ok : exitCodes.failure),
  });
};
