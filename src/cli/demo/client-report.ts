import * as v from 'valibot';
import { parseJson } from '../../control-api.ts';
import { addCounts } from './sidecar-facts.ts';

const count = v.pipe(v.number(), v.integer(), v.minValue(0));

/** A line that an application of the demo prints of itself. */
const clientReport = v.object({
  targets: v.array(v.object({ url: v.string(), sent: count, ok: count, saw: v.record(v.string(), count) })),
  isDone: v.optional(v.boolean(), false),
});

/** What an application sent and what came back, over all that it asks. */
export interface ClientFacts {
  readonly sent: number;
  readonly ok: number;
  /** What it saw instead of an answer, such as `ECONNRESET`. */
  readonly saw: Readonly<Record<string, number>>;
  /** It ended in order, and no request of it is open. */
  readonly isDone: boolean;
}

export const silentClient: ClientFacts = { sent: 0, ok: 0, saw: {}, isDone: false };

/** Reads a line of an application, or undefined when it is not a report. */
export function readClientReport(line: string): ClientFacts | undefined {
  let report: v.InferOutput<typeof clientReport>;
  try {
    report = parseJson(clientReport, line);
  } catch {
    return undefined;
  }
  const { targets, isDone } = report;
  return {
    sent: targets.reduce((sum, { sent }) => sum + sent, 0),
    ok: targets.reduce((sum, { ok }) => sum + ok, 0),
    saw: addCounts(targets.map(({ saw }) => saw)),
    isDone,
  };
}
