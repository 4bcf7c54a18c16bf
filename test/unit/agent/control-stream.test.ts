import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ControlStream } from '../../../src/agent/control-stream.ts';
import { startControlStream } from '../../../src/agent/control-stream.ts';
import type { Destination, StreamMessage } from '../../../src/control-api.ts';
import { RenewalError } from '../../../src/errors.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import type { FakeStreams } from '../../support/fake-stream.ts';
import { createFakeStreams } from '../../support/fake-stream.ts';

let clock: FakeClock;
let control: FakeStreams;
let events: string[];
let stream: ControlStream;

const policy = (mode: string, version = 1, epoch = 'a') =>
  ({ topic: 'policy', epoch, version, data: { mode } }) as StreamMessage;
const bundles = (pem: string, version = 1, epoch = 'a'): StreamMessage => ({
  topic: 'trust-bundles',
  epoch,
  version,
  data: { td: pem },
});
const destination = (address: string, version = 1): StreamMessage => ({
  topic: 'destination',
  epoch: 'a',
  version,
  data: { address, endpoints: [], ttlSeconds: 30, known: true } satisfies Destination,
});
const heartbeat: StreamMessage = { topic: 'heartbeat' };

/** The stream with this number, once it was asked for. */
async function opened(index: number) {
  for (let i = 0; control.streams.length <= index && i < 20; i++) await clock.advance(0);
  return control.streams[index]!;
}

async function settle() {
  for (let i = 0; i < 5; i++) await clock.advance(0);
}

beforeEach(() => {
  clock = createFakeClock();
  control = createFakeStreams();
  events = [];
  stream = startControlStream({
    clock,
    client: control,
    observer: {
      streamUp: () => void events.push('up'),
      streamDown: () => void events.push('down'),
      streamEnded: (why, nextAttemptMs) => void events.push(`ended ${nextAttemptMs}: ${why}`),
      lineRefused: (why) => void events.push(`refused: ${why}`),
    },
  });
  stream.subscribe({
    policyChanged: (state) => void events.push(`policy ${state?.mode}`),
    trustBundlesReceived: (received) => void events.push(`bundles ${received.td}`),
    destinationReceived: ({ address }) => void events.push(`destination ${address}`),
  });
});

afterEach(() => stream.close());

describe('what the stream tells', () => {
  it('publishes the policy, the trust bundles and the destinations', async () => {
    const first = await opened(0);
    expect([stream.policy(), stream.trustBundles(), stream.isUp()]).toEqual([undefined, undefined, false]);
    first.send(policy('STRICT'), bundles('one'), destination('10.0.0.7:80'), heartbeat);
    await settle();
    expect(events).toEqual(['up', 'policy STRICT', 'bundles one', 'destination 10.0.0.7:80']);
    expect([stream.policy(), stream.trustBundles(), stream.isUp()]).toEqual([{ mode: 'STRICT' }, { td: 'one' }, true]);
  });

  it('P13: ignores an older version within an epoch', async () => {
    const first = await opened(0);
    first.send(policy('STRICT', 5), policy('DISABLE', 4), bundles('new', 9), bundles('old', 8));
    await settle();
    expect(events).toEqual(['up', 'policy STRICT', 'bundles new']);
  });

  it('P13: a new epoch replaces everything, whatever its versions', async () => {
    const first = await opened(0);
    first.send(policy('STRICT', 500, 'a'), bundles('one', 500, 'a'));
    first.send(policy('PERMISSIVE', 1, 'b'), bundles('two', 1, 'b'));
    await settle();
    expect(events).toEqual(['up', 'policy STRICT', 'bundles one', 'policy PERMISSIVE', 'bundles two']);
  });

  it('tells of a policy only when it has changed', async () => {
    const first = await opened(0);
    first.send(policy('STRICT', 1), policy('STRICT', 1), policy('STRICT', 2));
    await settle();
    expect(events).toEqual(['up', 'policy STRICT']);
  });

  it('P16: ignores topics and fields that it does not know', async () => {
    const first = await opened(0);
    first.write('{"topic":"weather","data":{"__proto__":{"polluted":1}}}\n');
    first.write('{"topic":"trust-bundles","epoch":"a","version":1,"data":{"td":"one"},"more":2}\n');
    await settle();
    expect(events).toEqual(['up', 'bundles one']);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });

  it('P16: a policy that it does not understand denies everything, until one comes that it does', async () => {
    const first = await opened(0);
    first.send(policy('PERMISSIVE', 1), policy('MAYBE', 2));
    await settle();
    expect(stream.policy()).toBeUndefined();
    first.send(policy('STRICT', 3));
    await settle();
    expect(events).toEqual([
      'up',
      'policy PERMISSIVE',
      expect.stringMatching(/^refused: The policy is not understood, so it denies everything: data.mode is not/),
      'policy undefined',
      'policy STRICT',
    ]);
    expect(control.streams).toHaveLength(1);
  });

  it.each([
    ['beside its mode', '"data":{"mode":"PERMISSIVE","except":[]}', 'data.except'],
    [
      'in a rule',
      '"data":{"mode":"PERMISSIVE","authorization":[{"name":"a/b","action":"DENY","rules":[{"unless":1}]}]}',
      'data.authorization.0.rules.0.unless',
    ],
    ['beside its data', '"data":{"mode":"PERMISSIVE"},"except":[]', 'except'],
    ['of a part', '"part":1,"of":2,"text":"","except":[]', 'except'],
  ])(
    'G23: a policy with a field of a newer control plane %s denies everything, and it is said',
    async (_, fields, where) => {
      const first = await opened(0);
      first.send(policy('PERMISSIVE', 1));
      first.write(`{"topic":"policy","epoch":"a","version":2,${fields}}\n`);
      await settle();
      expect(stream.policy()).toBeUndefined();
      expect(events).toContain(`refused: The policy is not understood, so it denies everything: ${where} is not known`);
    },
  );

  it('reads lines however they are cut', async () => {
    const first = await opened(0);
    const bytes = Buffer.from(`${JSON.stringify(policy('STRICT'))}\n${JSON.stringify(destination('[fd00::1]:80'))}\n`);
    for (const byte of bytes) first.write(Uint8Array.of(byte));
    await settle();
    expect(events).toEqual(['up', 'policy STRICT', 'destination [fd00::1]:80']);
  });
});

describe('a policy in parts', () => {
  const lines = [
    { mode: 'PERMISSIVE' },
    ...['shop/a', 'shop/b'].map((name) => ({ name, action: 'DENY', rules: [] })),
  ].map((line) => `${JSON.stringify(line)}\n`);
  const whole = { mode: 'PERMISSIVE', authorization: lines.slice(1).map((line) => JSON.parse(line)) };
  /** The text cut into so many parts of one length. */
  const partsOf = (of: number, version = 1, epoch = 'a', text = lines.join('')) => {
    const length = Math.ceil(text.length / of);
    return Array.from({ length: of }, (_, index) => ({
      ...{ topic: 'policy', epoch, version, part: index + 1, of },
      text: text.slice(index * length, (index + 1) * length),
    }));
  };
  const send = async (first: Awaited<ReturnType<typeof opened>>, ...messages: readonly object[]) => {
    for (const message of messages) first.write(`${JSON.stringify(message)}\n`);
    await settle();
  };
  const refusal = (why: string) => `refused: The policy is not understood, so it denies everything: ${why}`;

  it('G5: is in force when all of them are there, and nothing of it before', async () => {
    const first = await opened(0);
    const [last, ...others] = partsOf(7).reverse();
    await send(first, ...others.reverse(), bundles('one'));
    expect([events, stream.policy()]).toEqual([['up', 'bundles one'], undefined]);
    await send(first, last!);
    expect(events).toEqual(['up', 'bundles one', 'policy PERMISSIVE']);
    expect(stream.policy()).toEqual(whole);
  });

  it('is told once, however often it comes', async () => {
    const first = await opened(0);
    await send(first, ...partsOf(3), ...partsOf(3, 2), ...partsOf(5, 3), ...partsOf(3, 1, 'b'));
    expect(events).toEqual(['up', 'policy PERMISSIVE']);
    await send(first, policy('STRICT', 2, 'b'), ...partsOf(3, 3, 'b'));
    expect(events).toEqual(['up', 'policy PERMISSIVE', 'policy STRICT', 'policy PERMISSIVE']);
  });

  it('gives way to a newer one, whole or in parts', async () => {
    const first = await opened(0);
    await send(first, ...partsOf(3).slice(0, 2), policy('STRICT', 2), ...partsOf(3, 3).slice(0, 1), ...partsOf(2, 4));
    expect(events).toEqual(['up', 'policy STRICT', 'policy PERMISSIVE']);
  });

  it('P13: is not taken when it is older than what is in force', async () => {
    const first = await opened(0);
    await send(first, policy('STRICT', 5), ...partsOf(3, 4));
    expect(events).toEqual(['up', 'policy STRICT']);
  });

  it('is begun anew on the next stream, while the last one stays in force', async () => {
    const first = await opened(0);
    await send(first, policy('STRICT', 1), ...partsOf(3, 2).slice(0, 2));
    first.end();
    await clock.advance(10_000);
    const second = await opened(1);
    expect(stream.policy()).toEqual({ mode: 'STRICT' });
    await send(second, ...partsOf(3, 2).slice(0, 2));
    expect(stream.policy()).toEqual({ mode: 'STRICT' });
    await send(second, ...partsOf(3, 2).slice(2));
    expect(stream.policy()).toEqual(whole);
  });

  it('is told to its end before a changed set of destinations opens another stream', async () => {
    const first = await opened(0);
    await send(first, ...partsOf(3).slice(0, 2));
    stream.watch(['10.0.0.7:80']);
    for (let waits = 0; waits < 20; waits += 1) await clock.advance(1000);
    expect(control.streams).toHaveLength(1);
    await send(first, ...partsOf(3).slice(2));
    await clock.advance(1000);
    expect((await opened(1)).destinations).toEqual(['10.0.0.7:80']);
    expect(stream.policy()).toEqual(whole);
  });

  const [one, two, three] = partsOf(3);
  const [, twoOfNext] = partsOf(3, 2);
  const [, , threeOfFour] = partsOf(4);
  it.each<[string, object[], string]>([
    ['without its beginning', [two!], 'part 2 of 3 of version 1 came after nothing'],
    ['with one missing', [one!, three!], 'part 3 of 3 of version 1 came after part 1 of 3 of version 1'],
    ['with one repeated', [one!, two!, two!], 'part 2 of 3 of version 1 came after part 2 of 3 of version 1'],
    ['of two versions', [one!, twoOfNext!, three!], 'part 2 of 3 of version 2 came after part 1 of 3 of version 1'],
    ['of two epochs', [one!, partsOf(3, 1, 'b')[1]!], 'part 2 of 3 of version 1 came after part 1 of 3 of version 1'],
    ['of two numbers', [one!, two!, threeOfFour!], 'part 3 of 4 of version 1 came after part 2 of 3 of version 1'],
    [
      'that end in the middle',
      partsOf(2, 1, 'a', lines.join('').slice(0, -5)),
      'its last part ends in the middle of a line',
    ],
    ['that are empty', partsOf(2, 1, 'a', ''), 'its last part ends in the middle of a line'],
    ['that are no JSON', partsOf(2, 1, 'a', `${lines[0]}hello\n`), 'AuthorizationPolicy 0 is not JSON'],
    [
      'with an unknown field',
      partsOf(2, 1, 'a', `${lines[0]}${lines[1]?.replace('rules', 'rulez')}`),
      'of AuthorizationPolicy 0 rules is missing',
    ],
    [
      'with policies in two places',
      partsOf(2, 1, 'a', `${JSON.stringify(whole)}\n`),
      'its first line has AuthorizationPolicies',
    ],
    ['with a number of none', [{ ...one!, part: 0 }], 'part is not >=1'],
  ])('%s denies everything, which is said once, until one comes that is whole', async (_, messages, why) => {
    const first = await opened(0);
    await send(first, policy('STRICT', 0), ...messages);
    expect(events).toEqual(['up', 'policy STRICT', refusal(why), 'policy undefined']);
    await send(first, three!, three!);
    expect(events.filter((event) => event.startsWith('refused')).length).toBeLessThanOrEqual(2);
    await send(first, ...partsOf(3, 9));
    expect(events.at(-1)).toBe('policy PERMISSIVE');
  });
});

describe('P1: a line that is malformed ends the stream, is counted, and changes nothing', () => {
  it.each([
    ['no JSON', 'hello\n', 'is not JSON'],
    ['null', 'null\n', 'has no topic'],
    ['a number for a topic', '{"topic":1}\n', 'has no topic'],
    [
      'bundles of a wrong form',
      '{"topic":"trust-bundles","epoch":"a","version":9,"data":[1]}\n',
      'A line of the topic trust-bundles has a wrong form',
    ],
    ['no version', '{"topic":"trust-bundles","epoch":"a","data":{}}\n', 'version is missing'],
    ['bytes that are no UTF-8', Buffer.from([0xff, 0x0a]), 'is not UTF-8'],
    ['more than 256 KiB', `"${'x'.repeat(256 * 1024)}"\n`, 'is longer than 262144 bytes'],
    ['more than 256 KiB without an end', 'x'.repeat(256 * 1024 + 1), 'is longer than 262144 bytes'],
    ['200,000 brackets', `${'['.repeat(200_000)}\n`, 'is not JSON'],
  ])('P1: %s', async (_, line, why) => {
    const first = await opened(0);
    first.send(policy('STRICT'), bundles('one'));
    await settle();
    first.write(line);
    await settle();
    expect(events.slice(3)).toEqual(['down', expect.stringContaining(why), expect.stringContaining(why)]);
    expect([stream.policy(), stream.trustBundles()]).toEqual([{ mode: 'STRICT' }, { td: 'one' }]);
  });

  it('P1: the part of a line that a cut left is not read', async () => {
    const first = await opened(0);
    first.send(policy('PERMISSIVE'));
    first.write(JSON.stringify(policy('DISABLE', 2)));
    await settle();
    first.end();
    await settle();
    expect(stream.policy()).toEqual({ mode: 'PERMISSIVE' });
  });
});

describe('P15: a stream that ends is opened again', () => {
  const lastWaitMs = () => Number(/^ended (\d+)/.exec(events.at(-1) ?? '')?.[1]);

  it('P15: with waits that double up to 30 s, while what it last said stays in force', async () => {
    const waits: number[] = [];
    for (let i = 0; i < 8; i++) {
      const current = await opened(i);
      current.send(policy('STRICT'));
      await clock.advance(1000);
      current.end();
      await settle();
      expect(stream.policy()).toEqual({ mode: 'STRICT' });
      waits.push(lastWaitMs());
      await clock.advance(lastWaitMs());
    }
    expect(waits).toEqual([3250, 4000, 5500, 8500, 14_500, 25_000, 25_000, 25_000]);
    expect(events.filter((event) => event.startsWith('policy'))).toEqual(['policy STRICT']);
  });

  it('P15: and the waits begin anew after one that lived', async () => {
    (await opened(0)).end();
    await settle();
    await clock.advance(lastWaitMs());
    (await opened(1)).end();
    await settle();
    expect(lastWaitMs()).toBe(4000);
    await clock.advance(lastWaitMs());
    const third = await opened(2);
    for (let i = 0; i < 3; i++) {
      third.send(heartbeat);
      await clock.advance(10_000);
    }
    third.end();
    await settle();
    expect(events.at(-1)).toBe('ended 3250: The control plane has ended the stream');
  });

  it('P15: also when it never begins', async () => {
    (await opened(0)).end(new Error('no route'));
    control.failure = new Error('no route');
    await clock.advance(8000);
    expect(events).toEqual(['ended 3250: no route', 'ended 4000: no route', 'ended 5500: no route']);
    expect(stream.isUp()).toBe(false);
  });

  it('R8: not before the control plane wants it', async () => {
    (await opened(0)).end(new RenewalError('http_429', 'later', { retryAfterMs: 10_000 }));
    await settle();
    expect(events).toEqual(['ended 10000: later']);
    await clock.advance(9999);
    expect(control.streams).toHaveLength(1);
    await clock.advance(1);
    expect(control.streams).toHaveLength(2);
  });

  it('ends when it is silent for two heartbeats, and not before', async () => {
    const first = await opened(0);
    first.send(heartbeat);
    await clock.advance(29_000);
    first.send(heartbeat);
    await clock.advance(29_000);
    expect(stream.isUp()).toBe(true);
    first.write('{"topic"');
    await clock.advance(1000);
    expect(stream.isUp()).toBe(false);
    expect(events.at(-1)).toContain('was silent for 30000 ms');
    expect(first.signal.aborted).toBe(true);
  });

  it('ends when its first line does not come', async () => {
    const first = await opened(0);
    await clock.advance(30_000);
    expect(first.signal.aborted).toBe(true);
    expect(events).toEqual([expect.stringContaining('was silent')]);
  });
});

describe('a changed set of destinations', () => {
  it('opens a new stream before the old one is closed, and once for many changes', async () => {
    const first = await opened(0);
    first.send(policy('STRICT'));
    await clock.advance(5000);
    stream.watch(['10.0.0.1:80']);
    await clock.advance(50);
    stream.watch(['10.0.0.2:80', '10.0.0.1:80', '10.0.0.2:80']);
    await clock.advance(100);
    expect(control.streams).toHaveLength(2);
    const second = control.streams[1]!;
    expect(second.destinations).toEqual(['10.0.0.1:80', '10.0.0.2:80']);
    expect(first.signal.aborted).toBe(false);
    second.send(destination('10.0.0.1:80'));
    await settle();
    expect(first.signal.aborted).toBe(true);
    expect(events).toEqual(['up', 'policy STRICT', 'destination 10.0.0.1:80']);
  });

  it('opens at most one stream a second', async () => {
    const first = await opened(0);
    first.send(heartbeat);
    await settle();
    for (let i = 0; i < 100; i++) {
      stream.watch([`10.0.0.1:${i + 1}`]);
      await clock.advance(50);
      control.streams.at(-1)?.send(heartbeat);
    }
    expect(control.streams.length).toBeGreaterThan(3);
    expect(control.streams.length).toBeLessThanOrEqual(6);
  });

  it('keeps the old stream while the new one cannot be opened', async () => {
    const first = await opened(0);
    first.send(policy('STRICT'));
    await clock.advance(5000);
    control.failure = new Error('no route');
    stream.watch(['10.0.0.1:80']);
    await clock.advance(1000);
    first.send(policy('PERMISSIVE', 2));
    await settle();
    expect(stream.isUp()).toBe(true);
    expect(stream.policy()).toEqual({ mode: 'PERMISSIVE' });
    control.failure = undefined;
    await clock.advance(5000);
    expect(control.streams[1]?.destinations).toEqual(['10.0.0.1:80']);
  });

  it('what a replaced stream still says is not heard', async () => {
    const first = await opened(0);
    first.send(policy('STRICT', 7, 'a'));
    await clock.advance(5000);
    stream.watch(['10.0.0.1:80']);
    await clock.advance(200);
    const second = control.streams[1]!;
    second.send(policy('PERMISSIVE', 1, 'b'));
    first.send(policy('DISABLE', 8, 'a'));
    await settle();
    first.send(policy('DISABLE', 9, 'a'));
    await settle();
    expect(stream.policy()).toEqual({ mode: 'PERMISSIVE' });
  });

  it('nor is what it had said before and was not read yet', async () => {
    const first = await opened(0);
    first.send(heartbeat);
    await clock.advance(5000);
    stream.watch(['10.0.0.1:80']);
    await clock.advance(200);
    const second = control.streams[1]!;
    first.send(...Array.from({ length: 100 }, (_, i) => policy('DISABLE', i, 'a')));
    second.send(policy('PERMISSIVE', 1, 'b'));
    await settle();
    expect(stream.policy()).toEqual({ mode: 'PERMISSIVE' });
  });

  it('is not reopened for the same set in another order', async () => {
    stream.watch(['10.0.0.2:80', '10.0.0.1:80']);
    const first = await opened(0);
    first.send(heartbeat);
    await clock.advance(2000);
    const count = control.streams.length;
    control.streams.at(-1)?.send(heartbeat);
    stream.watch(['10.0.0.1:80', '10.0.0.2:80', '10.0.0.1:80']);
    await clock.advance(5000);
    expect(control.streams).toHaveLength(count);
  });

  it('names at most 1,000', async () => {
    await opened(0);
    control.streams[0]?.send(heartbeat);
    await clock.advance(5000);
    stream.watch(Array.from({ length: 1500 }, (_, i) => `10.0.${i >> 8}.${i & 255}:80`));
    await clock.advance(200);
    expect(control.streams[1]?.destinations).toHaveLength(1000);
  });
});

it('is closed at once and for good, in each of its states', async () => {
  const first = await opened(0);
  await stream.close();
  expect(first.signal.aborted).toBe(true);
  await clock.advance(60_000);
  expect(control.streams).toHaveLength(1);
  expect(clock.pending).toBe(0);
});
