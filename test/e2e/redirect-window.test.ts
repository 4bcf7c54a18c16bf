import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { RunningProgram, TestPods } from '../support/pods.ts';
import { noPodsBecause, startPods } from '../support/pods.ts';

/*
 * Goal: there is no moment at which a connection of the application leaves the pod uncaptured: not while the rules come,
 * not while they are replaced, and not when the sidecar is not there. Method: an application that dials the neighbour
 * over and over, and a neighbour that counts what reaches it.
 */

const reapplications = 50;

describe.skipIf(noPodsBecause !== undefined)(
  `windows without capture${noPodsBecause ? ` (skipped: ${noPodsBecause})` : ''}`,
  () => {
    let net: TestPods<'web' | 'neighbour'>;
    let neighbour: RunningProgram;

    beforeEach(async () => {
      net = await startPods({ web: { v4: '10.77.0.2', v6: 'fd77::2' }, neighbour: { v4: '10.77.0.3', v6: 'fd77::3' } });
      neighbour = await net.pods.neighbour.listen('neighbour', ['0.0.0.0:8080', '[::]:8080']);
    });

    afterEach(() => net?.close());

    async function init(...flags: string[]): Promise<void> {
      const { status, stderr } = await net.pods.web.remora(['init', ...flags]);
      expect(stderr).toBe('');
      expect(status).toBe(0);
    }

    const startSidecar = () => net.pods.web.listen('capture', ['127.0.0.1:15001', '[::1]:15001'], { uid: 1337 });
    /** Connections that have reached the neighbour, without its line `ready`. */
    const reached = () => neighbour.lines.filter((line) => line !== 'ready').length;

    async function startDialling(target: string) {
      const dialler = net.pods.web.start('test/support/pod-programs/dial-loop.ts', [target]);
      await dialler.line((line) => line.startsWith('first '));
      return {
        landedAt: (place: string) => dialler.line((line) => line === `first ${place}`),
        async stop(): Promise<Record<string, number>> {
          dialler.process.stdin!.end();
          return JSON.parse(await dialler.line((line) => line.startsWith('{')));
        },
      };
    }

    test(`${reapplications} times the rules are replaced under load, and every connection lands on the capture port`, async () => {
      await init();
      await startSidecar();
      const diallers = [await startDialling('10.77.0.3:8080'), await startDialling('[fd77::3]:8080')];
      for (let i = 0; i < reapplications; i++) await init('--skip-proof', `--exclude-outbound-ports=${1000 + i}`);
      for (const dialler of diallers) {
        const outcomes = await dialler.stop();
        expect(Object.keys(outcomes)).toEqual(['capture']);
        expect(outcomes.capture).toBeGreaterThan(reapplications);
      }
      expect(reached()).toBe(0);
    });

    test('a captured connection that is open stays open while the rules are replaced', async () => {
      await init();
      await startSidecar();
      const program = net.pods.web.start('test/support/pod-programs/converse.ts', ['10.77.0.3:8080']);
      await program.line((line) => line.includes('"at":"capture"'));
      await init('--skip-proof', '--exclude-outbound-ports=1000');
      program.process.stdin!.write('still there?\n');
      expect(await program.line((line) => !line.startsWith('{'))).toBe('still there?');
      program.process.stdin!.end();
      await once(program.process, 'close');
      expect(reached()).toBe(0);
    });

    test('L11: an application that dials from the first moment reaches nobody once init has ended', async () => {
      const dialler = await startDialling('10.77.0.3:8080');
      await init();
      // A busy neighbour may tell late of those that came before; this one came after them.
      await net.pods.neighbour.dial(['10.77.0.3:8080']);
      await neighbour.line((line) => line.includes('"peer":"10.77.0.3"'));
      const { length } = neighbour.lines;
      await startSidecar();
      const [dialled] = await net.pods.web.dial(['10.77.0.3:8080']);
      expect(dialled).toMatchObject({ at: 'capture' });
      await dialler.landedAt('capture');
      await dialler.stop();
      expect(neighbour.lines).toHaveLength(length);
    });

    test('L11: a connection that was open before the rules is cut, and not carried on uncaptured', async () => {
      const program = net.pods.web.start('test/support/pod-programs/converse.ts', ['10.77.0.3:8080']);
      await program.line((line) => line.includes('"at":"neighbour"'));
      await init();
      program.process.stdin!.write('still there?\n');
      expect(await program.line((line) => !line.startsWith('{'))).toBe('ECONNRESET');
    });

    test('L12: when the sidecar is killed its rules remain, and connections are refused', async () => {
      await init();
      const sidecar = await startSidecar();
      expect(await net.pods.web.dial(['10.77.0.3:8080'])).toMatchObject([{ at: 'capture' }]);
      await sidecar.stop('SIGKILL');
      const targets = ['10.77.0.3:8080', '[fd77::3]:8080', '10.96.0.10:80'];
      expect(await net.pods.web.dial(targets)).toEqual(targets.map((target) => ({ target, failed: 'ECONNREFUSED' })));
      expect(await net.pods.neighbour.dial(['10.77.0.2:8080'])).toEqual([
        { target: '10.77.0.2:8080', failed: 'ECONNREFUSED' },
      ]);
      expect(reached()).toBe(0);
    });

    test('a clean-up cuts the connections that were captured', async () => {
      await init();
      await startSidecar();
      const program = net.pods.web.start('test/support/pod-programs/converse.ts', ['10.77.0.3:8080']);
      await program.line((line) => line.includes('"at":"capture"'));
      await init('--cleanup');
      program.process.stdin!.write('still there?\n');
      expect(await program.line((line) => !line.startsWith('{'))).toBe('ECONNRESET');
    });
  },
);
