import type { Frame } from './frames.ts';

/** What went over the wire so far. */
export interface WireTotals {
  /** Everything that was seen; a capture that saw nothing proves nothing. */
  readonly frames: number;
  /** Those that carried bytes of a tunnel. */
  readonly tunnelFrames: number;
  /** Bytes of each marker that could be read, by the marker's name. */
  readonly clearBytes: Readonly<Record<string, number>>;
}

export interface WireCount {
  see(frame: Frame): void;
  totals(): WireTotals;
}

export interface WireCountSettings {
  /** The texts to look for, by name, all of the same length. */
  readonly markers: Readonly<Record<string, string>>;
  /** TCP segments from and to it belong to tunnels. */
  readonly tunnelPort: number;
}

/** The end of what one direction of a connection has carried. */
interface Tail {
  readonly nextSequence: number;
  readonly bytes: Buffer;
}

/** Connections are short; of the many that ended without a FIN only the newest are worth remembering. */
const maxFlows = 10_000;

/**
 * Looks for markers in every frame, and in TCP also across the border of two segments that follow each other. A segment
 * that came twice is searched twice: too many found bytes are an alarm, one that is missed is a lie.
 */
export function createWireCount({ markers, tunnelPort }: WireCountSettings): WireCount {
  const needles = Object.entries(markers).map(([name, text]) => ({ name, bytes: Buffer.from(text) }));
  // Shorter than every marker, so that one which was counted is not found again in the tail.
  const tailBytes = Math.min(...needles.map(({ bytes }) => bytes.length)) - 1;
  const clearBytes: Record<string, number> = Object.fromEntries(needles.map(({ name }) => [name, 0]));
  const tails = new Map<string, Tail>();
  let frames = 0;
  let tunnelFrames = 0;

  const search = (bytes: Buffer) => {
    for (const needle of needles) {
      clearBytes[needle.name] = (clearBytes[needle.name] ?? 0) + countOf(needle.bytes, bytes) * needle.bytes.length;
    }
  };

  const followed = (segment: Extract<Frame, { kind: 'tcp' }>): Buffer => {
    const tail = tails.get(segment.flow);
    tails.delete(segment.flow);
    const bytes =
      tail?.nextSequence === segment.sequence ? Buffer.concat([tail.bytes, segment.payload]) : segment.payload;
    if (!segment.isLast) {
      const nextSequence = (segment.sequence + segment.payload.length) % 2 ** 32;
      tails.set(segment.flow, {
        nextSequence,
        bytes: Buffer.from(bytes.subarray(Math.max(0, bytes.length - tailBytes))),
      });
    }
    const oldest = tails.size > maxFlows ? tails.keys().next().value : undefined;
    if (oldest !== undefined) tails.delete(oldest);
    return bytes;
  };

  return {
    see(frame) {
      frames += 1;
      if (frame.kind === 'other') return search(frame.bytes);
      if (frame.payload.length === 0) return;
      if (frame.sourcePort === tunnelPort || frame.destinationPort === tunnelPort) tunnelFrames += 1;
      search(followed(frame));
    },
    totals: () => ({ frames, tunnelFrames, clearBytes: { ...clearBytes } }),
  };
}

function countOf(needle: Buffer, bytes: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(needle); at !== -1; at = bytes.indexOf(needle, at + needle.length)) count += 1;
  return count;
}

/** What the wire carried between two moments. */
export function wireSince(before: WireTotals, after: WireTotals): WireTotals {
  const clearBytes = Object.entries(after.clearBytes).map(([name, bytes]) => [
    name,
    bytes - (before.clearBytes[name] ?? 0),
  ]);
  return {
    frames: after.frames - before.frames,
    tunnelFrames: after.tunnelFrames - before.tunnelFrames,
    clearBytes: Object.fromEntries(clearBytes),
  };
}
