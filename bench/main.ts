import { parseArgs } from 'node:util';
import { BenchError } from './errors.ts';
import { tableOf } from './figures.ts';
import { measurements } from './measurements.ts';
import { run } from './run.ts';

/*
 * `npm run bench`: Remora beside HAProxy and nginx on the same chain. docs/bench.md says what is measured and how.
 *
 *   npm run bench -- [--rounds N] [--seconds S] [--only MEASUREMENT] [--json]
 */

const names = measurements.map(({ name }) => name);

// What runs and what is written goes in the exit handlers of programs.ts and run.ts.
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)
  process.once(signal, () => process.exit(code));

try {
  const { isJson, ...options } = readOptions();
  const rows = (await run({ ...options, progress: (text) => console.error(`bench: ${text}`) })).rows();
  console.log(isJson ? JSON.stringify(rows, undefined, 2) : tableOf(rows));
} catch (error) {
  if (!(error instanceof BenchError)) throw error;
  console.error(`bench: ${error.message}`);
  process.exitCode = 1;
}

function readOptions() {
  const { rounds, seconds, only, json } = parse();
  if (only !== undefined && !names.includes(only)) refuse(`--only ${only}: expected one of ${names.join(', ')}`);
  return {
    rounds: positive('--rounds', rounds),
    seconds: positive('--seconds', seconds),
    measurements: measurements.filter(({ name }) => only === undefined || name === only),
    isJson: json,
  };
}

function parse() {
  try {
    const options = {
      rounds: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '2' },
      only: { type: 'string' },
      json: { type: 'boolean', default: false },
    } as const;
    return parseArgs({ options }).values;
  } catch (error) {
    return refuse((error as Error).message);
  }
}

function positive(flag: string, text: string): number {
  const value = Number(text);
  return Number.isInteger(value) && value > 0 ? value : refuse(`${flag} ${text}: expected a whole number above 0`);
}

function refuse(problem: string): never {
  console.error(`bench: ${problem}`);
  process.exit(2);
}
