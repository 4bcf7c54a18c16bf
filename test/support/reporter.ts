import type { SerializedError } from 'vitest';
import type { Reporter, TestCase, TestModule, Vitest } from 'vitest/node';

/**
 * Prints `N passed, N failed` as the very last line, for whoever reads only that. In CI as root nothing may be
 * skipped: everything that a test can miss is there, so a skipped test is one that nobody ever runs.
 */
export default class LastLineReporter implements Reporter {
  #selectsTests = false;

  onInit(vitest: Vitest): void {
    this.#selectsTests = vitest.config.testNamePattern !== undefined;
  }

  onTestRunEnd(modules: readonly TestModule[], errors: readonly SerializedError[]): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()]);
    const forbiddenSkips = this.#maySkip() ? [] : tests.filter((test) => stateOf(test) === 'skipped');
    for (const test of forbiddenSkips) {
      console.error(`CI must not skip: ${test.module.relativeModuleId} > ${test.fullName}${reasonOf(test)}`);
    }
    if (forbiddenSkips.length > 0) process.exitCode = 1;

    const passed = tests.filter((test) => stateOf(test) === 'passed').length;
    const failed = tests.filter((test) => stateOf(test) === 'failed').length;
    const failures = failed + modules.filter(failedOutsideItsTests).length + errors.length + forbiddenSkips.length;
    process.once('exit', () => console.log(`${passed} passed, ${failures} failed`));
  }

  #maySkip(): boolean {
    const isCi = !['', '0', 'false', undefined].includes(process.env.CI);
    return !isCi || process.getuid?.() !== 0 || this.#selectsTests;
  }
}

/** A test that was still to run when the run was interrupted has failed. */
function stateOf(test: TestCase): 'passed' | 'failed' | 'skipped' {
  const { state } = test.result();
  return state === 'pending' ? 'failed' : state;
}

function reasonOf(test: TestCase): string {
  const result = test.result();
  return result.state === 'skipped' && result.note !== undefined ? ` (${result.note})` : '';
}

/** A module that does not load, or whose hook throws, has failed without a failed test. */
function failedOutsideItsTests(module: TestModule): boolean {
  return module.state() === 'failed' && ![...module.children.allTests('failed')].length;
}
