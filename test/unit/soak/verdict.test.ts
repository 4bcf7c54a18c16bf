import { describe, expect, it } from 'vitest';
import type { Symptom } from '../../../soak/apps/channel.ts';
import type { Failure } from '../../../soak/apps/reports.ts';
import type { FaultKind, PodName } from '../../../soak/faults.ts';
import { faultKinds, podNames, rowOf } from '../../../soak/faults.ts';
import type { Fault } from '../../../soak/verdict.ts';
import { judge, repeated, service } from '../../../soak/verdict.ts';

/** A client in `web` that talked with `db` since 5 s and was reset at 10 s. */
function failure(given: Partial<Failure> = {}): Failure {
  return {
    ...{ at: 'web', side: 'client', peer: 'db', id: 'web-1', kind: 'short', symptom: 'reset', phase: 'carried' },
    ...{ atMs: 10_000, startedMs: 5000, detail: '' },
    ...given,
  };
}

/** From 9 s to 11 s. */
function fault(kind: FaultKind, pod: PodName | undefined, given: Partial<Fault> = {}): Fault {
  return { kind, pod, beganMs: 9000, undoneMs: 11_000, ...given };
}

const isExplained = (seen: Failure, ...faults: Fault[]) => judge([seen], faults)[0]?.explainedBy !== undefined;
const everywhere = faultKinds.flatMap((kind) => (rowOf(kind).pods ?? [undefined]).map((pod) => fault(kind, pod)));

describe('the verdict of a soak', () => {
  it('explains no error without a fault', () => {
    expect(isExplained(failure())).toBe(false);
  });

  it.each<[Symptom, Partial<Failure>]>([
    ['wrong-byte', {}],
    ['stalled', {}],
    ['other', {}],
    ['wrong-byte', { phase: 'open' }],
    ['early-end', {}],
    ['early-end', { phase: 'open' }],
  ])('explains a %s by no fault at all, wherever it is (%o)', (symptom, given) => {
    for (const at of everywhere) expect(isExplained(failure({ ...given, symptom }), at), at.kind).toBe(false);
  });

  it.each([
    ['at the client', 'web', failure()],
    ['at the server', 'db', failure()],
    ['at the client, seen by the server', 'web', failure({ at: 'db', side: 'server', peer: 'web' })],
    ['at the server, seen by the server', 'db', failure({ at: 'db', side: 'server', peer: 'web' })],
  ] as const)('explains a reset by a sidecar that was killed %s', (_where, pod, seen) => {
    expect(isExplained(seen, fault('sidecar-killed', pod))).toBe(true);
  });

  it('explains nothing by a fault of a pod that has nothing to do with it', () => {
    for (const kind of faultKinds.filter((one) => rowOf(one).pods?.includes('api'))) {
      expect(isExplained(failure(), fault(kind, 'api')), kind).toBe(false);
      expect(isExplained(failure({ phase: 'open' }), fault(kind, 'api')), kind).toBe(false);
    }
  });

  it('explains nothing before a fault, and nothing once its consequences are over', () => {
    const killed = fault('sidecar-killed', 'db');
    expect(isExplained(failure({ atMs: 8999 }), killed)).toBe(false);
    expect(isExplained(failure({ atMs: 9000 }), killed)).toBe(true);
    expect(isExplained(failure({ atMs: 14_000 }), killed)).toBe(true);
    expect(isExplained(failure({ atMs: 14_001 }), killed)).toBe(false);
    const reset = fault('tunnels-reset', 'db');
    expect(isExplained(failure({ atMs: 36_000 }), reset)).toBe(true);
    expect(isExplained(failure({ atMs: 36_001 }), reset)).toBe(false);
  });

  it('explains an error under a fault that is still in force', () => {
    expect(isExplained(failure({ atMs: 99_000 }), fault('sidecar-killed', 'db', { undoneMs: undefined }))).toBe(true);
  });

  it('lets a slow reader hear late that its own sidecar was killed, but not one that began afterwards', () => {
    const killed = fault('sidecar-killed', 'web');
    expect(isExplained(failure({ atMs: 60_000 }), killed)).toBe(true);
    expect(isExplained(failure({ atMs: 60_000, startedMs: 11_001 }), killed)).toBe(false);
    expect(isExplained(failure({ atMs: 60_000 }), fault('sidecar-killed', 'db'))).toBe(false);
  });

  it('lets a sidecar that stops reset what it carries at its drain deadline, and not before', () => {
    for (const pod of ['web', 'db'] as const) {
      const stopped = fault('sidecar-stopped', pod, { undoneMs: 13_000 });
      expect(isExplained(failure({ atMs: 11_999 }), stopped)).toBe(false);
      expect(isExplained(failure({ atMs: 12_000 }), stopped)).toBe(true);
      expect(isExplained(failure({ atMs: 9500, phase: 'open' }), stopped)).toBe(true);
    }
  });

  it('lets no connection that is carried be cut by a pause, a lossy network, a partition or the control plane', () => {
    for (const kind of ['sidecar-frozen', 'packets-lost', 'partitioned', 'control-plane-killed'] as const) {
      for (const pod of podNames) expect(isExplained(failure(), fault(kind, pod)), `${kind} ${pod}`).toBe(false);
    }
  });

  it('explains a DENY at both ends of what its identity dials, while it lasts', () => {
    const denied = fault('identity-denied', 'web');
    const atServer: Partial<Failure> = { at: 'db', side: 'server', peer: 'web' };
    for (const seen of [{}, { phase: 'open' }, { phase: 'open', peer: service }, atServer] as const) {
      expect(isExplained(failure(seen), denied)).toBe(true);
      expect(isExplained(failure({ ...seen, atMs: 8999 }), denied)).toBe(false);
      // Begun after it was lifted: it works again.
      expect(isExplained(failure({ ...seen, atMs: 15_000, startedMs: 11_001 }), denied)).toBe(false);
    }
    expect(isExplained(failure({ symptom: 'refused', phase: 'open' }), denied)).toBe(false);
  });

  it('explains nothing of another identity by a DENY, nor of those that dial the pod of that identity', () => {
    const denied = fault('identity-denied', 'api');
    expect(isExplained(failure({ at: 'api' }), denied)).toBe(true);
    for (const phase of ['open', 'carried'] as const) {
      expect(isExplained(failure({ peer: 'api', phase }), denied)).toBe(false);
      expect(isExplained(failure({ peer: service, phase }), denied)).toBe(false);
      expect(isExplained(failure({ at: 'api', side: 'server', peer: 'web', phase }), denied)).toBe(false);
    }
  });

  it('explains nothing by what is harmless', () => {
    for (const at of everywhere.filter(({ kind }) => rowOf(kind).lane === 'harmless')) {
      for (const symptom of ['refused', 'reset', 'early-end'] as const) {
        for (const phase of ['open', 'carried'] as const) {
          expect(isExplained(failure({ symptom, phase }), at), `${at.kind} ${symptom}`).toBe(false);
        }
      }
    }
  });

  it('explains a refusal only where nobody listens: beside a sidecar that is gone', () => {
    const refused = failure({ symptom: 'refused', phase: 'open' });
    const explaining = everywhere.filter((at) => isExplained(refused, at)).map(({ kind, pod }) => `${kind} ${pod}`);
    expect(explaining).toEqual(['sidecar-killed web', 'sidecar-stopped web']);
  });

  it('takes a client of the Service for one of each of its pods until it has heard a server', () => {
    const unknown = failure({ peer: service, phase: 'open' });
    expect(isExplained(unknown, fault('server-restarted', 'api'))).toBe(true);
    expect(isExplained(unknown, fault('server-restarted', 'db'))).toBe(true);
    expect(isExplained(failure({ at: 'api', peer: service, phase: 'open' }), fault('sidecar-killed', 'web'))).toBe(
      false,
    );
  });

  it('names the fault that explains', () => {
    const killed = fault('sidecar-killed', 'db');
    expect(judge([failure()], [fault('sidecar-frozen', 'db'), killed])).toEqual([
      { failure: failure(), explainedBy: killed },
    ]);
  });

  it('finds each connection that reached servers more than once', () => {
    expect(repeated(['web-1', 'web-2', 'api-1'])).toEqual([]);
    expect(repeated(['web-1', 'web-2', 'web-1', 'api-1', 'web-1', 'api-1'])).toEqual(['web-1', 'api-1']);
  });
});
