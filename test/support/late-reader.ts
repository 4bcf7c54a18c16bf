import { Duplex } from 'node:stream';
import type { Leg } from '../../src/proxy/leg.ts';

/** A leg whose application takes what it is sent only when it is told to. */
export interface LateReader {
  readonly leg: Leg;
  /** Resolves when it has been sent something. */
  readonly firstWrite: Promise<void>;
  read(): void;
  write(bytes: Buffer): void;
  /** What it has taken. */
  received(): Buffer;
}

/** `hasFinished`: it sends nothing but its end, at once. */
export function createLateReader({ hasFinished = false } = {}): LateReader {
  const taken: Buffer[] = [];
  const reading = Promise.withResolvers<void>();
  const written = Promise.withResolvers<void>();
  const stream = new Duplex({
    highWaterMark: 1,
    read() {
      if (hasFinished) this.push(null);
    },
    write(chunk: Buffer, _encoding, done) {
      written.resolve();
      void reading.promise.then(() => {
        taken.push(chunk);
        done();
      });
    },
  });
  const leg: Leg = {
    stream,
    endedCleanly: () => true,
    mustBeEmptied: () => false,
    closedCleanly: () => stream.readableEnded && stream.writableFinished,
    abort: (error) => void stream.destroy(error),
    gathersWrites: false,
  };
  return {
    leg,
    firstWrite: written.promise,
    read: () => reading.resolve(),
    write: (bytes) => void stream.push(bytes),
    received: () => Buffer.concat(taken),
  };
}
