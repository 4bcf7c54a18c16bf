import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { RunningProgram, TestPods } from '../support/pods.ts';
import { noPodsBecause, startPods } from '../support/pods.ts';
import { ruleCounters } from '../support/rule-counters.ts';

/*
 * Goal: with the rules of `remora init`, exactly the connections that should be captured are, in both directions and
 * both families. Method: real rules in a real pod; a listener on the capture ports says where each connection was going,
 * and a neighbour on the same link says what reached it.
 */

const sidecar = { uid: 1337 };
const captureListeners = ['127.0.0.1:15001', '[::1]:15001', '0.0.0.0:15006', '[::]:15006'];
const neighbourListeners = ['0.0.0.0:8080', '[::]:8080', '0.0.0.0:9090', '[::]:9090'];

describe.skipIf(noPodsBecause !== undefined)(
  `capture in a pod${noPodsBecause ? ` (skipped: ${noPodsBecause})` : ''}`,
  () => {
    let net: TestPods<'web' | 'neighbour'>;
    let capture: RunningProgram;
    let neighbour: RunningProgram;

    beforeAll(async () => {
      net = await startPods({ web: { v4: '10.77.0.2', v6: 'fd77::2' }, neighbour: { v4: '10.77.0.3', v6: 'fd77::3' } });
      await init();
      capture = await net.pods.web.listen('capture', captureListeners, sidecar);
      neighbour = await net.pods.neighbour.listen('neighbour', neighbourListeners);
    });

    afterAll(() => net?.close());

    async function init(...flags: string[]): Promise<void> {
      const { status, stderr } = await net.pods.web.remora(['init', '--skip-proof', ...flags]);
      expect(stderr).toBe('');
      expect(status).toBe(0);
    }

    const outcomesOf = async (targets: readonly string[], options = {}) => {
      const dialled = await net.pods.web.dial(targets, { uid: 1000, ...options });
      return dialled.map((result) => ('at' in result ? result.at : result.failed));
    };

    describe('outbound', () => {
      test.each([
        ['an IPv4 address', '10.77.0.3:8080'],
        ['an IPv6 address', '[fd77::3]:8080'],
        ['a service address that nothing on the link has', '10.96.0.10:80'],
        ['a neighbour that does not exist', '10.77.0.99:1'],
      ])('%s is captured, and its destination is known', async (_, target) => {
        const [dialled] = await net.pods.web.dial([target]);
        expect(dialled).toMatchObject({ at: 'capture', port: 15001, destination: target });
      });

      test('Trap 11: arrives on loopback, whatever address it was going to', async () => {
        const dialled = await net.pods.web.dial(['10.77.0.3:8080', '[fd77::3]:8080']);
        expect(dialled.map((result) => 'ip' in result && result.ip)).toEqual(['127.0.0.1', '::1']);
      });

      test('what stays in the pod is not captured: loopback and the own addresses', async () => {
        const app = await net.pods.web.listen('app', ['0.0.0.0:7070', '[::]:7070']);
        const own = ['127.0.0.1:7070', '[::1]:7070', '10.77.0.2:7070', '[fd77::2]:7070', '[::6]:7070'];
        expect(await outcomesOf(own)).toEqual(own.map(() => 'app'));
        await app.stop();
      });

      test('delivery from 127.0.0.6 and ::6 reaches the application on each of its addresses', async () => {
        const app = await net.pods.web.listen('app', ['0.0.0.0:7070', '[::]:7070']);
        const v4 = await net.pods.web.dial(['127.0.0.1:7070', '10.77.0.2:7070'], {
          ...sidecar,
          flags: ['--from', '127.0.0.6'],
        });
        const v6 = await net.pods.web.dial(['[::1]:7070', '[fd77::2]:7070'], { ...sidecar, flags: ['--from', '::6'] });
        expect(v4.map((result) => 'peer' in result && result.peer)).toEqual(['127.0.0.6', '127.0.0.6']);
        expect(v6.map((result) => 'peer' in result && result.peer)).toEqual(['::6', '::6']);
        await app.stop();
      });

      test('L7: connections of the sidecar itself are not captured, and the rule has counted each', async () => {
        const before = await ruleCounters(net.pods.web);
        expect(await outcomesOf(['10.77.0.3:8080', '[fd77::3]:8080', '10.77.0.3:9090'], sidecar)).toEqual(
          new Array(3).fill('neighbour'),
        );
        const after = await ruleCounters(net.pods.web);
        expect(after['outbound: The sidecar itself']! - before['outbound: The sidecar itself']!).toBe(3);
        expect(after['outbound: Everything else']).toBe(before['outbound: Everything else']);
      });

      test.each([
        ['an ordinary user', { uid: 1000 }, 'capture'],
        ['root', {}, 'capture'],
        ["the sidecar's user in another group", { uid: 1337, gid: 1000 }, 'capture'],
        ["another user in the sidecar's group", { uid: 1000, gid: 1337 }, 'capture'],
        ["another user with the sidecar's group as a supplementary one", { uid: 1000, groups: [1337] }, 'capture'],
        ['root with a packet mark', { flags: ['--mark', '1337'] }, 'capture'],
        ["the sidecar's user and group", { uid: 1337, gid: 1337 }, 'neighbour'],
      ])('L8: %s', async (_, options, where) => {
        const dialled = await net.pods.web.dial(['10.77.0.3:8080', '[fd77::3]:8080'], options);
        expect(dialled.map((result) => 'at' in result && result.at)).toEqual([where, where]);
      });

      test('L8: a socket that is bound to an interface, or dials a link-local address, is never let out', async () => {
        const { length } = neighbour.lines;
        const linkLocal = (await net.pods.neighbour.sh('ip -6 -o addr show dev eth0 scope link')).match(
          /fe80::[0-9a-f:]+/,
        )?.[0];
        const bound = await net.pods.web.dial(['10.77.0.3:8080', '[fd77::3]:8080'], { flags: ['--device', 'eth0'] });
        const [scoped] = await net.pods.web.dial([`[${linkLocal}%eth0]:8080`]);
        for (const result of [...bound, scoped!]) expect('at' in result ? result.at : 'nowhere').not.toBe('neighbour');
        expect(neighbour.lines).toHaveLength(length);
      });

      test('L8: datagrams are not captured', async () => {
        const program = 'test/support/pod-programs/datagram.ts';
        const listener = net.pods.neighbour.start(program, ['listen', '10.77.0.3:5353']);
        await listener.line((line) => line === 'ready');
        const sender = net.pods.web.start(program, ['send', '10.77.0.3:5353']);
        expect(await sender.line(() => true)).toBe('here');
        await listener.stop();
      });

      test('L8: a raw IP socket gets no packet past the rules; a packet socket does, and so needs a capability that no application should have', async () => {
        const { web, neighbour: target } = net.pods;
        await target.sh(`nft -f - <<'END'
table ip seen {
  chain arrived {
    type filter hook prerouting priority -300
    tcp sport 40000 counter
  }
}
END`);
        const arrived = async () => Number(/packets (\d+)/.exec(await target.sh('nft list table ip seen'))?.[1]);
        const captured = async () => (await ruleCounters(web))['outbound: Everything else'];
        const before = await captured();
        const index = (await web.sh('cat /sys/class/net/eth0/ifindex')).trim();
        const program = 'test/support/pod-programs/raw-syn.ts';
        for (const [kind, expected] of [
          ['ip', 0],
          ['packet', 1],
        ] as const) {
          const sender = web.start(program, [kind, '10.77.0.2', '10.77.0.3', '8080', index], {
            capabilities: ['net_raw'],
          });
          await sender.line((line) => line === 'sent');
          // What was sent before this connection has arrived before it.
          await web.dial(['10.77.0.3:8080'], sidecar);
          expect(await arrived()).toBe(expected);
        }
        expect(await captured()).toBe(before! + 1);
        const refused = web.start(program, ['packet', '10.77.0.2', '10.77.0.3', '8080', index]);
        await expect(refused.line((line) => line === 'sent')).rejects.toThrow('errno 9');
      });

      test('the identity probe lands for the sidecar and is refused for anyone else', async () => {
        const targets = ['192.0.2.1:15003', '[2001:db8::1]:15003'];
        expect(await outcomesOf(targets, sidecar)).toEqual(['capture', 'capture']);
        for (const other of [
          { uid: 1337, gid: 1000 },
          { uid: 1000, gid: 1337 },
        ])
          expect(await outcomesOf(targets, other)).toEqual(['ECONNREFUSED', 'ECONNREFUSED']);
      });

      test('the capture probe lands for the sidecar too, which has no right to read the rules', async () => {
        expect(await outcomesOf(['192.0.2.1:15002', '[2001:db8::1]:15002'], sidecar)).toEqual(['capture', 'capture']);
      });
    });

    describe('inbound', () => {
      test('a neighbour is captured on every port, and its destination is known', async () => {
        const targets = ['10.77.0.2:8080', '[fd77::2]:8080', '10.77.0.2:1', '10.77.0.2:65535'];
        const dialled = await net.pods.neighbour.dial(targets);
        expect(dialled).toEqual(
          targets.map((target) => expect.objectContaining({ at: 'capture', port: 15006, destination: target })),
        );
      });

      test('Trap 11: arrives on an address of the interface', async () => {
        const dialled = await net.pods.neighbour.dial(['10.77.0.2:8080', '[fd77::2]:8080']);
        expect(dialled.map((result) => 'ip' in result && result.ip)).toEqual(['10.77.0.2', 'fd77::2']);
      });

      test('a neighbour that dials the link-local address is captured as well', async () => {
        const address = (await net.pods.web.sh('ip -6 -o addr show dev eth0 scope link')).match(
          /fe80::[0-9a-f:]+/,
        )?.[0];
        const [dialled] = await net.pods.neighbour.dial([`[${address}%eth0]:8080`]);
        expect(dialled).toMatchObject({ at: 'capture', port: 15006, destination: `[${address}]:8080` });
      });

      test("the sidecar's own ports are not captured: tunnels, metrics and health answer, capture and admin do not", async () => {
        const own = await net.pods.web.listen(
          'own',
          ['0.0.0.0:15008', '0.0.0.0:15020', '[::]:15021', '127.0.0.1:15000'],
          sidecar,
        );
        const [hbone, metrics, health, admin] = await net.pods.neighbour.dial([
          '10.77.0.2:15008',
          '10.77.0.2:15020',
          '[fd77::2]:15021',
          '10.77.0.2:15000',
        ]);
        for (const result of [hbone, metrics, health]) expect(result).toMatchObject({ at: 'own' });
        expect(admin).toMatchObject({ failed: 'ECONNREFUSED' });
        await own.stop();
      });

      test('N20: whoever dials a capture port directly is reset, from the pod and from outside', async () => {
        const outside = ['10.77.0.2:15001', '10.77.0.2:15006', '[fd77::2]:15001', '[fd77::2]:15006'];
        const inside = [...outside, '127.0.0.1:15001', '127.0.0.1:15006', '[::1]:15001', '[::1]:15006', '[::6]:15006'];
        const { length } = capture.lines;
        const refused = (targets: readonly string[]) => targets.map((target) => ({ target, failed: 'ECONNREFUSED' }));
        expect(await net.pods.neighbour.dial(outside)).toEqual(refused(outside));
        expect(await net.pods.web.dial(inside)).toEqual(refused(inside));
        expect(await net.pods.web.dial(inside, sidecar)).toEqual(refused(inside));
        expect(capture.lines).toHaveLength(length);
      });
    });

    describe('with exclusions and inclusions', () => {
      const v4 = ['10.77.0.3:8080', '10.77.0.3:9090'];
      const v6 = ['[fd77::3]:8080', '[fd77::3]:9090'];

      test.each([
        [
          'excluded outbound ports',
          ['--exclude-outbound-ports=8080'],
          ['neighbour', 'capture', 'neighbour', 'capture'],
        ],
        [
          'an excluded range of ports',
          ['--exclude-outbound-ports=8000-9000,9001'],
          ['neighbour', 'capture', 'neighbour', 'capture'],
        ],
        [
          'an excluded IPv4 range',
          ['--exclude-outbound-ip-ranges=10.77.0.5/24'],
          ['neighbour', 'neighbour', 'capture', 'capture'],
        ],
        [
          'excluded ranges of both families',
          ['--exclude-outbound-ip-ranges=10.77.0.3,fd77::/64,fd77::/16'],
          new Array(4).fill('neighbour'),
        ],
        ['no outbound range included', ['--include-outbound-ip-ranges='], new Array(4).fill('neighbour')],
        [
          'only an IPv6 range included',
          ['--include-outbound-ip-ranges=fd77::/64'],
          ['neighbour', 'neighbour', 'capture', 'capture'],
        ],
        [
          'a port included beside no range',
          ['--include-outbound-ip-ranges=', '--include-outbound-ports=9090'],
          ['neighbour', 'capture', 'neighbour', 'capture'],
        ],
        [
          'an excluded range wins over an included port',
          ['--include-outbound-ports=9090', '--exclude-outbound-ip-ranges=10.0.0.0/8'],
          ['neighbour', 'neighbour', 'capture', 'capture'],
        ],
        [
          'an excluded port wins over an included range',
          ['--include-outbound-ip-ranges=10.0.0.0/8', '--exclude-outbound-ports=9090'],
          ['capture', 'neighbour', 'neighbour', 'neighbour'],
        ],
      ])('%s', async (_, flags, expected) => {
        await init(...flags);
        expect(await outcomesOf([...v4, ...v6])).toEqual(expected);
      });

      test.each([
        ['excluded inbound ports', ['--exclude-inbound-ports=7070'], ['app', 'capture']],
        ['only some inbound ports included', ['--include-inbound-ports=7071'], ['app', 'capture']],
        [
          'an excluded inbound port counts only where all are included',
          ['--include-inbound-ports=7070,7071', '--exclude-inbound-ports=7070'],
          ['capture', 'capture'],
        ],
        ['no inbound port included', ['--include-inbound-ports='], ['app', 'app']],
      ])('%s', async (_, flags, expected) => {
        await init(...flags);
        const app = await net.pods.web.listen('app', ['0.0.0.0:7070', '[::]:7070', '0.0.0.0:7071', '[::]:7071']);
        const dialled = await net.pods.neighbour.dial([
          '10.77.0.2:7070',
          '10.77.0.2:7071',
          '[fd77::2]:7070',
          '[fd77::2]:7071',
        ]);
        expect(dialled.map((result) => 'at' in result && result.at)).toEqual([...expected, ...expected]);
        await app.stop();
      });

      test('the probes work whatever is excluded', async () => {
        await init(
          '--include-outbound-ip-ranges=',
          '--exclude-outbound-ports=15002-15003',
          '--exclude-outbound-ip-ranges=192.0.2.0/24,2001:db8::/32',
        );
        expect(await outcomesOf(['192.0.2.1:15002', '[2001:db8::1]:15002'])).toEqual(['capture', 'capture']);
        expect(await outcomesOf(['192.0.2.1:15003', '[2001:db8::1]:15003'], sidecar)).toEqual(['capture', 'capture']);
      });
    });
  },
);
