import { expect, it } from 'vitest';
import { createReportBook } from '../../../src/control-plane/report-book.ts';

const workload = (pod: string) => ({ namespace: 'shop', serviceAccount: 'web', pod, podUid: 'u', expiresAtMs: 0 });

it('a report book keeps the last report of each pod, and forgets the one that was silent for longest', () => {
  const book = createReportBook(2);
  book.keep(workload('a'), { version: '1' });
  book.keep(workload('b'), { version: '1' });
  book.keep(workload('a'), { version: '2' });
  book.keep(workload('c'), { version: '1' });
  expect(book.size).toBe(2);
  expect([book.of('shop/a'), book.of('shop/b'), book.of('shop/c')]).toEqual([
    { version: '2' },
    undefined,
    { version: '1' },
  ]);
});
