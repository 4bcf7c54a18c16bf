import { randomBytes } from 'node:crypto';
import { parseAddress } from '../../addresses.ts';
import type { Clock } from '../../clock.ts';
import type { CanaryReply } from '../../control-api.ts';
import { messageOf } from '../../errors.ts';
import type { Log } from '../../log.ts';
import type { Family } from '../interception.ts';
import type { InterceptionBook } from '../interception-book.ts';
import { rulesRemedy } from './bypass-words.ts';

export interface CanaryParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly book: Pick<InterceptionBook, 'proved' | 'forget'>;
  /** Has the canary port of this pod dialled from outside; rejects when nobody can be asked. */
  ask(signal: AbortSignal): Promise<CanaryReply>;
  isOwnAddress(ip: string): boolean;
}

/** Has somebody outside prove over and over that inbound is captured: what the pod itself sends never meets those rules. */
export interface Canary {
  /** What to tell whoever dials the canary port; undefined while nobody was asked to. */
  answer(): string | undefined;
  start(): void;
  close(): Promise<void>;
}

/** Between two proofs, give or take a half; and how often nothing may be learnt before what was proved is forgotten. */
export const canaryLimits = { intervalMs: 30_000, firstWithinMs: 5000, patience: 3 } as const;

type Verdict = 'captured' | 'not-captured' | 'unknown';

const families: readonly Family[] = ['ipv4', 'ipv6'];

export function createCanary({ clock, log, book, ask, isOwnAddress }: CanaryParts): Canary {
  const stopping = new AbortController();
  const unknownRounds = { ipv4: 0, ipv6: 0 };
  const lost = new Set<Family>();
  let expected: string | undefined;
  let running = Promise.resolve();

  const learn = (family: Family, verdict: Verdict) => {
    if (verdict === 'unknown') {
      unknownRounds[family] += 1;
      if (unknownRounds[family] >= canaryLimits.patience) book.forget({ family, direction: 'inbound' });
      return;
    }
    unknownRounds[family] = 0;
    const isOk = verdict === 'captured';
    book.proved({ family, direction: 'inbound', isOk });
    if (isOk && lost.delete(family))
      log.info({ family, direction: 'inbound' }, 'Inbound connections are captured again');
    if (isOk || lost.has(family)) return;
    lost.add(family);
    log.error({ family, direction: 'inbound', remedy }, 'Inbound connections are not captured');
  };

  /** A new answer for each round: whoever dials at another time learns nothing that could pass for one later. */
  const round = async () => {
    const answer = randomBytes(16).toString('hex');
    expected = answer;
    try {
      const reply = await ask(stopping.signal);
      for (const family of families) learn(family, verdictOf(reply, family, answer, isOwnAddress));
    } catch (error) {
      stopping.signal.throwIfAborted();
      log.debug({ detail: messageOf(error) }, 'Nobody outside tells whether inbound is captured');
      for (const family of families) learn(family, 'unknown');
    } finally {
      expected = undefined;
    }
  };

  const run = async () => {
    let waitMs = canaryLimits.firstWithinMs * clock.random();
    for (;;) {
      await clock.sleep(waitMs, stopping.signal);
      await round();
      waitMs = canaryLimits.intervalMs * (0.5 + clock.random());
    }
  };

  return {
    answer: () => expected,
    start() {
      running = run().catch((error: unknown) => {
        if (!stopping.signal.aborted) throw error;
      });
    },
    async close() {
      stopping.abort(new Error('The sidecar is shutting down'));
      await running;
    },
  };
}

const remedy = `Whoever reaches the pod reaches its application unauthenticated: ${rulesRemedy}`;

/**
 * A refusal or silence proves nothing: networks refuse and drop as well. Only somebody who answers does, this process where
 * captured connections arrive, or whoever else.
 */
function verdictOf(
  { dials }: CanaryReply,
  family: Family,
  expected: string,
  isOwnAddress: (ip: string) => boolean,
): Verdict {
  const answers = dials.flatMap(({ address, outcome, answer }) => {
    const ip = parseAddress(address)?.ip;
    // A registry that is behind may name the addresses of a pod that has gone.
    if (ip === undefined || ip.includes(':') !== (family === 'ipv6') || !isOwnAddress(ip)) return [];
    return outcome === 'answered' ? [answer] : [];
  });
  if (answers.length === 0) return 'unknown';
  return answers.every((answer) => answer === expected) ? 'captured' : 'not-captured';
}
