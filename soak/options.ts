import { parseArgs } from 'node:util';

export interface SoakOptions {
  readonly durationMs: number;
  readonly seed: number;
  readonly isJson: boolean;
}

/** What is wrong with the command line: one sentence. */
export class UsageError extends Error {}

const defaultMinutes = '20';
const shortestMinutes = 0.25;
const largestSeed = 2 ** 32 - 1;

/** Throws `UsageError`. `random` gives the seed when none is named. */
export function readOptions(args: readonly string[], random: () => number): SoakOptions {
  const { minutes, seed, json } = parse(args);
  const durationMs = Math.round(Number(minutes) * 60_000);
  if (minutes.trim() === '' || !(durationMs >= shortestMinutes * 60_000 && durationMs < Number.POSITIVE_INFINITY)) {
    throw new UsageError(`--minutes ${minutes}: expected a number of at least ${shortestMinutes}`);
  }
  return { durationMs, seed: seed === undefined ? Math.floor(random() * largestSeed) : seedOf(seed), isJson: json };
}

function parse(args: readonly string[]) {
  try {
    const options = {
      minutes: { type: 'string', default: defaultMinutes },
      seed: { type: 'string' },
      json: { type: 'boolean', default: false },
    } as const;
    return parseArgs({ args: [...args], options }).values;
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function seedOf(text: string): number {
  const seed = Number(text);
  if (/^\d+$/.test(text) && seed <= largestSeed) return seed;
  throw new UsageError(`--seed ${text}: expected a whole number from 0 to ${largestSeed}`);
}
