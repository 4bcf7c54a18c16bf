import { systemClock } from '../../clock.ts';
import { createCommand, parseCommandLine } from '../../command-line.ts';
import { formatDuration, parseDuration } from '../../durations.ts';
import { exitCodes, UnavailableError, UsageError } from '../../errors.ts';
import type { Subcommand } from '../../host.ts';
import { sidecarPorts } from '../../ports.ts';
import { waitUntilReady } from './wait.ts';

const longestTimeoutMs = 3_600_000;
const readyUrl = `http://127.0.0.1:${sidecarPorts.health}/healthz/ready`;

/**
 * `remora wait`: exits with 0 as soon as the sidecar of this pod is ready. As the postStart hook of a sidecar container it
 * holds back the containers behind it, so that an application starts with its network in place.
 */
export const run: Subcommand = async (host) => {
  const command = createCommand('wait', 'Wait until the sidecar of this pod is ready')
    .option('--timeout <duration>', 'give up after this time', '60s')
    .option('--url <url>', 'where the sidecar tells whether it is ready', readyUrl);
  const parsed = parseCommandLine<{ timeout: string; url: string }>(command, host);
  if (parsed.kind === 'done') return parsed.exitCode;
  const timeoutMs = parseDuration(parsed.options.timeout) ?? Number.NaN;
  if (!(timeoutMs > 0 && timeoutMs <= longestTimeoutMs)) {
    const upTo = formatDuration(longestTimeoutMs);
    throw new UsageError(`--timeout is '${parsed.options.timeout}', expected a duration such as 60s, at most ${upTo}`);
  }
  const url = URL.parse(parsed.options.url);
  if (url?.protocol !== 'http:')
    throw new UsageError(`--url is '${parsed.options.url}', expected one such as ${readyUrl}`);
  const waited = await waitUntilReady(systemClock, url, timeoutMs);
  if (waited.kind === 'ready') return exitCodes.ok;
  throw new UnavailableError(
    `The sidecar at ${url.host} is not ready after ${formatDuration(timeoutMs)}: ${waited.why}`,
  );
};
