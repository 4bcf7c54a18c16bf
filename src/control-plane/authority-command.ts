import { systemClock } from '../clock.ts';
import { createCommand, parseCommandLine } from '../command-line.ts';
import { exitCodes, UsageError } from '../errors.ts';
import type { Subcommand } from '../host.ts';
import { isTrustDomain } from '../identity/spiffe-id.ts';
import { createAuthorityDirectory } from './authority-directory.ts';
import { authorityFiles } from './authority-files.ts';
import { controlPlaneDefaults } from './control-plane.ts';

interface AuthorityFlags {
  readonly trustDomain: string;
}

/** `remora authority DIRECTORY`: makes the keys of a mesh once, for a Secret or another place that somebody else keeps. */
export const run: Subcommand = async (host) => {
  const parsed = parseCommandLine<AuthorityFlags>(commandLine(), host);
  if (parsed.kind === 'done') return parsed.exitCode;
  const [directory = ''] = parsed.arguments;
  const { trustDomain } = parsed.options;
  if (directory === '') throw new UsageError('<directory> is empty, expected the folder to make');
  if (!isTrustDomain(trustDomain)) {
    throw new UsageError(`--trust-domain=${trustDomain} is not usable, expected a trust domain such as cluster.local`);
  }
  await createAuthorityDirectory(directory, trustDomain, systemClock.now());
  host.stdout.write(nextSteps(directory, trustDomain));
  return exitCodes.ok;
};

function commandLine() {
  return createCommand('authority', 'Makes the root and the keys of a mesh, once')
    .argument('<directory>', 'where to make them; must not exist, or be empty')
    .option('--trust-domain <name>', 'name that identities begin with', controlPlaneDefaults.trustDomain);
}

function nextSteps(directory: string, trustDomain: string): string {
  const { root, rootKey, tokenKey } = authorityFiles;
  return [
    `The authority of ${trustDomain} is in ${directory}: manifests/install makes a Secret of it, remora control-plane --authority reads it`,
    `Everybody may have ${root}. Keep ${rootKey} and ${tokenKey}, and keep them to yourself: whoever has them is every workload`,
    '',
  ].join('\n');
}
