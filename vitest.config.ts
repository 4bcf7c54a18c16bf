import { defineConfig } from 'vitest/config';

/** A project's tests run when those of the projects with a lower `groupOrder` are done: the quick ones speak first. */
function project(name: string, groupOrder: number, timeoutMs: number, fileParallelism = true) {
  return {
    extends: true as const,
    test: {
      name,
      include: [`test/${name}/**/*.test.ts`],
      testTimeout: timeoutMs,
      hookTimeout: timeoutMs,
      fileParallelism,
      sequence: { groupOrder },
    },
  };
}

export default defineConfig({
  test: {
    pool: 'forks',
    reporters: ['default', './test/support/reporter.ts'],
    globalSetup: './test/support/global-setup.ts',
    // The default is a second, which a loaded machine takes for anything.
    expect: { poll: { timeout: 30_000 } },
    projects: [
      project('unit', 1, 10_000),
      project('integration', 2, 60_000),
      project('e2e', 3, 180_000, false),
      project('pods', 4, 300_000, false),
      // Wait for minutes on end, so only when they are named.
      ...(process.argv.includes('--project=network') ? [project('network', 5, 600_000, false)] : []),
      ...(process.argv.includes('--project=observability') ? [project('observability', 6, 300_000, false)] : []),
    ],
  },
});
