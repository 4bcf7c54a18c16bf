import { expect, it } from 'vitest';
import { createInterceptionBook, noBypasses } from '../../../src/agent/interception-book.ts';

const outbound = { family: 'ipv4', direction: 'outbound' } as const;
const one = { ...noBypasses, outbound: { ipv4: 1, ipv6: 0 } };

it('says nothing of what was never proved', () => {
  const book = createInterceptionBook();
  expect(book.facts()).toEqual({ proofs: [], bypassed: { inbound: 0, outbound: 0 } });
});

it('is in order again when the connection is gone and the proof holds', () => {
  const book = createInterceptionBook();
  book.proved({ ...outbound, isOk: true });
  book.proved({ family: 'ipv6', direction: 'outbound', isOk: true });
  book.bypassed(one);
  expect(book.facts().proofs).toEqual([
    { ...outbound, isOk: false },
    { family: 'ipv6', direction: 'outbound', isOk: true },
  ]);
  book.proved({ ...outbound, isOk: true });
  expect(book.facts().proofs[0]?.isOk).toBe(false);
  book.bypassed(noBypasses);
  expect(book.facts().proofs[0]?.isOk).toBe(true);
});

it('is not in order while a connection goes around, whether or not anything was proved', () => {
  const book = createInterceptionBook();
  book.bypassed(one);
  expect(book.facts()).toEqual({ proofs: [{ ...outbound, isOk: false }], bypassed: { inbound: 0, outbound: 1 } });
});

it('knows nothing of what is to be forgotten', () => {
  const book = createInterceptionBook();
  book.proved({ family: 'ipv6', direction: 'inbound', isOk: false });
  book.forget({ family: 'ipv6', direction: 'inbound' });
  expect(book.facts().proofs).toEqual([]);
});
