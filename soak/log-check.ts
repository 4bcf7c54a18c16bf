import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';

const errorLevel = 50;
/** So many problems of one log are told, and the rest is counted. */
const mostTold = 5;

/** What a log of a sidecar or control plane must not hold, one sentence each. */
export async function problemsInLog(name: string, file: string): Promise<string[]> {
  const found: string[] = [];
  for await (const line of createInterface({ input: createReadStream(file) })) {
    const problem = problemOf(line);
    if (problem !== undefined) found.push(`The log of ${name} has ${problem}: ${line.slice(0, 500)}`);
  }
  const rest = found.length - mostTold;
  return rest > 0 ? [...found.slice(0, mostTold), `The log of ${name} has ${rest} more such lines`] : found;
}

/** Undefined for a line that may be there. */
export function problemOf(line: string): string | undefined {
  if (line === '') return undefined;
  try {
    const { level, reason } = JSON.parse(line) as { level?: unknown; reason?: unknown };
    if (reason === 'internal') return 'an internal failure';
    if (level === 'error' || level === 'fatal' || Number(level) >= errorLevel) return 'an error';
    return undefined;
  } catch {
    return 'a line that is no JSON';
  }
}
