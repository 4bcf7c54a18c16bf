import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { TestPods } from '../support/pods.ts';
import { noPodsBecause, startPods } from '../support/pods.ts';

/*
 * Goal: whatever keeps `remora init` from doing its work, it says so in one sentence, ends with the exit code of that
 * kind of failure, and leaves the pod as it found it: no half of the rules, and no rules that were not proved. Method: the
 * real program in a pod where one thing is wrong; the rules and the loopback addresses before and after are compared.
 */

const initContainer = { capabilities: ['net_admin'] };

describe.skipIf(noPodsBecause !== undefined)(
  `remora init refuses${noPodsBecause ? ` (skipped: ${noPodsBecause})` : ''}`,
  () => {
    let net: TestPods<'web'>;
    let tools: string;

    beforeAll(async () => {
      tools = await mkdtemp(join(tmpdir(), 'remora-test-tools-'));
      await chmod(tools, 0o755);
    });

    afterAll(() => rm(tools, { recursive: true }));

    beforeEach(async () => {
      net = await startPods({ web: { v4: '10.77.0.2', v6: 'fd77::2' } });
    });

    afterEach(() => net?.close());

    const state = () => net.pods.web.sh('nft -s list ruleset; ip -6 -o addr show dev lo');

    /** Runs init, expects it to fail and to change nothing, and returns its exit code and its one sentence. */
    async function refusal(
      flags: readonly string[],
      options: object = initContainer,
    ): Promise<{ status: number; sentence: string }> {
      const before = await state();
      const { status, stdout, stderr } = await net.pods.web.remora(['init', ...flags], options);
      expect(stdout).toBe('');
      expect(stderr).toMatch(/^remora: [^\n]*\n$/);
      expect(await state()).toBe(before);
      return { status, sentence: stderr.replace(/^remora: /, '').trim() };
    }

    /** An `nft` that fails as a kernel or a user would make it fail. */
    async function brokenNft(stderr: string): Promise<string> {
      const folder = await mkdtemp(join(tools, 'nft-'));
      await writeFile(join(folder, 'nft'), `#!/bin/sh\n/bin/cat >&2 <<'END'\n${stderr}\nEND\nexit 1\n`, {
        mode: 0o755,
      });
      await chmod(folder, 0o755);
      return folder;
    }

    test.each([
      ['without NET_ADMIN, as root', { capabilities: ['net_raw'] }],
      ['as an ordinary user', { uid: 1000 }],
      ["as the sidecar's user", { uid: 1337 }],
    ])('%s, with 77', async (_, privileges) => {
      const { status, sentence } = await refusal([], privileges);
      expect(status).toBe(77);
      expect(sentence).toContain('expected the capability NET_ADMIN');
    });

    test('L10: without nft, with 69', async () => {
      const { status, sentence } = await refusal([], { ...initContainer, toolPath: '/nonexistent' });
      expect(status).toBe(69);
      expect(sentence).toBe("nft is not on the PATH '/nonexistent', expected the package nftables to be installed");
    });

    test.each([
      ['nf_tables', 'Error: Unable to initialize Netlink socket: Protocol not supported'],
      [
        'NAT',
        '/dev/stdin:38:8-15: Error: Could not process rule: No such file or directory\n\tchain outbound {\n\t      ^^^^^^^^',
      ],
      ['reject', '/dev/stdin:80:3-90: Error: Could not process rule: Operation not supported'],
    ])('L10: on a kernel without %s, with 69', async (_, stderr) => {
      const { status, sentence } = await refusal([], { ...initContainer, toolPath: await brokenNft(stderr) });
      expect(status).toBe(69);
      expect(sentence).toContain('The kernel lacks what the rules need');
      expect(sentence).toContain(stderr.split('\n')[0]);
    });

    test('when nft fails in another way, with 1 and its own words', async () => {
      const { status, sentence } = await refusal([], {
        ...initContainer,
        toolPath: await brokenNft('Error: syntax error, unexpected saddr'),
      });
      expect(status).toBe(1);
      expect(sentence).toContain('syntax error, unexpected saddr');
    });

    test.each([
      ['127.0.0.1:15001', 15001, []],
      ['[::1]:15001', 15001, []],
      ['127.0.0.1:16001', 16001, ['--outbound-port=16001']],
    ])('K9: when another process listens on %s, naming it, with 1', async (address, port, flags) => {
      await net.pods.web.listen('thief', [address]);
      const { status, sentence } = await refusal(flags);
      expect(status).toBe(1);
      expect(sentence).toContain(address.replace(/:\d+$/, `:${port}`));
      expect(sentence).toContain('in use by another process');
    });

    test('L14: a process that took the port with SO_REUSEPORT is noticed too', async () => {
      const thief = net.pods.web.start('test/support/pod-programs/listen-shared.ts', ['127.0.0.1:15001']);
      await thief.line((line) => line === 'ready');
      expect(await refusal([])).toMatchObject({ status: 1, sentence: expect.stringContaining('127.0.0.1:15001') });
    });

    /** Adds a chain of somebody else. */
    const addChain = (family: string, chain: string) =>
      net.pods.web.sh(`nft -f - <<'END'\ntable ${family} other {\nchain other {\n${chain}\n}\n}\nEND`);

    const redirect = (chain: string) => `nft -f - <<'END'
table ip other {
  chain TAKE {
    tcp dport 80 redirect to :8080
  }
  chain ${chain} {
    type nat hook ${chain} priority dstnat; policy accept;
    meta l4proto tcp jump TAKE
  }
}
END`;

    test.each(['output', 'prerouting'])(
      'when another table redirects in %s, naming the rule, with 78',
      async (hook) => {
        await net.pods.web.sh(redirect(hook).replace('priority dstnat', 'priority -100'));
        const { status, sentence } = await refusal([]);
        expect(status).toBe(78);
        expect(sentence).toContain('table ip other, chain TAKE: tcp dport 80 redirect to :8080');
        const accepted = await net.pods.web.remora(['init', '--accept-other-redirects']);
        expect(accepted).toMatchObject({ status: 0, stderr: '' });
      },
    );

    test.each([
      ['drops the dial', 'type filter hook output priority -150; ip daddr 192.0.2.1 drop', 'landed nowhere'],
      [
        'runs before and sends the dial elsewhere',
        'type nat hook output priority -150; tcp dport 15002 dnat to 10.77.0.1:9',
        '192.0.2.1:15002',
      ],
      ['drops what lands', 'type filter hook input priority -1; tcp dport 15001 drop', 'landed nowhere'],
    ])('when the proof fails because something %s, taking its rules away again, with 1', async (_, chain, why) => {
      const family = chain.includes('dnat') ? 'ip' : 'inet';
      await addChain(family, chain);
      const { status, sentence } = await refusal([]);
      expect(status).toBe(1);
      expect(sentence).toContain('Outbound connections are not captured');
      expect(sentence).toContain(why);
    });

    test('when other settings cannot be proved, putting the rules back that were there, with their counters', async () => {
      const flags = ['--exclude-outbound-ports=5432', '--exclude-outbound-ip-ranges=10.0.0.0/8,fd77::/16'];
      await net.pods.web.sh('nft add table inet other');
      await net.pods.web.remora(['init', ...flags]);
      await addChain('inet', 'type filter hook output priority -150; ip daddr 192.0.2.1 drop');
      const table = await net.pods.web.sh('nft list table inet remora');
      expect(table).toMatch(/counter packets 1 .* comment "IPv4 capture probe"/);
      expect(await refusal([])).toMatchObject({ status: 1 });
      expect(await net.pods.web.sh('nft list table inet remora')).toBe(table);
    });

    test('when rules that are in place no longer capture, leaving them: they are better than none', async () => {
      await net.pods.web.remora(['init']);
      await addChain('inet', 'type filter hook output priority -150; ip daddr 192.0.2.1 drop');
      expect(await refusal([])).toMatchObject({ status: 1 });
    });

    test('when there is no way out that could be proved, with 1', async () => {
      await net.pods.web.sh('ip route del default; ip -6 route del default');
      const { status, sentence } = await refusal([]);
      expect(status).toBe(1);
      expect(sentence).toContain('no route to 192.0.2.1 and none to 2001:db8::1');
    });

    test('a network namespace that does not exist, with 78', async () => {
      const { status, sentence } = await refusal(['--netns', 'remora-test-none'], {});
      expect(status).toBe(78);
      expect(sentence).toContain('/run/netns/remora-test-none cannot be opened');
    });

    test('a network namespace that it may not enter, with 77', async () => {
      const { status, sentence } = await refusal(['--netns', net.pods.web.namespace], initContainer);
      expect(status).toBe(77);
      expect(sentence).toContain('expected the capability SYS_ADMIN');
    });

    test('bad values, all of them at once, with 78 and before anything is looked at', async () => {
      const flags = [
        '--exclude-outbound-ports=70000',
        '--uid=0',
        '--include-outbound-ip-ranges=10.0.0.0/33',
        '--inbound-port=15001',
      ];
      const { status, stderr } = await net.pods.web.remora(['init', ...flags], { uid: 1000 });
      expect(status).toBe(78);
      expect(stderr.trimEnd().split('\n')).toHaveLength(4);
    });

    test('an unknown option, with 2', async () => {
      expect(await refusal(['--exclude-outbound-port=80'])).toMatchObject({ status: 2 });
      expect(await refusal(['--dry-run', '--cleanup'])).toMatchObject({ status: 2 });
    });
  },
);
