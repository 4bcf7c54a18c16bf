import { adminPaths, handshakesPage } from '../../admin-api.ts';
import { createCommand, parseCommandLine } from '../../command-line.ts';
import type { Subcommand } from '../../host.ts';
import type { LookOptions } from '../admin/look.ts';
import { lookAtAgent, withLookOptions } from '../admin/look.ts';
import { handshakesText } from './page-text.ts';

/** `remora handshakes`: those that failed last, and what to do. Exits with 0, or with 69 when no agent answers. */
export const run: Subcommand = async (host) => {
  const command = createCommand('handshakes', "Show a running agent's handshakes that failed last, and what to do");
  const parsed = parseCommandLine<LookOptions>(withLookOptions(command), host);
  if (parsed.kind === 'done') return parsed.exitCode;
  return lookAtAgent(host, parsed.options, {
    path: adminPaths.handshakes,
    schema: handshakesPage,
    text: handshakesText,
  });
};
