import { pino } from 'pino';

/** Standard output for a log. Lines that it has no room for are dropped; it tells of each as the event `drop`. */
export type LogOutput = ReturnType<typeof pino.destination>;

/**
 * `bytes` wait at most for a reader that has stopped reading, some two thousand lines: without a bound they would grow
 * until the process dies of them. At the end of the process the reader has `exitRetries` more tenths of a second.
 */
export const logOutputLimits = { bytes: 1024 * 1024, exitRetries: 10 };

/** Writes beside the event loop, so that a full pipe stalls nobody's connection. */
export function createLogOutput(): LogOutput {
  let retries = Number.POSITIVE_INFINITY;
  const retryEAGAIN = () => {
    retries -= 1;
    return retries >= 0;
  };
  const output = pino.destination({ dest: 1, sync: false, maxLength: logOutputLimits.bytes, retryEAGAIN });
  const flushSync = output.flushSync.bind(output);
  // Called at the exit of the process, which it would hold up for as long as nobody reads.
  output.flushSync = () => {
    retries = logOutputLimits.exitRetries;
    try {
      flushSync();
    } catch {
      // What nobody has read until now ends with the process.
    } finally {
      retries = Number.POSITIVE_INFINITY;
    }
  };
  return output;
}
