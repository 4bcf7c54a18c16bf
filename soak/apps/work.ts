import type { Dice } from '../dice.ts';
import { diceOf } from '../dice.ts';

/** One connection of a client, as both ends know it: the client sends it as a line of JSON before anything else. */
export interface Work {
  /** Names the connection, once in a run. */
  readonly id: string;
  readonly kind: WorkKind;
  /** How often the client sends `up` bytes and the server answers with `down` bytes. */
  readonly rounds: number;
  readonly up: number;
  readonly down: number;
  /** Both ends send at once, instead of the server after the client. */
  readonly isDuplex: boolean;
  /** The client ends its side after its last byte, and not only after the server's end. */
  readonly endsFirst: boolean;
  /** How long the client waits before each round, and before each read of 64 KiB when it is slow; milliseconds. */
  readonly pauseMs: number;
  readonly readPauseMs: number;
  /** Who resets the connection, after how many bytes that it has sent and received. */
  readonly abort?: { readonly by: 'client' | 'server'; readonly afterBytes: number };
}

/** A `Work` and where it goes. */
export interface Errand {
  readonly work: Work;
  readonly target: string;
  readonly address: string;
}

const kibibyte = 1024;
const mebibyte = 1024 * kibibyte;

type Shape = Partial<Omit<Work, 'id' | 'kind'>>;

/** What applications do with connections; the numbers are weights. */
const kinds = {
  short: [70, (dice) => ({ up: dice.whole(1, 2000), down: dice.whole(1, 4000), endsFirst: dice.next() < 0.5 })],
  requests: [
    20,
    (dice) => ({
      rounds: dice.whole(5, 100),
      up: dice.whole(50, 4000),
      down: dice.whole(50, 16_000),
      pauseMs: dice.whole(0, 60),
    }),
  ],
  download: [8, (dice) => ({ up: 20, down: dice.whole(mebibyte / 4, 6 * mebibyte) })],
  upload: [8, (dice) => ({ up: dice.whole(mebibyte / 4, 6 * mebibyte), down: 20, endsFirst: dice.next() < 0.5 })],
  duplex: [
    6,
    (dice) => ({ up: dice.whole(1, 3 * mebibyte), down: dice.whole(1, 3 * mebibyte), isDuplex: true, endsFirst: true }),
  ],
  'slow-reader': [
    5,
    (dice) => ({ up: 20, down: dice.whole(256 * kibibyte, 2 * mebibyte), readPauseMs: dice.whole(20, 150) }),
  ],
  'half-close': [8, (dice) => ({ up: dice.whole(1, 5000), down: dice.whole(1, 2 * mebibyte), endsFirst: true })],
  idle: [6, (dice) => ({ rounds: 2, up: 30, down: 30, pauseMs: dice.whole(2000, 8000) })],
  'client-aborts': [6, (dice) => aborted(dice, 'client')],
  'server-aborts': [4, (dice) => aborted(dice, 'server')],
} as const satisfies Record<string, readonly [number, (dice: Dice) => Shape]>;

export type WorkKind = keyof typeof kinds;
export const workKinds = Object.keys(kinds) as WorkKind[];

function aborted(dice: Dice, by: 'client' | 'server'): Shape {
  const [up, down] = [dice.whole(1000, 2 * mebibyte), dice.whole(1000, 2 * mebibyte)];
  // Never all of them: a connection of which both ends have everything has nothing left to be cut.
  return { up, down, isDuplex: true, abort: { by, afterBytes: dice.whole(1, Math.floor(Math.min(up, down) / 2)) } };
}

export interface Target {
  readonly name: string;
  readonly addresses: readonly [string, ...string[]];
}

/** What a client does as its `number`th connection: a function of these three alone. */
export function errandOf(
  seed: number,
  client: string,
  number: number,
  targets: readonly [Target, ...Target[]],
): Errand {
  const dice = diceOf(seed, client, number);
  const kind = kindAt(dice.next());
  const [, shapeOf] = kinds[kind];
  const shape: Shape = shapeOf(dice);
  const target = dice.pick(targets);
  const defaults = { rounds: 1, up: 0, down: 0, isDuplex: false, endsFirst: false, pauseMs: 0, readPauseMs: 0 };
  return {
    work: { id: `${client}-${number}`, kind, ...defaults, ...shape },
    target: target.name,
    address: dice.pick(target.addresses),
  };
}

function kindAt(share: number): WorkKind {
  const total = workKinds.reduce((sum, kind) => sum + kinds[kind][0], 0);
  let rest = share * total;
  for (const kind of workKinds) {
    rest -= kinds[kind][0];
    if (rest < 0) return kind;
  }
  return 'short';
}
