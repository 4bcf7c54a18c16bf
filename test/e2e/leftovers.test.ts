import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, describe, expect, test } from 'vitest';
import { setup } from '../support/global-setup.ts';

/*
 * Goal: a run that was killed leaves nothing that the next one trips over, and two runs at once leave each other alone.
 * Method: make network namespaces as a dead run, as this run and as a stranger would, sweep, and see which are left.
 */
const ip = (...args: string[]) => execFileSync('ip', args, { encoding: 'utf8' });
const isThere = (namespace: string) => ip('netns', 'list').includes(namespace);

const mine = `remora-test-${process.pid}-kept`;
const strangers = `not-a-remora-test-${process.pid}`;

describe.skipIf(process.getuid?.() !== 0)('leftovers (needs root)', () => {
  afterAll(() => {
    for (const namespace of [mine, strangers]) ip('netns', 'delete', namespace);
  });

  test('of a run that is gone are removed, with their processes; others stay', async () => {
    const gone = spawn('true');
    await once(gone, 'exit');
    const leftover = `remora-test-${gone.pid}-leftover`;
    for (const namespace of [leftover, mine, strangers]) ip('netns', 'add', namespace);
    const inside = spawn('ip', ['netns', 'exec', leftover, 'sh', '-c', 'echo ready; exec sleep infinity']);
    await once(inside.stdout, 'data');
    const ended = once(inside, 'exit');

    setup();

    expect(await ended).toEqual([null, 'SIGKILL']);
    expect([leftover, mine, strangers].map(isThere)).toEqual([false, true, true]);
  });
});
