import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { TestPods } from '../support/pods.ts';
import { noPodsBecause, startPods } from '../support/pods.ts';
import { ruleCounters } from '../support/rule-counters.ts';

/*
 * Goal: `remora init` does exactly what it says, once, with NET_ADMIN and nothing else, and says it in one line. Method:
 * the real program in a fresh pod, as an init container runs it; what nft lists afterwards decides.
 */

describe.skipIf(noPodsBecause !== undefined)(
  `remora init${noPodsBecause ? ` (skipped: ${noPodsBecause})` : ''}`,
  () => {
    let net: TestPods<'web' | 'other'>;

    beforeEach(async () => {
      net = await startPods({ web: { v4: '10.77.0.2', v6: 'fd77::2' }, other: { v4: '10.77.0.3' } });
    });

    afterEach(() => net?.close());

    async function init(...flags: string[]): Promise<{ outcome: string; hash: string }> {
      const { status, stdout, stderr } = await net.pods.web.remora(['init', ...flags]);
      expect(stderr).toBe('');
      expect(status).toBe(0);
      expect(stdout.trimEnd().split('\n')).toHaveLength(1);
      return JSON.parse(stdout);
    }

    const rules = () => net.pods.web.sh('nft -s list ruleset');
    const loopback = () => net.pods.web.sh('ip -6 -o addr show dev lo');

    test('applies the rules, adds ::6, proves both families and says so in one line', async () => {
      expect(await init()).toMatchObject({
        level: 'info',
        outcome: 'applied',
        ipv4: 'proved',
        ipv6: 'proved',
        deliveryAddress: 'added',
        msg: 'Applied the redirect rules: outbound TCP goes to port 15001, inbound TCP to port 15006, proved for outbound IPv4 and IPv6',
      });
      expect(await loopback()).toContain('inet6 ::6/128');
      const counters = await ruleCounters(net.pods.web);
      expect(counters).toMatchObject({ 'outbound: IPv4 capture probe': 1, 'outbound: IPv6 capture probe': 1 });
    });

    test('L10: a second run changes nothing, and the counters go on', async () => {
      const first = await init();
      const before = await net.pods.web.sh('nft -a list ruleset');
      const second = await init();
      expect(second).toMatchObject({
        outcome: 'unchanged',
        hash: first.hash,
        ipv4: 'proved',
        ipv6: 'proved',
        deliveryAddress: 'present',
      });
      const handles = (listing: string) => listing.match(/# handle \d+/g);
      expect(handles(await net.pods.web.sh('nft -a list ruleset'))).toEqual(handles(before));
      expect((await ruleCounters(net.pods.web))['outbound: IPv4 capture probe']).toBe(2);
    });

    test('L10: a second run beside the running sidecar changes nothing, and lets the sidecar answer the proof', async () => {
      await init();
      const sidecar = await net.pods.web.listen('capture', ['127.0.0.1:15001', '[::1]:15001'], { uid: 1337 });
      expect(await init()).toMatchObject({ outcome: 'unchanged', ipv4: 'proved', ipv6: 'proved' });
      expect(await sidecar.line((line) => line.includes('192.0.2.1:15002'))).toContain('"port":15001');
    });

    test('other settings replace the rules, and going back to the first gives the first hash', async () => {
      const first = await init();
      expect(await init('--exclude-outbound-ports=5432')).toMatchObject({
        outcome: 'replaced',
        deliveryAddress: 'present',
      });
      expect(await rules()).toContain('elements = { 5432 }');
      expect(await init()).toMatchObject({ outcome: 'replaced', hash: first.hash });
      expect(await rules()).not.toContain('5432');
    });

    test.each([
      [
        'a rule was deleted',
        `nft -a list chain inet remora inbound | sed -n 's/.*Everything else.* handle //p' | xargs -n1 nft delete rule inet remora inbound handle`,
      ],
      ['a chain was flushed', 'nft flush chain inet remora martian'],
      ['all rules were flushed, and the comment with the hash is still there', 'nft flush table inet remora'],
      ['a rule was added', `nft insert rule inet remora outbound tcp dport 80 counter return comment '"by hand"'`],
      ['a table of that name is not ours', 'nft delete table inet remora; nft add table inet remora'],
    ])('L10: the rules are put back when %s', async (_, damage) => {
      await init();
      const whole = await rules();
      await net.pods.web.sh(damage);
      expect(await rules()).not.toBe(whole);
      expect(await init()).toMatchObject({ outcome: 'replaced', ipv4: 'proved' });
      expect(await rules()).toBe(whole);
    });

    test('--cleanup removes the rules and ::6, and is content when there are none', async () => {
      const before = { rules: await rules(), loopback: await loopback() };
      await init();
      expect(await init('--cleanup')).toMatchObject({ outcome: 'removed', msg: 'Removed the redirect rules' });
      expect({ rules: await rules(), loopback: await loopback() }).toEqual(before);
      expect(await init('--cleanup')).toMatchObject({ outcome: 'absent' });
    });

    test('--cleanup leaves the tables of others alone', async () => {
      await net.pods.web.sh('nft add table inet other');
      await init();
      await init('--cleanup');
      expect(await rules()).toContain('table inet other');
    });

    test('--dry-run prints what nft reads, without any capability, and changes nothing', async () => {
      const { status, stdout } = await net.pods.web.remora(['init', '--dry-run', '--exclude-inbound-ports=8081'], {
        uid: 1000,
      });
      expect(status).toBe(0);
      expect(await rules()).toBe('');
      const loaded = await net.pods.web.run(['nft', '-f', '-'], { input: stdout });
      expect(loaded).toMatchObject({ status: 0 });
      expect(await init('--exclude-inbound-ports=8081')).toMatchObject({ outcome: 'unchanged' });
    });

    test('--netns works in a namespace by its name or its path, and touches the own one not at all', async () => {
      for (const netns of [net.pods.other.namespace, `/run/netns/${net.pods.other.namespace}`]) {
        const { status, stdout, stderr } = await net.pods.web.remora(['init', '--netns', netns, '--uid=2000'], {});
        expect(stderr).toBe('');
        expect(status).toBe(0);
        expect(JSON.parse(stdout)).toMatchObject({ ipv4: 'proved', ipv6: 'no_route' });
      }
      expect(await net.pods.other.sh('nft list ruleset')).toContain('meta skuid 2000 meta skgid 1337');
      expect(await rules()).toBe('');
    });

    test('settings are read from the environment, and flags win', async () => {
      const env = {
        ...process.env,
        REMORA_EXCLUDE_OUTBOUND_PORTS: '5432',
        REMORA_GID: '1338',
        REMORA_OUTBOUND_PORT: 'tcp://10.0.0.7:80',
      };
      const { status } = await net.pods.web.remora(['init', '--gid=1339'], { capabilities: ['net_admin'], env });
      expect(status).toBe(0);
      expect(await rules()).toContain('elements = { 5432 }');
      expect(await rules()).toContain('meta skuid 1337 meta skgid 1339');
    });

    test('a pod without IPv6 gets the same rules, no ::6, and a proof for IPv4', async () => {
      const { status, stdout } = await net.pods.other.remora(['init']);
      expect(status).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({ ipv4: 'proved', ipv6: 'no_route', deliveryAddress: 'not_needed' });
      expect(await net.pods.other.sh('ip -6 -o addr')).toBe('');
      await init();
      expect(await net.pods.other.sh('nft -s list ruleset')).toBe(await rules());
    });

    test('a pod with IPv6 alone gets a proof for IPv6', async () => {
      const pod = await net.link.addPod('v6only', { v6: 'fd77::4' });
      const { status, stdout } = await net.pods.web.remora(['init', '--netns', pod.namespace], {});
      expect(status).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({ ipv4: 'no_route', ipv6: 'proved', deliveryAddress: 'added' });
    });

    test('without ip it warns that IPv6 is delivered from the address of the pod, and does the rest', async () => {
      const folder = await mkdtemp(join(tmpdir(), 'remora-test-tools-'));
      await chmod(folder, 0o755);
      await net.pods.web.sh(`ln -s "$(command -v nft)" ${folder}/nft`);
      const { status, stdout } = await net.pods.web.remora(['init'], { capabilities: ['net_admin'], toolPath: folder });
      await rm(folder, { recursive: true });
      expect(status).toBe(0);
      const [warning, done] = stdout
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line));
      expect(warning).toMatchObject({ level: 'warn', why: 'ip is not on the PATH' });
      expect(done).toMatchObject({ outcome: 'applied', ipv6: 'proved', deliveryAddress: 'failed' });
      expect(await loopback()).not.toContain('::6/128');
    });

    test('a pod whose only IPv6 addresses are link-local gets no ::6: names would begin to resolve to IPv6', async () => {
      await net.pods.web.sh('ip -6 addr flush dev eth0 scope global');
      expect(await init()).toMatchObject({ ipv4: 'proved', ipv6: 'no_route', deliveryAddress: 'not_needed' });
      expect(await loopback()).not.toContain('::6/128');
    });

    test('the sidecar is recognised in a user namespace, where its uid is another one to the rest of the machine', async () => {
      const { argv, mounts, pathOf } = net.program;
      const node = argv.slice(0, -1).join(' ');
      const listen = `${node} ${pathOf(new URL('../support/pod-programs/listen.ts', import.meta.url).pathname)}`;
      const dial = `${node} ${pathOf(new URL('../support/pod-programs/dial.ts', import.meta.url).pathname)}`;
      const as = (id: number) => `setpriv --reuid=${id} --regid=${id} --clear-groups --bounding-set=-all`;
      const script = `
      ip link set lo up; ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up
      ip addr add 10.77.0.9/24 dev eth0; ip route add default dev eth0
      ${argv.join(' ')} init >&2 || exit
      ${as(1337)} ${listen} capture 127.0.0.1:15001 >&2 & listener=$!
      until ${as(1337)} ${dial} 192.0.2.1:15003 | grep capture; do kill -0 $listener || exit; done
      ${as(1000)} ${dial} 192.0.2.1:15003
      kill $listener`;
      const holder = net.pods.web.exec(['unshare', '--user', 'sh', '-c', 'echo ready; exec sleep 600'], {
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      await new Promise((resolve) => holder.stdout!.once('data', resolve));
      await net.pods.web.sh(`for map in uid_map gid_map; do echo 0 200000 65536 > /proc/${holder.pid}/$map; done`);
      const enter = [
        'nsenter',
        '-U',
        '-t',
        `${holder.pid}`,
        '-S',
        '0',
        '-G',
        '0',
        'unshare',
        '--net',
        'sh',
        '-c',
        script,
      ];
      const result = await net.pods.web.run(enter, { mounts });
      if (result.kind !== 'ended' || result.status !== 0) throw new Error(JSON.stringify(result));
      const lines = result.kind === 'ended' ? result.stdout.trimEnd().split('\n') : [];
      expect(lines.map((line) => JSON.parse(line))).toEqual([
        expect.objectContaining({ at: 'capture', destination: '192.0.2.1:15003' }),
        { target: '192.0.2.1:15003', failed: 'ECONNREFUSED' },
      ]);
    });
  },
);
