import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Faults } from '../support/link.ts';
import type { LinkedMesh } from '../support/linked-mesh.ts';
import { startLinkedMesh, wholeTransfer } from '../support/linked-mesh.ts';
import { noPodsBecause } from '../support/pods.ts';

/*
 * Goal: the same as `test/e2e/network-faults.test.ts` where each packet takes seconds, or every third is lost.
 * Method: the same. It waits for the deadlines of TCP and of the sidecars, so it takes minutes: `npm run test:network`.
 */
const kib = 1024;

describe.skipIf(noPodsBecause !== undefined)(`extreme networks between two sidecars ${noPodsBecause ?? ''}`, () => {
  let mesh: LinkedMesh;

  beforeAll(async () => {
    mesh = await startLinkedMesh(['--handshake-timeout', '1m', '--connect-timeout', '30s']);
  });
  afterAll(() => mesh?.close());
  beforeEach(async () => {
    await mesh.link.set({});
    await mesh.startAnew(['--tunnel-open-timeout', '1m']);
  });

  it.each<[string, Faults, number]>([
    ['N9: 2 s', { delayMs: 2_000 }, 32 * kib],
    ['N9: a second, with 1 % of the packets lost, damaged, twice and early each', extremes(1_000, 1), 32 * kib],
    ['N9: 10 ms and 10 % loss', { delayMs: 10, lossPercent: 10 }, 256 * kib],
    ['N9: 1 Mbit/s', { rateMbit: 1, delayMs: 10 }, 3_000 * kib],
  ])('%s: every byte arrives, both ways', async (_name, faults, bytes) => {
    await mesh.link.set(faults);
    expect(await mesh.bothWays(bytes)).toEqual(wholeTransfer(bytes));
  });

  it('N9: with 30 % loss a transfer is whole or cut, never short, and works again on a clean link', async () => {
    const bytes = 64 * kib;
    await mesh.link.set({ delayMs: 10, lossPercent: 30 });
    for (const { isEqual, ended, failed } of await mesh.bothWays(bytes))
      expect(isEqual === true || (failed ?? ended) === 'ECONNRESET').toBe(true);
    await mesh.link.set({});
    expect(await mesh.bothWays(bytes)).toEqual(wholeTransfer(bytes));
  });
});

function extremes(delayMs: number, percent: number): Faults {
  return { delayMs, lossPercent: percent, corruptPercent: percent, duplicatePercent: percent, reorderPercent: percent };
}
