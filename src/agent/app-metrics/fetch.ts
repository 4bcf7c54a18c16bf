import type { Dispatcher } from 'undici';
import type { Address } from '../../addresses.ts';
import { formatAddress } from '../../addresses.ts';
import type { AppMetricsPlace } from '../../config/app-metrics.ts';
import { messageOf, UnavailableError } from '../../errors.ts';
import type { ApplicationScrapeFailure } from '../../outcomes.ts';
import { version } from '../../version.ts';
import { dial } from '../app-health/dial.ts';
import { answerWords, clientOn } from '../app-health/http.ts';
import { createExpositionCheck } from './exposition.ts';

/** Why there is nothing of the application; the message is one sentence. */
export class AppMetricsError extends UnavailableError {
  readonly failure: ApplicationScrapeFailure;

  constructor(failure: ApplicationScrapeFailure, message: string, options?: ErrorOptions) {
    super(message, options);
    this.failure = failure;
  }
}

/** Bytes of the application's metrics, about 40,000 series. */
export const maxAppMetricsBytes = 4 * 1024 * 1024;

/** Bytes that are held against the grammar at once, so that an application that writes line by line costs no more. */
const pieceBytes = 16 * 1024;

export interface Errand {
  readonly place: AppMetricsPlace;
  /** The address of this pod that was scraped. */
  readonly ip: string;
  /** What the application is told of how long the scrape waits. */
  readonly timeoutSeconds: number;
}

/**
 * The application's metrics, valid text of format 0.0.4 whose last line is whole and without a family of ours. One request
 * on a connection of its own, with no header of whoever scrapes. Throws `AppMetricsError`, or the signal's reason.
 */
export async function fetchAppMetrics({ place, ip, timeoutSeconds }: Errand, signal: AbortSignal): Promise<Uint8Array> {
  const { socket, address } = await dialApplication(ip, place.port, signal);
  const client = clientOn(socket, address, false);
  const name = formatAddress(address);
  try {
    const answer = await client.request({
      method: 'GET',
      path: place.path,
      headers: {
        host: name,
        'user-agent': `remora/${version}`,
        accept: 'text/plain;version=0.0.4',
        'accept-encoding': 'identity',
        'x-prometheus-scrape-timeout-seconds': String(timeoutSeconds),
      },
      reset: true,
      signal,
    });
    // Leaving a body before its end is an error event to undici.
    answer.body.on('error', () => undefined);
    refuseUnusable(answer, name);
    return await readPage(answer.body, name);
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    if (error instanceof AppMetricsError) throw error;
    throw new AppMetricsError('unreachable', answerWords(name, error), { cause: error });
  } finally {
    socket.destroy();
    await client.destroy();
  }
}

/** On the address that was scraped, as its neighbours reach it, or else on loopback, where it may be for the pod alone. */
async function dialApplication(ip: string, port: number, signal: AbortSignal) {
  const failures: unknown[] = [];
  for (const candidate of new Set([ip, '127.0.0.1', '::1'])) {
    const address: Address = { ip: candidate, port };
    try {
      return { socket: await dial({ address, name: formatAddress(address) }, false, signal), address };
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      failures.push(error);
    }
  }
  throw new AppMetricsError('unreachable', `${messageOf(failures[0])}, nor is there anything on loopback`, {
    cause: failures[0],
  });
}

function refuseUnusable({ statusCode, headers }: Dispatcher.ResponseData, name: string): void {
  if (statusCode !== 200) throw new AppMetricsError('status', `${name} answered ${statusCode}, expected 200`);
  const header = (of: 'content-type' | 'content-encoding' | 'content-length') => [headers[of] ?? ''].flat().join(',');
  // Without one it is text, as Prometheus took it before its third version.
  if (!/^\s*(?:text\/plain\s*(?:;|$)|$)/i.test(header('content-type')))
    throw new AppMetricsError('content_type', `${name} answered with another content type than text/plain`);
  if (!/^\s*(?:identity\s*)?$/i.test(header('content-encoding')))
    throw new AppMetricsError('content_type', `${name} answered with a content encoding, expected none`);
  if (Number(header('content-length')) > maxAppMetricsBytes) throw tooLarge(name);
}

const tooLarge = (name: string) =>
  new AppMetricsError('too_large', `${name} answered with more than ${maxAppMetricsBytes / 1024 ** 2} MiB`);

async function readPage(body: AsyncIterable<Uint8Array>, name: string): Promise<Uint8Array> {
  const check = createExpositionCheck();
  const refuse = (fault: ReturnType<typeof check.end>) => {
    if (fault !== undefined)
      throw new AppMetricsError(fault.result, `${name} answered with what is not valid on ${fault.why}`);
  };
  let page = Buffer.allocUnsafe(pieceBytes);
  let length = 0;
  let checked = 0;
  const append = (chunk: Uint8Array) => {
    if (length + chunk.length > maxAppMetricsBytes) throw tooLarge(name);
    const room = Math.max(length + chunk.length, Math.min(2 * page.length, maxAppMetricsBytes));
    if (length + chunk.length > page.length) page = Buffer.concat([page], room);
    page.set(chunk, length);
    length += chunk.length;
  };
  for await (const chunk of body) {
    append(chunk);
    if (length - checked < pieceBytes) continue;
    refuse(check.take(page.subarray(checked, length)));
    checked = length;
  }
  refuse(check.take(page.subarray(checked, length)) ?? check.end());
  if (length > 0 && page[length - 1] !== lineFeed) append(Uint8Array.of(lineFeed));
  // Without the room that was left, which would be held with it.
  return new Uint8Array(page.subarray(0, length));
}

const lineFeed = 0x0a;
