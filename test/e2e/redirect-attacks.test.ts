import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { RunningProgram, TestPods } from '../support/pods.ts';
import { noPodsBecause, startPods } from '../support/pods.ts';
import { ruleCounters } from '../support/rule-counters.ts';

/*
 * Goal: a neighbour on the same link, who is root and sends what it likes to the pod's hardware address, reaches nothing
 * that is bound to loopback, makes the pod relay nothing, and dials no capture port. Method: the neighbour routes the
 * forbidden destinations through the pod and dials them. Each attack is also made on rules without its defence, where it
 * must succeed: an attack that cannot succeed shows nothing.
 */

describe.skipIf(noPodsBecause !== undefined)(
  `attacks of a neighbour${noPodsBecause ? ` (skipped: ${noPodsBecause})` : ''}`,
  () => {
    let net: TestPods<'web' | 'attacker'>;
    let capture: RunningProgram;

    beforeAll(async () => {
      net = await startPods({ web: { v4: '10.77.0.2', v6: 'fd77::2' }, attacker: { v4: '10.77.0.3', v6: 'fd77::3' } });
      capture = await net.pods.web.listen(
        'capture',
        [
          '127.0.0.1:15000',
          '127.0.0.1:15001',
          '[::1]:15001',
          '0.0.0.0:15006',
          '[::]:15006',
          '127.0.0.1:7070',
          '[::1]:7070',
        ],
        { uid: 1337 },
      );
      await init();
      await net.pods.attacker.sh(`
      ip addr flush dev lo
      echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet
      ip route add 127.0.0.0/8 via 10.77.0.2
      ip route add 198.51.100.0/24 via 10.77.0.2
      ip -6 route add ::1/128 via fd77::2
      ip -6 route add ::6/128 via fd77::2
      ip -6 route add 2001:db8:7::/48 via fd77::2`);
    });

    afterAll(() => net?.close());

    const init = async () => {
      await net.pods.web.remora(['init', '--cleanup']);
      const { status, stderr } = await net.pods.web.remora(['init', '--skip-proof']);
      expect(stderr).toBe('');
      expect(status).toBe(0);
    };

    /** Takes the rules with this comment out, as they would be without the defence. */
    async function without(chain: string, comment: RegExp): Promise<void> {
      const listing = await net.pods.web.sh(`nft -a list chain inet remora ${chain}`);
      const handles = listing
        .split('\n')
        .filter((line) => comment.test(line))
        .map((line) => / handle (\d+)$/.exec(line)?.[1]);
      expect(handles).not.toEqual([]);
      for (const handle of handles) await net.pods.web.sh(`nft delete rule inet remora ${chain} handle ${handle}`);
    }

    /**
     * Dials as the attacker, then makes one honest connection, and says which of them landed, by their destinations. The
     * honest one comes last, so that nothing can land later than it.
     */
    async function landed(targets: readonly string[], flags: readonly string[] = []): Promise<unknown[]> {
      const { length } = capture.lines;
      await net.pods.attacker.dial(targets, { flags: ['--deadline', '300', ...flags] });
      await net.pods.attacker.dial(['10.77.0.2:8080']);
      const fence = (line: string) => JSON.parse(line).destination === '10.77.0.2:8080';
      await capture.line((line) => capture.lines.indexOf(line, length) >= 0 && fence(line));
      return capture.lines
        .slice(length)
        .filter((line) => !fence(line))
        .map((line) => JSON.parse(line).destination);
    }

    const loopbackV4 = ['127.0.0.1:15000', '127.0.0.1:7070', '127.0.0.1:8080', '127.0.0.6:8080', '127.9.9.9:15006'];

    test('A2: loopback addresses, sent to the hardware address of the pod, reach nothing, IPv4', async () => {
      expect(await landed(loopbackV4)).toEqual([]);
      expect((await ruleCounters(net.pods.web))['martian: IPv4 loopback from outside']).toBeGreaterThanOrEqual(
        loopbackV4.length,
      );
    });

    test('A2: loopback addresses, sent to the hardware address of the pod, reach nothing, IPv6', async () => {
      expect(await landed(['[::1]:7070', '[::1]:15000', '[::6]:8080'])).toEqual([]);
      expect((await ruleCounters(net.pods.web))['martian: IPv6 loopback from outside']).toBeGreaterThan(0);
    });

    test('A2: without its rule the same attack is redirected on its way to loopback, so that the rule is what stops it', async () => {
      await without('martian', /loopback from outside/);
      // A recent kernel also drops a redirect on its way to ::6, an address of a scope that the interface has none of.
      expect(await landed(['127.0.0.1:8080', '127.0.0.6:8080'])).toEqual(['127.0.0.1:8080', '127.0.0.6:8080']);
      await init();
    });

    test('destinations that are not of this pod are not captured: the pod relays for nobody', async () => {
      const foreign = ['198.51.100.7:80', '[2001:db8:7::7]:80'];
      expect(await landed(foreign)).toEqual([]);
      expect((await ruleCounters(net.pods.web))['inbound: Not addressed to this pod']).toBeGreaterThanOrEqual(2);
      await without('inbound', /Not addressed to this pod/);
      expect(await landed(foreign)).toEqual(foreign);
      await init();
    });

    test('the probe addresses mean nothing to a neighbour', async () => {
      await net.pods.attacker.sh('ip route add 192.0.2.1 via 10.77.0.2; ip -6 route add 2001:db8::1 via fd77::2');
      expect(await landed(['192.0.2.1:15002', '192.0.2.1:15003', '[2001:db8::1]:15002'])).toEqual([]);
    });

    test('the capture ports, dialled directly, are reset', async () => {
      const direct = ['10.77.0.2:15001', '10.77.0.2:15006', '[fd77::2]:15006'];
      const dialled = await net.pods.attacker.dial(direct);
      expect(dialled).toEqual(direct.map((target) => ({ target, failed: 'ECONNREFUSED' })));
      await without('direct', /dialled directly/);
      expect(await landed(['10.77.0.2:15006', '[fd77::2]:15006'])).toHaveLength(2);
      await init();
    });

    test('a neighbour that speaks as ::6 is not heard', async () => {
      await net.pods.attacker.sh('ip -6 route del ::6/128; ip -6 addr add ::6/128 dev eth0 nodad');
      expect(await landed(['[fd77::2]:8080'], ['--from', '::6'])).toEqual([]);
      expect((await ruleCounters(net.pods.web))['martian: IPv6 loopback forged as source']).toBeGreaterThan(0);
    });
  },
);
