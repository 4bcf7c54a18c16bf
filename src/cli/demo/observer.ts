import type { ChildProcess } from 'node:child_process';
import type { Clock } from '../../clock.ts';
import { parseJson } from '../../control-api.ts';
import { FailureError } from '../../errors.ts';
import type { ObserverAnswer, ObserverQuestion } from './observer-api.ts';
import { observerAnswer, observing } from './observer-api.ts';
import type { Program } from './program.ts';
import { followProgram } from './program.ts';
import type { Page } from './scrape.ts';
import type { WireTotals } from './wire-count.ts';

/** The demo's eyes on the link. */
export interface Observer {
  readonly program: Program;
  readPage(url: string): Promise<Page>;
  /** What the wire has carried since the start. */
  readWire(): Promise<WireTotals>;
}

type Question = ObserverQuestion extends infer Q ? (Q extends ObserverQuestion ? Omit<Q, 'id'> : never) : never;

/** Speaks with a child that runs observe-command.ts; resolves when it has begun to capture. */
export async function createObserver(child: ChildProcess, clock: Clock): Promise<Observer> {
  const waiting = new Map<number, PromiseWithResolvers<ObserverAnswer>>();
  const onLine = (line: string) => {
    if (line === observing) return;
    const answer = parseJson(observerAnswer, line);
    waiting.get(answer.id)?.resolve(answer);
    waiting.delete(answer.id);
  };
  const program = followProgram('The observer of the link', child, clock, onLine);
  program.failure.catch((reason: unknown) => {
    for (const { reject } of waiting.values()) reject(reason);
  });
  let asked = 0;
  const ask = async (question: Question): Promise<ObserverAnswer> => {
    asked += 1;
    const id = asked;
    const pending = Promise.withResolvers<ObserverAnswer>();
    waiting.set(id, pending);
    program.write(JSON.stringify({ ...question, id }));
    const answer = await pending.promise;
    if (answer.answer === 'problem') throw new FailureError(`The observer of the link could not look: ${answer.why}`);
    return answer;
  };
  await program.line((line) => line === observing);
  return {
    program,
    async readPage(url) {
      const answer = await ask({ ask: 'page', url });
      if (answer.answer !== 'page') throw new TypeError(`The observer answered ${answer.answer} to page`);
      return { status: answer.status, body: answer.body };
    },
    async readWire() {
      const answer = await ask({ ask: 'wire' });
      if (answer.answer !== 'wire') throw new TypeError(`The observer answered ${answer.answer} to wire`);
      const { frames, tunnelFrames, clearBytes } = answer;
      return { frames, tunnelFrames, clearBytes };
    },
  };
}
