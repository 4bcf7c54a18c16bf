import { adminPaths, strictPreviewPage } from '../../admin-api.ts';
import { createCommand, parseCommandLine } from '../../command-line.ts';
import { exitCodes } from '../../errors.ts';
import type { Subcommand } from '../../host.ts';
import type { LookOptions } from '../admin/look.ts';
import { lookAtAgent, withLookOptions } from '../admin/look.ts';
import { isInTheWay, strictPreviewText } from './page-text.ts';

/**
 * `remora strict-preview`: what switching the ports of a running agent to STRICT now would break. Exits with 0 when that is
 * nothing that was seen, with 1 when something would break or nothing can be said, and with 69 when no agent answers.
 */
export const run: Subcommand = async (host) => {
  const command = createCommand('strict-preview', 'Show what switching to STRICT now would break');
  const parsed = parseCommandLine<LookOptions>(withLookOptions(command), host);
  if (parsed.kind === 'done') return parsed.exitCode;
  return lookAtAgent(host, parsed.options, {
    path: adminPaths.strictPreview,
    schema: strictPreviewPage,
    text: strictPreviewText,
    exitCode: (page) => (isInTheWay(page) ? exitCodes.failure : exitCodes.ok),
  });
};
