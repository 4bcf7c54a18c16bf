import { writeSync } from 'node:fs';
import { pino } from 'pino';
import { codeOf } from './errors.ts';

/** Standard output for a log. Lines that it has no room for are dropped; it tells of each as the event `drop`. */
export type LogOutput = ReturnType<typeof pino.destination>;

/**
 * `bytes` wait at most for a reader that has stopped reading, some fifteen hundred lines: without a bound they would grow
 * until the process dies of them. At the end of the process the reader has `exitRetries` more tenths of a second.
 */
export const logOutputLimits = { bytes: 1024 * 1024, exitRetries: 10 };

/** What the library keeps of lines that are not written: text of several lines each. */
interface Unwritten {
  readonly fd: number;
  readonly _bufs: readonly string[];
  readonly _writing: boolean;
  readonly _writingBuf: string;
}

/** Writes beside the event loop, so that a full pipe stalls nobody's connection. */
export function createLogOutput(): LogOutput {
  const output = pino.destination({ dest: 1, sync: false, maxLength: logOutputLimits.bytes });
  // Called at the exit of the process, which the library's own would hold up for as long as nobody reads, and for ever
  // when the reader has gone.
  output.flushSync = () => {
    const { fd, _bufs: waiting, _writing: isWriting, _writingBuf: current } = output as unknown as Unwritten;
    writeWhileRead(fd, [isWriting ? '' : current, ...waiting].join(''));
  };
  return output;
}

/** What nobody has read by then ends with the process. */
function writeWhileRead(fd: number, text: string): void {
  let rest = Buffer.from(text);
  let retries = logOutputLimits.exitRetries;
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(fd, rest));
    } catch (error) {
      if (codeOf(error) !== 'EAGAIN' || retries === 0) return;
      retries -= 1;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
    }
  }
}
