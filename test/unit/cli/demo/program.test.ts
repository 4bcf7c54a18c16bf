import { spawn } from 'node:child_process';
import { afterEach, describe, expect, it } from 'vitest';
import { followProgram } from '../../../../src/cli/demo/program.ts';
import { systemClock } from '../../../../src/clock.ts';
import { createFakeClock } from '../../../support/fake-clock.ts';

const children: ReturnType<typeof spawn>[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

function follow(script: string, clock = systemClock) {
  const child = spawn('sh', ['-c', script]);
  children.push(child);
  const lines: string[] = [];
  return { lines, program: followProgram('The program', child, clock, (line) => lines.push(line)) };
}

describe('a program of the demo', () => {
  it('is heard line by line, whether one waits before or after', async () => {
    const { program, lines } = follow('echo one; echo two; cat');
    expect(await program.line((line) => line === 'two')).toBe('two');
    expect(await program.line((line) => line.startsWith('o'))).toBe('one');
    expect(lines).toEqual(['one', 'two']);
  });

  it('hears lines', async () => {
    const { program } = follow('read -r word; echo "heard $word"; cat');
    program.write('this');
    expect(await program.line((line) => line.startsWith('heard'))).toBe('heard this');
  });

  it('that ends by itself fails with its own reason', async () => {
    const { program } = follow('echo "remora: a port is in use" >&2; echo "and more" >&2; exit 3');
    await expect(program.line(() => false)).rejects.toThrow('The program ended with exit code 3: a port is in use');
    await expect(program.failure).rejects.toThrow('The program ended with exit code 3: a port is in use');
  });

  it('that cannot be started fails', async () => {
    const program = followProgram('The program', spawn('/nowhere/at-all'), systemClock);
    await expect(program.failure).rejects.toThrow('The program could not be started: spawn /nowhere/at-all ENOENT');
    await program.stop();
  });

  it('that stays silent is not waited for forever', async () => {
    const clock = createFakeClock();
    const { program } = follow('exec cat', clock);
    const waiting = expect(program.line(() => false, 1000)).rejects.toThrow(
      'did not say what was expected within 1000 ms',
    );
    await clock.advance(1000);
    await waiting;
  });

  it('that is asked to end has not failed, and is killed when it does not', async () => {
    const clock = createFakeClock();
    const { program } = follow("trap '' TERM; echo ready; while :; do read -r word; done", clock);
    await program.line((line) => line === 'ready');
    let hasFailed = false;
    program.failure.catch(() => {
      hasFailed = true;
    });
    const stopped = program.stop(1000);
    await clock.advance(1000);
    await stopped;
    expect(hasFailed).toBe(false);
  });
});
