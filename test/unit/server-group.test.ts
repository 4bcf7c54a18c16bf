import { expect, it } from 'vitest';
import { startTogether } from '../../src/server-group.ts';

const told: string[] = [];
const server = (name: string) => async () => {
  told.push(`start ${name}`);
  return { close: () => void told.push(`close ${name}`) };
};

it('starts servers in order, and closes them in the same', async () => {
  told.length = 0;
  const group = await startTogether([server('a'), server('b')]);
  await group.close();
  expect(told).toEqual(['start a', 'start b', 'close a', 'close b']);
});

it('K9: leaves none of them behind when one cannot start', async () => {
  told.length = 0;
  const taken = () => Promise.reject(new Error('b is taken'));
  await expect(startTogether([server('a'), taken, server('c')])).rejects.toThrow('b is taken');
  expect(told).toEqual(['start a', 'close a']);
});
