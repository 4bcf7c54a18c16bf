import { defineConfig } from 'vitest/config';

/** The unit tests that are about what is mutated, and no others: each mutant runs those that reach it. */
export default defineConfig({
  test: {
    pool: 'threads',
    include: [
      'test/unit/identity/*.test.ts',
      'test/unit/agent/renewal-timetable.test.ts',
      'test/unit/agent/identity-sources/bundles.test.ts',
      'test/unit/backoff.test.ts',
    ],
    setupFiles: ['mutation/seed.ts'],
  },
});
