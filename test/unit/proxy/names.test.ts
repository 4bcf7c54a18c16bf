import { describe, expect, it } from 'vitest';
import { createNames } from '../../../src/proxy/outbound/names.ts';

const never = new AbortController().signal;
const nobody = () => Promise.reject(new Error('Must not be asked'));

describe('names', () => {
  it('are shared by those who wait, and the one that gives up ends it for itself alone', async () => {
    let lookups = 0;
    const { promise, resolve } = Promise.withResolvers<{ address: string }>();
    const names = createNames(() => {
      lookups += 1;
      return promise;
    });
    const giveUp = new AbortController();
    const given = names.ipOf('db.test', giveUp.signal);
    const kept = names.ipOf('db.test', never);
    giveUp.abort(new Error('too late'));
    await expect(given).rejects.toThrow('too late');
    resolve({ address: '::ffff:192.0.2.1' });
    expect(await kept).toBe('192.0.2.1');
    expect(lookups).toBe(1);
  });

  it('that fail when everybody has given up are nobody’s uncaught error', async () => {
    const { promise, reject } = Promise.withResolvers<{ address: string }>();
    const giveUp = new AbortController();
    const given = createNames(() => promise).ipOf('db.test', giveUp.signal);
    giveUp.abort(new Error('too late'));
    await expect(given).rejects.toThrow('too late');
    reject(new Error('ENOTFOUND'));
    await new Promise((turn) => setImmediate(turn));
  });

  it.each(['192.0.2.1', '2001:db8::1'])('that are addresses, as %s, are asked of nobody', async (ip) => {
    expect(await createNames(nobody).ipOf(ip, never)).toBe(ip);
  });
});
