import type { Families } from './family.ts';

/** What every process of Remora shows of itself. */
export const processFamilies = {
  remora_event_loop_lag_seconds: {
    type: 'histogram',
    help: 'How much later than due the event loop ran a timer, ten times a second, once while idle; what every connection waits besides',
    // A histogram: two scrapers see the same, and a peak between scrapes is in it.
    buckets: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
  },
} as const satisfies Families;
