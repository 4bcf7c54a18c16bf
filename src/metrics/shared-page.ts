import type { Clock } from '../clock.ts';
import type { ExpositionFormat } from './exposition.ts';

/** So long lie at least between the beginnings of two pages; milliseconds. A Prometheus asks every few seconds. */
export const pageSpacingMs = 50;

/** Makes the whole page, as it is now. */
export interface MetricsText {
  text(format: ExpositionFormat): Promise<string>;
}

/** A page as it is sent. */
export interface SharedPage {
  text(format: ExpositionFormat): Promise<Buffer>;
}

/**
 * A page that no number of scrapers can have made more often than that: who asks sooner waits for the next one, which all of
 * them share. Each gets a page that was begun after it asked, and they get it one by one, a turn of the event loop each: what
 * else is due is not behind a crowd of answers.
 */
export function sharedPage(clock: Pick<Clock, 'monotonic' | 'sleep'>, page: MetricsText): SharedPage {
  const next = new Map<ExpositionFormat, Promise<Buffer>>();
  const begunMs = new Map<ExpositionFormat, number>();
  let lastTurn = Promise.resolve();
  const inTurn = () => {
    lastTurn = lastTurn.then(() => new Promise((resolve) => setImmediate(resolve)));
    return lastTurn;
  };
  const begin = async (format: ExpositionFormat) => {
    begunMs.set(format, clock.monotonic());
    return Buffer.from(await page.text(format));
  };
  return {
    async text(format) {
      const dueInMs = (begunMs.get(format) ?? Number.NEGATIVE_INFINITY) + pageSpacingMs - clock.monotonic();
      let due = next.get(format);
      if (due === undefined && dueInMs <= 0) return begin(format);
      due ??= clock.sleep(dueInMs).then(() => {
        next.delete(format);
        return begin(format);
      });
      next.set(format, due);
      const page = await due;
      await inTurn();
      return page;
    },
  };
}
