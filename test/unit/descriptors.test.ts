import { constants } from 'node:os';
import { describe, expect, it } from 'vitest';
import {
  descriptorBudget,
  descriptorShares,
  descriptorsFor,
  hasFreeDescriptor,
  openFilesLimit,
} from '../../src/descriptors.ts';
import { ConfigurationError, ConnectionError, isOutOfDescriptors } from '../../src/errors.ts';
import { outcomeOf } from '../../src/proxy/account.ts';

describe('the limit of a process', () => {
  it.each([
    ['the soft one', 'Max open files            1024                 524288               files     \n', 1024],
    [
      'none',
      'Max open files            unlimited            unlimited            files     \n',
      Number.POSITIVE_INFINITY,
    ],
    [
      'not said',
      'Max processes             1024                 1024                 processes \n',
      Number.POSITIVE_INFINITY,
    ],
  ])('is %s', (_, line, limit) => {
    expect(openFilesLimit(`Limit  Soft Limit  Hard Limit  Units\n${line}Max nice priority  0  0\n`)).toBe(limit);
  });
});

describe('descriptors', () => {
  it.each([
    [42, 40, 2, 1],
    [64, 46, 4, 9],
    [128, 62, 14, 33],
    [1024, 286, 164, 369],
    [4096, 400, 240, 1848],
    [20_400, 400, 240, 10_000],
  ])(
    'of %i are shared out as a reserve of %i, with %i for pages, and room for %i connections',
    (limit, reserve, pages, connections) => {
      expect(descriptorBudget(limit)).toEqual({ limit, reserve, pages, connections });
    },
  );

  it('without a limit have room for any number', () => {
    expect(descriptorBudget(Number.POSITIVE_INFINITY).connections).toBe(Number.POSITIVE_INFINITY);
  });

  it('that leave room for no connection are refused', () => {
    expect(() => descriptorBudget(41)).toThrow(new ConfigurationError('nofile is 41, expected at least 42'));
  });

  it('are never given out twice', () => {
    for (let limit = 42; limit < 3000; limit += 1) {
      const { reserve, connections } = descriptorBudget(limit);
      expect(reserve + connections * descriptorShares.perConnection).toBeLessThanOrEqual(limit);
    }
  });

  it.each([1, 9, 33, 369, 500, 1848, 10_000])('that are asked for have room for %i connections', (connections) => {
    expect(descriptorBudget(descriptorsFor(connections)).connections).toBeGreaterThanOrEqual(connections);
  });

  it('are free in this process', () => {
    expect(hasFreeDescriptor()).toBe(true);
  });
});

describe('a failure for want of a descriptor', () => {
  const failure = (errno: number) => Object.assign(new Error('failed'), { errno });

  it.each([
    ['EMFILE of Node.js', failure(-constants.errno.EMFILE)],
    ['ENFILE of Node.js', failure(-constants.errno.ENFILE)],
    ['EMFILE of the C library', failure(constants.errno.EMFILE)],
    [
      'the cause of another',
      new ConnectionError('upstream_unreachable', 'x', { cause: failure(-constants.errno.EMFILE) }),
    ],
  ])('is known as %s, and refuses a connection as descriptor_limit', (_, error) => {
    expect(isOutOfDescriptors(error)).toBe(true);
    expect(outcomeOf(error)).toMatchObject({ kind: 'denied', reason: 'descriptor_limit' });
  });

  it('is no other failure', () => {
    const other = new ConnectionError('upstream_refused', 'x', { cause: failure(-constants.errno.ECONNREFUSED) });
    expect(isOutOfDescriptors(other)).toBe(false);
    expect(outcomeOf(other)).toMatchObject({ kind: 'closed', reason: 'upstream_refused' });
    expect(isOutOfDescriptors('EMFILE')).toBe(false);
    expect(isOutOfDescriptors(undefined)).toBe(false);
  });
});
