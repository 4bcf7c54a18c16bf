import { defineConfig } from 'vitest/config';

/** The unit tests that are about what is mutated, and no others: each mutant runs those that reach it. */
export default defineConfig({
  test: {
    pool: 'threads',
    // Stryker has its own bound for a test that never ends.
    testTimeout: 120_000,
    include: [
      'test/unit/identity/*.test.ts',
      'test/unit/agent/renewal-timetable.test.ts',
      'test/unit/agent/identity-sources/{bundles,revoked}.test.ts',
      'test/unit/backoff.test.ts',
      'test/unit/control-plane/{root-set,rotation-rules}.test.ts',
      'test/unit/policy/{address-bits,authorize,judge,judge-properties,mode,weight}.test.ts',
      'test/unit/proxy/{proof,proof-timetable}.test.ts',
    ],
    exclude: ['test/unit/identity/{csr,refusal}.test.ts'],
    setupFiles: ['mutation/seed.ts'],
  },
});
