import { describe, expect, it } from 'vitest';
import { createAffinities, maxAffinities } from '../../../src/proxy/outbound/affinities.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

const api = { destination: '10.96.0.10:80', idleMs: 60_000 };

describe('the affinity of a destination', () => {
  it('is to the endpoint of its last connection, each destination by itself', () => {
    const affinities = createAffinities(createFakeClock());
    expect(affinities.endpointOf(api)).toBe(undefined);
    affinities.remember(api, 'a');
    affinities.remember({ ...api, destination: '10.96.0.10:81' }, 'b');
    expect(affinities.endpointOf(api)).toBe('a');
    affinities.remember(api, 'c');
    expect(affinities.endpointOf(api)).toBe('c');
    expect(affinities.endpointOf({ ...api, destination: '10.96.0.10:81' })).toBe('b');
  });

  it('ends when no connection was made for so long, and each connection prolongs it', async () => {
    const clock = createFakeClock();
    const affinities = createAffinities(clock);
    affinities.remember(api, 'a');
    await clock.advance(59_999);
    expect(affinities.endpointOf(api)).toBe('a');
    affinities.remember(api, 'a');
    await clock.advance(59_999);
    expect(affinities.endpointOf(api)).toBe('a');
    await clock.advance(1);
    expect(affinities.endpointOf(api)).toBe(undefined);
  });

  it('is lost by the one that was not dialled for longest, when there are too many', () => {
    const affinities = createAffinities(createFakeClock());
    const destination = (i: number) => ({ ...api, destination: `10.96.0.10:${i + 1}` });
    for (let i = 0; i < maxAffinities; i += 1) affinities.remember(destination(i), 'a');
    affinities.remember(destination(0), 'a');
    affinities.remember(destination(maxAffinities), 'a');
    expect(affinities.endpointOf(destination(0))).toBe('a');
    expect(affinities.endpointOf(destination(1))).toBe(undefined);
    expect(affinities.endpointOf(destination(2))).toBe('a');
  });
});
