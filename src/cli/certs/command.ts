import { adminPaths, certificatesPage } from '../../admin-api.ts';
import { createCommand, parseCommandLine } from '../../command-line.ts';
import { exitCodes } from '../../errors.ts';
import type { Subcommand } from '../../host.ts';
import type { LookOptions } from '../admin/look.ts';
import { lookAtAgent, withLookOptions } from '../admin/look.ts';
import { certificatesText } from './page-text.ts';

/**
 * `remora certs`: the certificates of a running agent, its renewals and trust bundles, and whether a root may be removed.
 * Exits with 0 while the identity is valid and 1 when it has lapsed, or there is none yet; with 69 when no agent answers.
 */
export const run: Subcommand = async (host) => {
  const command = createCommand('certs', "Show a running agent's certificates, and who needs which root");
  const parsed = parseCommandLine<LookOptions>(withLookOptions(command), host);
  if (parsed.kind === 'done') return parsed.exitCode;
  return lookAtAgent(host, parsed.options, {
    path: adminPaths.certificates,
    schema: certificatesPage,
    text: certificatesText,
    exitCode: ({ isExpired }) => (isExpired ? exitCodes.failure : exitCodes.ok),
  });
};
