import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { judge } from '../../../src/policy/judge.ts';
import { policies, request } from '../../support/generated-policies.ts';
import { judgeNaively } from '../../support/naive-policies.ts';

describe('an index of policies', () => {
  it('decides about every request as going through all of them does', () => {
    const seen = new Map<string, number>();
    fc.assert(
      fc.property(policies, fc.array(request, { minLength: 4, maxLength: 4 }), (all, requests) => {
        for (const one of requests) {
          const naive = judgeNaively(all, one);
          expect(judge(all, one)).toEqual(naive);
          const kind =
            naive.verdict.kind === 'denied' ? naive.verdict.reason : `allowed ${naive.verdict.by !== undefined}`;
          seen.set(kind, (seen.get(kind) ?? 0) + 1);
        }
      }),
      { numRuns: 2000 },
    );
    // They do meet: no outcome is a rare one.
    for (const kind of ['policy_deny', 'policy_error', 'default_deny', 'allowed true', 'allowed false'])
      expect(seen.get(kind), kind).toBeGreaterThan(200);
  });
});
