import { afterEach, describe, expect, it } from 'vitest';
import type { Canary } from '../../../../src/agent/audit/canary.ts';
import { canaryLimits, createCanary } from '../../../../src/agent/audit/canary.ts';
import { createInterceptionBook } from '../../../../src/agent/interception-book.ts';
import type { CanaryDial, CanaryReply } from '../../../../src/control-api.ts';
import { captureLog } from '../../../support/captured-log.ts';
import { createFakeClock } from '../../../support/fake-clock.ts';

let canary: Canary | undefined;
afterEach(() => canary?.close());

type Reply = (answer: string) => CanaryReply;

/** A pod with the addresses 10.0.0.7 and fd00::7 whose control plane answers as `reply` says. */
function pod(first: Reply) {
  const clock = createFakeClock();
  const { log, lines } = captureLog('info');
  const book = createInterceptionBook();
  const answers: string[] = [];
  let reply = first;
  const created = createCanary({
    clock,
    log,
    book,
    isOwnAddress: (ip) => ip === '10.0.0.7' || ip === 'fd00::7',
    ask: async () => {
      answers.push(created.answer() ?? '');
      return reply(answers.at(-1) ?? '');
    },
  });
  canary = created;
  created.start();
  return {
    answers,
    lines,
    answer: created.answer,
    set reply(next: Reply) {
      reply = next;
    },
    round: () => clock.advance(canaryLimits.intervalMs),
    proofs: () => Object.fromEntries(book.facts().proofs.map(({ family, isOk }) => [family, isOk])),
  };
}

const v4 = '10.0.0.7:15002';
const v6 = '[fd00::7]:15002';
const answered = (address: string, answer?: string): CanaryDial => ({
  address,
  outcome: 'answered',
  ...(answer !== undefined && { answer }),
});
const both: Reply = (answer) => ({ dials: [answered(v4, answer), answered(v6, answer)] });

it('is captured where the answer of the round comes back', async () => {
  const { round, proofs, lines } = pod(both);
  await round();
  expect(proofs()).toEqual({ ipv4: true, ipv6: true });
  expect(lines).toEqual([]);
});

it('answers another secret in each round, and nothing between them', async () => {
  const { round, answers, answer } = pod(both);
  await round();
  await round();
  expect(new Set(answers).size).toBeGreaterThan(1);
  for (const one of answers) expect(one).toMatch(/^[0-9a-f]{32}$/);
  expect(answer()).toBeUndefined();
});

describe('another answer', () => {
  it('is not captured, says so once, and says when it is captured again', async () => {
    const scene = pod((answer) => ({ dials: [answered(v4), answered(v6, answer)] }));
    await scene.round();
    await scene.round();
    expect(scene.proofs()).toEqual({ ipv4: false, ipv6: true });
    expect(scene.lines).toEqual([
      expect.objectContaining({ level: 'error', family: 'ipv4', direction: 'inbound', remedy: expect.any(String) }),
    ]);
    scene.reply = both;
    await scene.round();
    expect(scene.proofs()).toEqual({ ipv4: true, ipv6: true });
    expect(scene.lines.at(-1)).toMatchObject({ level: 'info', family: 'ipv4' });
  });

  it('is also that of an earlier round', async () => {
    const scene = pod(both);
    await scene.round();
    const [old = ''] = scene.answers;
    scene.reply = () => both(old);
    await scene.round();
    expect(scene.proofs()).toEqual({ ipv4: false, ipv6: false });
  });

  it('of an address that is not of this pod says nothing', async () => {
    const scene = pod(() => ({ dials: [answered('10.0.0.8:15002'), answered('not an address')] }));
    await scene.round();
    expect(scene.proofs()).toEqual({});
    expect(scene.lines).toEqual([]);
  });
});

describe('nothing is known', () => {
  it.each<[string, Reply]>([
    ['of a dial that nobody answers', () => ({ dials: [{ address: v4, outcome: 'timeout' }] })],
    ['of a dial that is refused, which a network may do', () => ({ dials: [{ address: v4, outcome: 'refused' }] })],
    ['of a dial that is closed without a word', () => ({ dials: [{ address: v4, outcome: 'closed' }] })],
    ['of a pod that the registry does not know', () => ({ dials: [] })],
    [
      'when the control plane does not answer, or does not know the call',
      () => {
        throw new Error('404 not_found');
      },
    ],
  ])('%s: what was proved stays for a while, and then is forgotten', async (_, silent) => {
    const scene = pod(both);
    await scene.round();
    scene.reply = silent;
    await scene.round();
    expect(scene.proofs()).toEqual({ ipv4: true, ipv6: true });
    for (let i = 0; i < 2 * canaryLimits.patience; i += 1) await scene.round();
    expect(scene.proofs()).toEqual({});
    expect(scene.lines).toEqual([]);
  });
});

it('ends while it waits for an answer', async () => {
  const clock = createFakeClock();
  const { log } = captureLog('info');
  const endless = createCanary({
    clock,
    log,
    book: createInterceptionBook(),
    isOwnAddress: () => true,
    ask: (signal) =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true })),
  });
  endless.start();
  await clock.advance(canaryLimits.intervalMs);
  await endless.close();
});
