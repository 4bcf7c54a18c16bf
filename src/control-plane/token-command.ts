import { systemClock } from '../clock.ts';
import { createCommand, parseCommandLine } from '../command-line.ts';
import { duration } from '../config/kinds.ts';
import { tokenAudience } from '../control-api.ts';
import { exitCodes, UsageError } from '../errors.ts';
import type { Subcommand } from '../host.ts';
import { trustDomainOf } from './authority.ts';
import { readAuthorityDirectory } from './authority-directory.ts';
import type { AuthorityKeys } from './authority-files.ts';
import { readStateDirectory } from './state-directory.ts';
import type { TokenRequest } from './token-issuer.ts';
import { createTokenIssuer, defaultTokenIssuer, tokenRequestProblems } from './token-issuer.ts';

interface TokenFlags extends Omit<TokenRequest, 'lifetimeMs'> {
  readonly stateDir?: string;
  readonly authority?: string;
  readonly lifetime: string;
  readonly tokenIssuer?: string;
}

/** How long a token may live. */
const lifetime = duration(1_000, 365 * 86_400_000);

/** `remora token`: prints one workload token of the embedded issuer and nothing else. */
export const run: Subcommand = async (host) => {
  const parsed = parseCommandLine<TokenFlags>(commandLine(), host);
  if (parsed.kind === 'done') return parsed.exitCode;
  const { stateDir, authority, tokenIssuer, ...request } = parsed.options;
  const lifetimeMs = lifetime.parse(request.lifetime);
  const problems = tokenRequestProblems(request);
  if (lifetimeMs === undefined)
    problems.push(`--lifetime=${request.lifetime} is not ${lifetime.name}, expected ${lifetime.expected}`);
  if (problems.length > 0) throw new UsageError(problems.join('\n'));
  const { root, tokenKey } = await readKeys(stateDir, authority);
  const issuer = tokenIssuer ?? defaultTokenIssuer(trustDomainOf(root.certificate));
  const tokens = await createTokenIssuer(tokenKey, issuer, systemClock);
  host.stdout.write(`${await tokens.mint({ ...request, lifetimeMs })}\n`);
  return exitCodes.ok;
};

function readKeys(stateDirectory: string | undefined, authority: string | undefined): Promise<AuthorityKeys> {
  if (stateDirectory !== undefined && authority === undefined) return readStateDirectory(stateDirectory);
  if (stateDirectory === undefined && authority !== undefined) return readAuthorityDirectory(authority);
  throw new UsageError('Expected one of --state-dir and --authority, as they are given to the control plane');
}

function commandLine() {
  return createCommand('token', 'Prints a workload token, as a cluster would put it into the pod')
    .option('--state-dir <directory>', 'state directory of the control plane')
    .option('--authority <directory>', 'folder of the authority of the control plane')
    .requiredOption('--namespace <name>', 'namespace of the pod')
    .requiredOption('--service-account <name>', 'service account of the pod')
    .requiredOption('--pod <name>', 'name of the pod')
    .option('--pod-uid <uid>', 'UID of the pod (default: made from its names)')
    .option('--audience <name>', 'whom the token is for', tokenAudience)
    .option('--lifetime <duration>', 'how long it is valid', '1h')
    .option('--token-issuer <uri>', 'as given to the control plane (default: spiffe://<trust domain>)');
}
