import type { IncomingMessage, ServerResponse } from 'node:http';
import { canonicalIp } from '../../addresses.ts';
import type { Clock } from '../../clock.ts';
import { appMetricsPlace } from '../../config/app-metrics.ts';
import { messageOf } from '../../errors.ts';
import { createLineRate } from '../../line-rate.ts';
import type { Log } from '../../log.ts';
import type { ApplicationScrapeFailure, ApplicationScrapeResult } from '../../outcomes.ts';
import { applicationScrapeFailures } from '../../outcomes.ts';
import { withDeadline } from '../deadline.ts';
import type { Errand } from './fetch.ts';
import { AppMetricsError, fetchAppMetrics } from './fetch.ts';

export interface AppMetricsParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly place: Errand['place'];
  readonly counter: { applicationScraped(result: ApplicationScrapeResult): void };
}

export interface AppMetrics {
  /**
   * What follows our own families in the answer to this request; empty when the application gave nothing that can. Never
   * rejects, and takes no longer than whoever scrapes waits.
   */
  after(request: IncomingMessage, response: ServerResponse): Promise<Uint8Array>;
}

export const appMetricsLimits = {
  /** Without word of how long it waits, a scrape waits as long as one of Prometheus does by default. */
  timeoutSeconds: 10,
  /** However long it says that it waits. */
  mostSeconds: 30,
  /** The part of its wait in which the application has to answer; the rest is for our own families and the way. */
  share: 0.9,
  /**
   * What the application is told of how long a scrape waits, whoever asks: one answer is for all who come before it, and the
   * word of a stranger must not make it early and poor, or late, for a Prometheus.
   */
  toldSeconds: 9,
  /** Between the beginnings of two requests to the application, at least: to check a large page is work. */
  spacingSeconds: 1,
  /** For each way in which it may fail. */
  linesPerSecond: 1 / 60,
} as const;

const nothing = new Uint8Array();

/** One request to the application, for all scrapes that come before its answer. */
interface Flight {
  readonly page: Promise<Uint8Array>;
  waiting: number;
  readonly stop: () => void;
}

/** Merges the application's own metrics into ours: anybody may ask, and nothing that the application does can break ours. */
export function createAppMetrics({ clock, log, place, counter }: AppMetricsParts): AppMetrics {
  const { mostSeconds, toldSeconds, spacingSeconds, linesPerSecond } = appMetricsLimits;
  const passes = createLineRate<ApplicationScrapeFailure>(clock, { linesPerSecond, burst: 1 });
  let flight: Flight | undefined;
  let lastMs = Number.NEGATIVE_INFINITY;

  const fetchInTurn = async (ip: string, signal: AbortSignal) => {
    const dueInMs = lastMs + spacingSeconds * 1000 - clock.monotonic();
    if (dueInMs > 0) await clock.sleep(dueInMs, signal);
    lastMs = clock.monotonic();
    return fetchAppMetrics({ place, ip, timeoutSeconds: toldSeconds }, signal);
  };

  const begin = (ip: string): Flight => {
    const left = new AbortController();
    const page = withDeadline(clock, mostSeconds * 1000, late, left.signal, (signal) => fetchInTurn(ip, signal));
    const begun = { page, waiting: 0, stop: () => left.abort(new Error('Nobody waits for the metrics any longer')) };
    const end = () => {
      if (flight === begun) flight = undefined;
    };
    page.then(end, end);
    return begun;
  };

  /** It goes on while anybody waits for it: whose patience is short must not end it for the others. */
  const join = async (ip: string, waitsSeconds: number, gone: AbortSignal): Promise<Uint8Array> => {
    flight ??= begin(ip);
    const joined = flight;
    joined.waiting += 1;
    try {
      return await withDeadline(clock, waitsSeconds * 1000, late, gone, () => joined.page);
    } finally {
      joined.waiting -= 1;
      if (joined.waiting === 0) joined.stop();
    }
  };

  const leftOut = (error: unknown) => {
    // Anything else is a mistake of ours, and no reason either to break our own families.
    const result = error instanceof AppMetricsError ? error.failure : 'unreachable';
    counter.applicationScraped(result);
    if (!passes(result)) return;
    const { happened, remedy } = applicationScrapeFailures[result];
    // Without the query, in which a password may be.
    const [appMetrics] = appMetricsPlace.show(place).split('?');
    log.warn({ result, appMetrics, detail: messageOf(error), remedy }, happened);
  };

  return {
    async after(request, response) {
      const ip = canonicalIp(request.socket.localAddress ?? '');
      const gone = new AbortController();
      response.once('close', () => gone.abort(new Error('Nobody takes the answer any longer')));
      if (ip === undefined || response.closed) return nothing;
      try {
        const page = await join(ip, waitsSecondsOf(request), gone.signal);
        if (gone.signal.aborted) return nothing;
        counter.applicationScraped('success');
        return page;
      } catch (error) {
        if (!gone.signal.aborted) leftOut(error);
        return nothing;
      }
    },
  };
}

const late = () => new AppMetricsError('timeout', 'There was no whole answer in time');

/** How long this scrape waits for the application, by what Prometheus says of its own patience. */
function waitsSecondsOf({ headers }: IncomingMessage): number {
  const { timeoutSeconds, mostSeconds, share } = appMetricsLimits;
  const given = headers['x-prometheus-scrape-timeout-seconds'];
  const text = typeof given === 'string' && /^\d{1,9}(?:\.\d{1,9})?$/.test(given) ? given : String(timeoutSeconds);
  return Math.min(Number(text), mostSeconds) * share;
}
