import { adminPaths } from '../../admin-api.ts';
import { createCommand, parseCommandLine } from '../../command-line.ts';
import { exitCodes, UsageError } from '../../errors.ts';
import type { ExplainPage, InboundPage, OutboundPage, ShownOutbound } from '../../explain-api.ts';
import { explainPage } from '../../explain-api.ts';
import type { Subcommand } from '../../host.ts';
import type { LookOptions } from '../admin/look.ts';
import { lookAtAgent, withLookOptions } from '../admin/look.ts';
import { explainText } from './page-text.ts';

interface Options extends LookOptions {
  readonly to?: string;
  readonly from?: string;
  readonly port?: string;
  readonly at?: string;
}

/** The agent waits for a name and for its control plane, as a connection would and not for longer than 6 s each; milliseconds. */
export const explainTimeoutMs = 15_000;

/**
 * `remora explain`: what would become of a connection now, step by step, and why. Exits with 0 when it would be carried or
 * is not meant to pass the sidecar, with 1 when it would be refused, goes around it, or failed lately, or when nothing is known of a connection id.
 */
export const run: Subcommand = async (host) => {
  const command = createCommand('explain', 'Say what would become of a connection, step by step, and why')
    .argument('[id]', 'of a connection that is open or failed lately, as the log of either side has it')
    .option('--to <address:port>', 'a connection of the application; a name is looked up')
    .option('--from <peer>', 'a connection to this pod: a SPIFFE ID, an IP address, or plaintext')
    .option('--port <port>', 'with --from: the port of this pod, else all of them')
    .option('--at <address>', 'with --from a SPIFFE ID: the address that it comes from, for policies that look at it');
  const parsed = parseCommandLine<Options>(withLookOptions(command), host);
  if (parsed.kind === 'done') return parsed.exitCode;
  return lookAtAgent(host, parsed.options, {
    path: `${adminPaths.explain}?${questionOf(parsed.options, parsed.arguments[0])}`,
    schema: explainPage,
    text: explainText,
    exitCode: (page) => (isRefused(page) ? exitCodes.failure : exitCodes.ok),
    timeoutMs: explainTimeoutMs,
  });
};

function questionOf({ to, from, port, at }: Options, id: string | undefined): URLSearchParams {
  const asked = given({ to, from, id });
  if (asked.length !== 1 || ((port ?? at) !== undefined && from === undefined))
    throw new UsageError(
      'Expected one of --to <address:port>, --from <peer> with or without --port and --at, and a connection id',
    );
  return new URLSearchParams([...asked, ...given({ port, at })]);
}

const given = (values: Readonly<Record<string, string | undefined>>) =>
  Object.entries(values).filter((entry): entry is [string, string] => entry[1] !== undefined);

/** Any address of a name counts; of all ports those that most connections are for. */
function isRefused(page: ExplainPage): boolean {
  return page.kind === 'id' ? page.again === null || isRefusedNow(page.again) : isRefusedNow(page);
}

function isRefusedNow(page: OutboundPage | InboundPage): boolean {
  if (page.kind === 'from') return page.ports[0] !== undefined && isTrouble(page.ports[0]);
  return page.lookupFailure !== undefined || page.destinations.some(isTrouble);
}

const isTrouble = ({ verdict, lately }: Pick<ShownOutbound, 'verdict' | 'lately'>): boolean =>
  lately !== undefined || verdict.kind === 'refused' || verdict.kind === 'goes_around';
