import { chmod, cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Link } from '../../src/cli/demo/network.ts';
import { createLink } from '../../src/cli/demo/network.ts';
import { shareProgram } from '../../src/cli/demo/shared-program.ts';
import { systemClock } from '../../src/clock.ts';
import { runTool } from '../../src/system-tool.ts';
import { noPodsBecause } from '../support/pods.ts';

/*
 * Goal: the pods of the demo and of these tests are as isolated as those of a cluster, appear at once, and leave nothing
 * behind. Method: a link of its own; what the machine lists before and after is compared.
 */

const env = process.env;

describe.skipIf(noPodsBecause !== undefined)(
  `pods on one link${noPodsBecause ? ` (skipped: ${noPodsBecause})` : ''}`,
  () => {
    let link: Link;
    const name = `remora-test-${process.pid}-link-test`;

    beforeEach(async () => {
      link = await createLink({ name, env, clock: systemClock });
    });

    afterEach(() => link.remove());

    const machine = async () => {
      const result = await runTool(
        'sh',
        ['-c', `ip -br link; ip netns list | grep ${name}; grep ${name} /proc/mounts`],
        { env },
      );
      return result.kind === 'ended' ? result.stdout : '';
    };

    const stateOf = (pid: number) =>
      outputOf(runTool('sh', ['-c', `grep -s State /proc/${pid}/status || true`], { env }));

    async function outputOf(running: ReturnType<typeof runTool>): Promise<string> {
      const result = await running;
      if (result.kind === 'missing' || result.status !== 0) throw new Error(JSON.stringify(result));
      return result.stdout.trim();
    }

    test('pods reach each other over IPv4 and IPv6 at once, through a gateway that routes everything else', async () => {
      const a = await link.addPod('a', { v4: '10.77.0.2', v6: 'fd77::2' });
      await link.addPod('b', { v4: '10.77.0.3', v6: 'fd77::3' });
      expect(await outputOf(a.run(['ip', 'route', 'get', '10.96.0.10']))).toContain(
        'via 10.77.0.1 dev eth0 src 10.77.0.2',
      );
      expect(await outputOf(a.run(['ip', 'route', 'get', 'fd96::10']))).toContain('via fd77::1 dev eth0 src fd77::2');
      expect(await outputOf(a.run(['ip', '-6', '-o', 'addr', 'show', 'tentative']))).toBe('');
    });

    test('a pod without an IPv6 address has no IPv6 at all, not even loopback', async () => {
      const pod = await link.addPod('v4only', { v4: '10.77.0.2' });
      expect(await outputOf(pod.run(['ip', '-6', '-o', 'addr']))).toBe('');
    });

    test('a process has the user, the groups and the capabilities that were asked for, and can gain none', async () => {
      const pod = await link.addPod('a', { v4: '10.77.0.2' });
      const status = (options: object) =>
        outputOf(pod.run(['grep', '-E', '^(Uid|Gid|Groups|CapPrm|CapBnd|NoNewPrivs)', '/proc/self/status'], options));
      expect((await status({ uid: 1337 })).replaceAll(/\s+/g, ' ')).toBe(
        'Uid: 1337 1337 1337 1337 Gid: 1337 1337 1337 1337 Groups: CapPrm: 0000000000000000 CapBnd: 0000000000000000 NoNewPrivs: 1',
      );
      expect(await status({ uid: 1000, gid: 1001, groups: [1002, 1003] })).toMatch(
        /Gid:\t1001[\s\S]*Groups:\t1002 1003/,
      );
      expect(await status({ capabilities: ['net_admin'] })).toMatch(
        /CapPrm:\t0000000000001000\nCapBnd:\t0000000000001000\nNoNewPrivs:\t1/,
      );
    });

    test('nothing is left: not a namespace, an interface, a mount, nor a process that its parent has forgotten', async () => {
      await link.remove();
      const before = await machine();
      const another = await createLink({ name, env, clock: systemClock });
      const pod = await another.addPod('a', { v4: '10.77.0.2', v6: 'fd77::2' });
      const child = pod.exec([
        'sh',
        '-c',
        'trap "" TERM HUP; (setsid sleep 600 & setsid sleep 600 &) ; echo started; sleep 600',
      ]);
      await new Promise((resolve) => child.stdout!.once('data', resolve));
      const { namespaces, pids } = await another.leftovers();
      expect(namespaces.toSorted()).toEqual([`${name}-a`, `${name}-link`]);
      expect(pids.length).toBeGreaterThanOrEqual(4);
      expect(await machine()).not.toBe(before);
      await another.remove();
      await another.remove();
      expect(await another.leftovers()).toEqual({ namespaces: [], pids: [] });
      expect(await machine()).toBe(before);
      // A machine whose first process reaps nobody keeps the orphans as zombies.
      for (const pid of pids) expect(await stateOf(pid)).toMatch(/^$|zombie/);
    });

    test('a link that cannot be made says why, and removes nothing that it did not make', async () => {
      await expect(createLink({ name, env, clock: systemClock })).rejects.toThrow(/ip netns add .*File exists/);
      expect((await link.leftovers()).namespaces).toEqual([`${name}-link`]);
    });

    describe("the program, for the sidecar's user", () => {
      let folder: string;

      beforeEach(async () => {
        folder = await mkdtemp(join(tmpdir(), 'remora-test-clone-'));
      });

      afterEach(() => rm(folder, { recursive: true }));

      /** A clone with a program that imports a module and a package, below a folder that only root may enter. */
      async function clone(fileMode: number, folderMode: number): Promise<string> {
        const root = join(folder, 'clone');
        const files = {
          'package.json': '{"type":"module"}',
          'package-lock.json': '{"packages":{"":{},"node_modules/needed":{},"node_modules/tool":{"dev":true}}}',
          'src/main.ts':
            "import { whole } from './part.ts'; import needed from 'needed'; console.log(whole, needed, process.getuid!());",
          'src/part.ts': "export const whole: string = 'whole';",
          'node_modules/needed/package.json': '{"type":"module","exports":"./index.js"}',
          'node_modules/needed/index.js': "export default 'needed';",
          'node_modules/tool/index.js': '',
        };
        for (const [path, text] of Object.entries(files)) {
          await mkdir(join(root, path, '..'), { recursive: true });
          await writeFile(join(root, path), text);
        }
        await runTool(
          'sh',
          [
            '-c',
            `find "$0" -type f -exec chmod ${fileMode.toString(8)} {} + ; find "$0" -type d -exec chmod ${folderMode.toString(8)} {} +`,
            root,
          ],
          { env },
        );
        await chmod(folder, 0o700);
        return root;
      }

      test.each([
        ['below a folder that only its owner may enter', 0o644, 0o755],
        ['in files that only their owner may read', 0o600, 0o700],
      ])('runs %s', async (_, fileMode, folderMode) => {
        const root = await clone(fileMode, folderMode);
        const pod = await link.addPod('a', { v4: '10.77.0.2' });
        const program = await shareProgram([process.execPath, join(root, 'src/main.ts')], env);
        expect(await outputOf(pod.run(program.argv, { uid: 1337, mounts: program.mounts }))).toBe('whole needed 1337');
        await program.remove();
        await program.remove();
        expect(await outputOf(runTool('ls', [join(root, 'src')], { env }))).toBe('main.ts\npart.ts');
      });

      test('runs with a Node.js that only its owner may reach', async () => {
        const root = await clone(0o644, 0o755);
        const node = join(folder, 'own-node', 'node');
        await cp(process.execPath, node);
        const pod = await link.addPod('a', { v4: '10.77.0.2' });
        const program = await shareProgram([node, join(root, 'src/main.ts')], env);
        expect(await outputOf(pod.run(program.argv, { uid: 1337, mounts: program.mounts }))).toBe('whole needed 1337');
        await program.remove();
      });
    });
  },
);
