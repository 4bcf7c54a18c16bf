import type { Registry } from 'prom-client';
import { Histogram } from 'prom-client';

/** Declares the lag of the event loop and returns what records it. A histogram: two scrapers see the same, and a peak between scrapes is in it. */
export function eventLoopLag(registry: Registry): (lagSeconds: number) => void {
  const lag = new Histogram({
    name: 'remora_event_loop_lag_seconds',
    help: 'How much later than due the event loop ran a timer, ten times a second, once while idle; what every connection waits besides',
    buckets: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [registry],
  });
  return (lagSeconds) => lag.observe(lagSeconds);
}
