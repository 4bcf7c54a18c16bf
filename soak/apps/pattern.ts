import { diceOf, hashOf } from '../dice.ts';

/** A prime, so that no size of a buffer, window or record is a multiple of it: bytes that move by one of these differ. */
const period = 65_521;
/** The longest piece that is compared or sent at once. */
const longest = 65_536;

const bytes = makeBytes();

function makeBytes(): Buffer {
  const dice = diceOf(0, 'pattern');
  const once = Buffer.from(Array.from({ length: period }, () => dice.whole(0, 255)));
  return Buffer.concat([once, once, once]);
}

/** The bytes of one direction of one connection: each is known from the place at which it stands. */
export interface Pattern {
  /** At most 64 KiB from `offset` on. */
  at(offset: number, length: number): Buffer;
  /** Whether `chunk` is what stands at `offset`. */
  matches(offset: number, chunk: Buffer): boolean;
}

/** Two streams begin at different places, so that bytes of one in the other are seen. */
export function patternOf(stream: string): Pattern {
  const start = hashOf(stream) % period;
  const at = (offset: number, length: number) => {
    const from = (start + offset) % period;
    return bytes.subarray(from, from + Math.min(length, longest));
  };
  return {
    at,
    matches(offset, chunk) {
      for (let done = 0; done < chunk.length; done += longest) {
        const piece = chunk.subarray(done, done + longest);
        if (!piece.equals(at(offset + done, piece.length))) return false;
      }
      return true;
    },
  };
}
