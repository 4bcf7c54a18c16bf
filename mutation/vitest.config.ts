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
      'test/unit/agent/identity-sources/bundles.test.ts',
      'test/unit/backoff.test.ts',
    ],
    exclude: ['test/unit/identity/{bundle-document,crl*,csr,federation,refusal}.test.ts'],
    setupFiles: ['mutation/seed.ts'],
  },
});
