import { describe, expect, it } from 'vitest';
import { allCallers } from '../../../../src/control-plane/preview/known-callers.ts';
import { isInTheWay } from '../../../../src/control-plane/preview/strict-text.ts';
import { noObjects } from '../../../../src/control-plane/store/objects.ts';
import { createFakeClock } from '../../../support/fake-clock.ts';

describe('the callers that a control plane knows', () => {
  it('are not all of them while sidecars have no name here', async () => {
    const unnamedUntilMs = new Map([['root', Number.POSITIVE_INFINITY]]);
    const book = { living: () => ({ sidecars: [], unnamedUntilMs, unknownUntilMs: 0 }) };
    const parts = { clock: createFakeClock(), book, store: { current: () => noObjects } };
    expect(await allCallers(parts, undefined)).toEqual({ known: [], notKnown: [], unnamed: 1 });
    const preview = { now: '', workloads: [] };
    expect(isInTheWay({ ...preview, notKnown: { pods: [], more: 1 } })).toBe(true);
    expect(isInTheWay({ ...preview, notKnown: { pods: [], more: 0 } })).toBe(false);
  });
});
