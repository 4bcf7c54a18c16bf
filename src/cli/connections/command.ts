import { adminPaths, connectionsPage } from '../../admin-api.ts';
import { createCommand, parseCommandLine } from '../../command-line.ts';
import type { Subcommand } from '../../host.ts';
import type { LookOptions } from '../admin/look.ts';
import { lookAtAgent, withLookOptions } from '../admin/look.ts';
import { connectionsText } from './page-text.ts';

/** `remora connections`: what a running agent carries now. Exits with 0, or with 69 when no agent answers. */
export const run: Subcommand = async (host) => {
  const command = createCommand('connections', 'Show the connections that a running agent carries');
  const parsed = parseCommandLine<LookOptions>(withLookOptions(command), host);
  if (parsed.kind === 'done') return parsed.exitCode;
  return lookAtAgent(host, parsed.options, {
    path: adminPaths.connections,
    schema: connectionsPage,
    text: connectionsText,
  });
};
