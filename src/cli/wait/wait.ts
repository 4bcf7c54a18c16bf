import { request } from 'undici';
import type { Clock } from '../../clock.ts';
import { codeOf, messageOf } from '../../errors.ts';

export type Waited = { readonly kind: 'ready' } | { readonly kind: 'late'; readonly why: string };

/** Between the answer to one question and the next; milliseconds. */
const pollIntervalMs = 100;
/** A question that nobody answers in this time is asked again; milliseconds. */
const answerTimeoutMs = 5000;
const maxAnswerBytes = 16 * 1024;

/** Asks again and again until the answer is 200, at most for `timeoutMs`; then `why` quotes the last answer, the closed gates. */
export async function waitUntilReady(clock: Clock, url: URL, timeoutMs: number): Promise<Waited> {
  const late = new AbortController();
  const timer = clock.after(timeoutMs, () => late.abort());
  let why = 'nothing has answered yet';
  try {
    while (!late.signal.aborted) {
      const answer = await ask(clock, url, late.signal);
      if (answer.kind === 'ready') return answer;
      // A question that the end of the wait cut short says less than the one before.
      if (!late.signal.aborted) why = answer.why;
      await clock.sleep(pollIntervalMs, late.signal).catch(() => undefined);
    }
    return { kind: 'late', why };
  } finally {
    timer.cancel();
  }
}

/** Asks once, on a connection of its own. */
async function ask(clock: Clock, url: URL, outer: AbortSignal): Promise<Waited> {
  const unanswered = new AbortController();
  const abort = () => unanswered.abort();
  const timer = clock.after(answerTimeoutMs, abort);
  outer.addEventListener('abort', abort, { once: true });
  try {
    const { statusCode, body } = await request(url, { signal: unanswered.signal, reset: true });
    const text = await textOf(body);
    if (statusCode === 200) return { kind: 'ready' };
    return { kind: 'late', why: statusCode === 503 ? onOneLine(text) : `it answers ${statusCode}, expected 200` };
  } catch (error) {
    if (unanswered.signal.aborted) return { kind: 'late', why: 'it takes connections and does not answer' };
    const code = codeOf(error);
    return { kind: 'late', why: code === 'ECONNREFUSED' ? 'nothing listens there' : code || messageOf(error) };
  } finally {
    timer.cancel();
    outer.removeEventListener('abort', abort);
  }
}

async function textOf(body: AsyncIterable<Uint8Array> & { on(event: 'error', listener: () => void): unknown }) {
  // Leaving a body before its end is an error event to undici.
  body.on('error', () => undefined);
  let text = '';
  for await (const chunk of body) {
    text += Buffer.from(chunk).toString('utf8');
    if (text.length > maxAnswerBytes) break;
  }
  return text.slice(0, maxAnswerBytes);
}

/** The page has a line for each gate; control characters of whoever answers do not reach the terminal. */
function onOneLine(text: string): string {
  return text
    .trim()
    .replaceAll(/\s*\n\s*/g, '; ')
    .replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\uFFFD')
    .slice(0, 1000);
}
