import { readFileSync } from 'node:fs';
import type { CertificatesPage } from '../../admin-api.ts';
import { adminPaths, certificatesPage } from '../../admin-api.ts';
import type { Clock } from '../../clock.ts';
import { systemClock } from '../../clock.ts';
import { createCommand, parseCommandLine } from '../../command-line.ts';
import type { AdminListener } from '../../config/address-kinds.ts';
import { exitCodes, RemoraError } from '../../errors.ts';
import type { Host, Subcommand } from '../../host.ts';
import { printableJson } from '../../printable.ts';
import { adminAddress } from '../admin/address.ts';
import type { Answer } from '../admin/client.ts';
import { askForPage } from '../admin/client.ts';
import { certificatesText } from './page-text.ts';

interface Options {
  readonly json?: boolean;
  readonly watch?: boolean;
  readonly admin?: string;
}

/** Between two looks of `--watch`; milliseconds. */
const watchIntervalMs = 2000;
const clearScreen = '\u001b[H\u001b[J';

/**
 * `remora certs`: the certificates of a running agent, its renewals and trust bundles, and whether a root may be removed.
 * Exits with 0 while the identity is valid and 1 when it has lapsed, or there is none yet; with 69 when no agent answers.
 */
export const run: Subcommand = async (host) => {
  const command = createCommand('certs', "Show a running agent's certificates, and who needs which root")
    .option('--json', 'print the admin page itself, one line each with --watch')
    .option('--watch', 'look again every two seconds, until a signal')
    .option('--admin <address>', 'admin pages of the agent, ip:port or the path of a unix socket');
  const parsed = parseCommandLine<Options>(command, host);
  if (parsed.kind === 'done') return parsed.exitCode;
  const { admin, watch = false } = parsed.options;
  const listener = adminAddress(admin, host.env, (path) => readFileSync(path, 'utf8'));
  if (watch) return watchCertificates(systemClock, host, listener, parsed.options);
  const answer = await askForCertificates(systemClock, listener);
  host.stdout.write(`${textOf(answer, parsed.options)}\n`);
  return answer.page.isExpired ? exitCodes.failure : exitCodes.ok;
};

const askForCertificates = (clock: Clock, listener: AdminListener) =>
  askForPage(clock, listener, adminPaths.certificates, certificatesPage);

function textOf({ page, json }: Answer<CertificatesPage>, options: Options): string {
  if (options.json) return printableJson(json, options.watch ? 0 : 2);
  return certificatesText(page).join('\n');
}

/** An agent that does not answer may answer the next time. */
async function watchCertificates(clock: Clock, host: Host, listener: AdminListener, options: Options): Promise<number> {
  const stopping = new AbortController();
  const unsubscribe = host.onStopSignal(() => stopping.abort());
  const before = options.json ? '' : host.stdout.isTTY ? clearScreen : '\n';
  while (!stopping.signal.aborted) {
    const text = await askForCertificates(clock, listener).then(
      (answer) => textOf(answer, options),
      (error: unknown) => {
        if (!(error instanceof RemoraError)) throw error;
        return options.json ? JSON.stringify({ error: error.message }) : error.message;
      },
    );
    host.stdout.write(`${before}${text}\n`);
    await clock.sleep(watchIntervalMs, stopping.signal).catch(() => undefined);
  }
  unsubscribe();
  return exitCodes.ok;
}
