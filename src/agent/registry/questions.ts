import type { Backoff } from '../../backoff.ts';
import { backoffMs } from '../../backoff.ts';
import type { Clock, Timer } from '../../clock.ts';
import type { Destination } from '../../control-api.ts';
import { maxDestinations } from '../../control-api.ts';
import { messageOf } from '../../errors.ts';
import type { ControlClient } from '../control-client.ts';

/** What came of a question; undefined is an address that the control plane does not know. */
export type Answer =
  | { readonly kind: 'answered'; readonly destination: Destination | undefined }
  | { readonly kind: 'unanswered'; readonly why: string };

/** Questions to the control plane: one at a time for each address, many addresses in one call, few calls at once. */
export interface Questions {
  /** Repeats the question while somebody waits. Resolves with `unanswered` at the latest when the signal is aborted. */
  ask(key: string, signal: AbortSignal): Promise<Answer>;
  /** Asks once, for whoever comes later. */
  refresh(key: string): void;
  close(): void;
}

export interface QuestionParts {
  readonly clock: Clock;
  readonly client: Pick<ControlClient, 'destinations'>;
  /** Called with each answer before whoever waits for it; `askedMs` is monotonic. */
  onAnswer(key: string, destination: Destination | undefined, askedMs: number): void;
}

interface Question {
  readonly waiting: Set<(answer: Answer) => void>;
  isInFlight: boolean;
  lastFailure: string;
}

const addressesPerCall = 100;
const callsAtOnce = 4;
const stopping = 'the sidecar is stopping';
const backoff: Backoff = { baseMs: 200, capMs: 2000 };

export function createQuestions({ clock, client, onAnswer }: QuestionParts): Questions {
  const questions = new Map<string, Question>();
  const closing = new AbortController();
  let calls = 0;
  let failures = 0;
  let pause: Timer | undefined;
  let isScheduled = false;

  const questionFor = (key: string): Question | undefined => {
    const known = questions.get(key);
    if (known !== undefined || questions.size >= maxDestinations || closing.signal.aborted) return known;
    const question = { waiting: new Set<(answer: Answer) => void>(), isInFlight: false, lastFailure: '' };
    questions.set(key, question);
    schedule();
    return question;
  };

  /** In a microtask, so that what is asked together goes into one call. */
  const schedule = () => {
    if (isScheduled || pause !== undefined) return;
    isScheduled = true;
    queueMicrotask(() => {
      isScheduled = false;
      while (calls < callsAtOnce && pause === undefined && !closing.signal.aborted) {
        const batch = [...questions].filter(([, { isInFlight }]) => !isInFlight).slice(0, addressesPerCall);
        if (batch.length === 0) return;
        void call(batch);
      }
    });
  };

  const call = async (batch: readonly (readonly [string, Question])[]) => {
    calls += 1;
    for (const [, question] of batch) question.isInFlight = true;
    const askedMs = clock.monotonic();
    try {
      const keys = batch.map(([key]) => key);
      const destinations = await client.destinations(keys, closing.signal);
      failures = 0;
      const byAddress = new Map(destinations.map((destination) => [destination.address, destination]));
      for (const [key, question] of batch) settle(key, question, byAddress.get(key), askedMs);
    } catch (error) {
      fail(batch, messageOf(error));
    }
    calls -= 1;
    schedule();
  };

  const settle = (key: string, question: Question, answered: Destination | undefined, askedMs: number) => {
    const destination = answered?.known === false ? undefined : answered;
    questions.delete(key);
    onAnswer(key, destination, askedMs);
    for (const resolve of question.waiting) resolve({ kind: 'answered', destination });
  };

  const fail = (batch: readonly (readonly [string, Question])[], why: string) => {
    for (const [key, question] of batch) {
      question.isInFlight = false;
      question.lastFailure = why;
      if (question.waiting.size === 0) questions.delete(key);
    }
    if (pause !== undefined || closing.signal.aborted) return;
    failures += 1;
    pause = clock.after(backoffMs(backoff, failures, clock.random()), () => {
      pause = undefined;
      schedule();
    });
  };

  const wait = (key: string, question: Question, signal: AbortSignal) =>
    new Promise<Answer>((resolve) => {
      const finish = (answer: Answer) => {
        signal.removeEventListener('abort', onAbort);
        question.waiting.delete(finish);
        if (question.waiting.size === 0 && !question.isInFlight) questions.delete(key);
        resolve(answer);
      };
      const onAbort = () => finish({ kind: 'unanswered', why: question.lastFailure || 'it has not answered yet' });
      question.waiting.add(finish);
      signal.addEventListener('abort', onAbort, { once: true });
      if (signal.aborted) onAbort();
    });

  return {
    ask(key, signal) {
      const question = questionFor(key);
      if (question !== undefined) return wait(key, question, signal);
      const why = closing.signal.aborted ? stopping : `${maxDestinations} other addresses are being asked for`;
      return Promise.resolve({ kind: 'unanswered', why });
    },
    refresh: (key) => void questionFor(key),
    close() {
      closing.abort(new Error('The registry is closed'));
      pause?.cancel();
      for (const { waiting } of questions.values()) {
        for (const resolve of [...waiting]) resolve({ kind: 'unanswered', why: stopping });
      }
      questions.clear();
    },
  };
}
