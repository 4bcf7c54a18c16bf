import { describe, expect, it } from 'vitest';
import type { Address } from '../../../../src/addresses.ts';
import { parseAddress } from '../../../../src/addresses.ts';
import type { CapturedConnection, LookSources } from '../../../../src/agent/audit/look.ts';
import { createLooker } from '../../../../src/agent/audit/look.ts';
import type { SocketLine } from '../../../../src/agent/audit/socket-table.ts';
import type { CaptureScope } from '../../../../src/annotations.ts';
import { wholePod } from '../../../../src/annotations.ts';
import { createCaptureRules } from '../../../../src/capture-scope.ts';
import { sidecarPorts } from '../../../../src/ports.ts';

const own = new Set(['10.0.0.7', 'fd00::7', 'fe80::7']);
const at = (text: string): Address => parseAddress(text)!;
const port = (first: number, last = first) => ({ first, last });

let inode = 1000;
const socket = (local: string, remote: string, rest: Partial<SocketLine> = {}): SocketLine => ({
  state: 'established',
  local: at(local),
  remote: at(remote),
  uid: 1000,
  inode: inode++,
  ...rest,
});
const listening = (local: string) => socket(local, local, { state: 'listening' });
const captured = (peer: string, destination: string) => ({ peer: at(peer), destination: () => at(destination) });

interface Scene {
  sockets: readonly SocketLine[];
  own?: readonly number[];
  captured?: readonly CapturedConnection[];
  scope?: Partial<CaptureScope>;
}

/** Looks at each scene in turn, and says what the last look finds. */
async function look(...scenes: readonly Scene[]) {
  let scene: Scene = { sockets: [] };
  const sources: LookSources = {
    sockets: async (visit) => {
      scene.sockets.forEach(visit);
      return true;
    },
    ownInodes: async () => new Set(scene.own),
    captured: () => scene.captured ?? [],
    rules: () => createCaptureRules({ ...wholePod, ...scene.scope }, sidecarPorts, (ip) => own.has(ip)),
    capturePort: sidecarPorts.outbound,
    pause: async () => undefined,
  };
  const looker = createLooker(sources);
  let found: string[] = [];
  for (scene of scenes) {
    const { suspects } = await looker();
    found = suspects.map(({ direction, family, rule }) => `${direction} ${family} ${rule}`);
  }
  return found;
}

describe('a connection to elsewhere', () => {
  it.each([
    ['10.0.0.7:40000', '10.0.0.9:80', 'outbound ipv4 Everything else'],
    ['[fd00::7]:40000', '[fd00::9]:80', 'outbound ipv6 Everything else'],
    ['[fe80::7]:40000', '[fe80::9]:80', 'outbound ipv6 Everything else'],
  ])('is suspect when the sidecar does not know it: %s to %s', async (local, remote, expected) => {
    expect(await look({ sockets: [socket(local, remote)] })).toEqual([expected]);
  });

  it('is known by its source when it was captured', async () => {
    const sockets = [socket('10.0.0.7:40000', '10.0.0.9:80'), socket('[fd00::7]:40000', '[fd00::9]:80')];
    const known = [captured('10.0.0.7:40000', '10.0.0.9:80'), captured('[fd00::7]:40000', '[fd00::9]:80')];
    expect(await look({ sockets, captured: known })).toEqual([]);
  });

  it('is known by its destination when the kernel gave it another source port, as many as were captured', async () => {
    const sockets = [socket('10.0.0.7:40000', '10.0.0.8:80'), socket('10.0.0.7:40000', '10.0.0.9:80')];
    const known = [captured('10.0.0.7:40000', '10.0.0.8:80'), captured('10.0.0.7:61234', '10.0.0.9:80')];
    expect(await look({ sockets, captured: known })).toEqual([]);
    const more = [...sockets, socket('10.0.0.7:40002', '10.0.0.9:80')];
    expect(await look({ sockets: more, captured: known })).toEqual(['outbound ipv4 Everything else']);
    const closing = [...more, socket('10.0.0.7:61234', '10.0.0.9:80', { state: 'other' })];
    expect(await look({ sockets: closing, captured: known })).toHaveLength(2);
  });

  it('is known by its destination also when the application serves the port that it connects from', async () => {
    const sockets = [
      listening('0.0.0.0:47000'),
      socket('10.0.0.7:47000', '10.0.0.8:80'),
      socket('10.0.0.7:47000', '10.0.0.9:80'),
    ];
    const known = [captured('10.0.0.7:47000', '10.0.0.8:80'), captured('10.0.0.7:61234', '10.0.0.9:80')];
    expect(await look({ sockets, captured: known })).toEqual([]);
    const more = [...sockets, socket('10.0.0.7:47000', '10.0.0.10:80')];
    expect(await look({ sockets: more, captured: known })).toEqual(['inbound ipv4 Everything else']);
  });

  it('is one to elsewhere from a port that nobody serves any more', async () => {
    const past = { sockets: [listening('0.0.0.0:40000')] };
    const gone = { sockets: [socket('10.0.0.7:40000', '10.0.0.8:50000', { state: 'other', inode: 0 })] };
    const sockets = [socket('10.0.0.7:40000', '10.0.0.9:5432')];
    const scope = { excludeOutboundPorts: [port(5432)] };
    expect(await look(past, gone, { sockets, scope })).toEqual([]);
    expect(await look(past, gone, { sockets })).toEqual(['outbound ipv4 Everything else']);
  });

  it('is in order from a port that was served and is not captured, as one from elsewhere looks like that', async () => {
    const past = { sockets: [listening('0.0.0.0:40000')] };
    const scope = { includeInboundPorts: [port(8080)] };
    expect(await look(past, { sockets: [] }, { sockets: [socket('10.0.0.7:40000', '10.0.0.9:80')], scope })).toEqual(
      [],
    );
  });

  it('is not known by the source of one that was captured, when it goes elsewhere', async () => {
    const sockets = [socket('10.0.0.7:40000', '10.0.0.8:80'), socket('10.0.0.7:40000', '10.0.0.9:80')];
    const known = [captured('10.0.0.7:40000', '10.0.0.8:80')];
    expect(await look({ sockets, captured: known })).toEqual(['outbound ipv4 Everything else']);
  });

  it('is known by its source where the kernel does not know its destination', async () => {
    const known = [{ peer: at('10.0.0.7:40000'), destination: () => undefined }];
    expect(await look({ sockets: [socket('10.0.0.7:40000', '10.0.0.9:80')], captured: known })).toEqual([]);
  });

  it('is known by its inode when it is our own, and not by the uid, which others may have', async () => {
    const ours = socket('10.0.0.7:40000', '10.0.0.9:15008', { uid: 1337 });
    const others = socket('10.0.0.7:40001', '10.0.0.9:15008', { uid: 1337 });
    expect(await look({ sockets: [ours, others], own: [ours.inode] })).toEqual(['outbound ipv4 Everything else']);
  });

  it.each([
    ['within the pod', '127.0.0.1:40000', '127.0.0.1:80', {}],
    ['to an address of the pod itself', '10.0.0.7:40000', '10.0.0.7:80', {}],
    ['to a link-local address of the pod itself', '[fe80::7]:40000', '[fe80::7]:80', {}],
    ['to an excluded port', '10.0.0.7:40000', '10.0.0.9:5432', { excludeOutboundPorts: [port(5000, 6000)] }],
    ['to an excluded range', '10.0.0.7:40000', '10.1.0.9:80', { excludeOutboundIpRanges: ['10.1.0.0/16'] }],
    ['to a range that is not included', '10.0.0.7:40000', '10.1.0.9:80', { includeOutboundIpRanges: ['10.2.0.0/16'] }],
    ['where nothing is captured', '10.0.0.7:40000', '10.1.0.9:80', { includeOutboundIpRanges: [] }],
  ])('is in order %s', async (_, local, remote, scope) => {
    expect(await look({ sockets: [socket(local, remote)], scope })).toEqual([]);
  });

  it.each([
    ['is closing', { state: 'other' as const }],
    ['has no process', { inode: 0 }],
  ])('does not count when it %s', async (_, rest) => {
    expect(await look({ sockets: [socket('10.0.0.7:40000', '10.0.0.9:80', rest)] })).toEqual([]);
  });
});

describe('a half-closed connection to elsewhere', () => {
  const halfClosed = (...[local, remote, rest]: Parameters<typeof socket>) =>
    socket(local, remote, { state: 'half-closed', ...rest });
  const open = socket('10.0.0.7:40000', '10.0.0.9:80');
  const leftOpen = { ...open, state: 'half-closed' as const };

  it('is suspect when the sidecar does not know it, and was suspect before', async () => {
    const expected = ['outbound ipv4 Everything else'];
    expect(await look({ sockets: [leftOpen] })).toEqual(expected);
    expect(await look({ sockets: [open] }, { sockets: [leftOpen] }, { sockets: [leftOpen] })).toEqual(expected);
  });

  it('is in order while the sidecar has it', async () => {
    expect(await look({ sockets: [leftOpen], captured: [captured('10.0.0.7:40000', '10.0.0.9:80')] })).toEqual([]);
  });

  it('does not count when no process has it', async () => {
    expect(await look({ sockets: [halfClosed('10.0.0.7:40000', '10.0.0.9:80', { inode: 0 })] })).toEqual([]);
  });

  it('stays in order when it was once known to be captured and the application never closes it', async () => {
    const before = { sockets: [open], captured: [captured('10.0.0.7:40000', '10.0.0.9:80')] };
    const after = { sockets: [leftOpen] };
    expect(await look(before, after, after, { sockets: [] }, after)).toEqual([]);
  });

  it('does not stay in order when it was known by its destination alone, which may have been that of another one', async () => {
    const moved = socket('10.0.0.7:41000', '10.0.0.9:80');
    const scene = { sockets: [leftOpen, moved], captured: [captured('10.0.0.7:61234', '10.0.0.9:80')] };
    expect(await look(scene, scene)).toHaveLength(1);
  });

  it("stays in order when a look has seen no more than what is left of the sidecar's end", async () => {
    const left = halfClosed('127.0.0.1:15001', '10.0.0.7:40000', { inode: 0 });
    expect(await look({ sockets: [leftOpen, left] }, { sockets: [leftOpen] })).toEqual([]);
    const another = halfClosed('127.0.0.1:15002', '10.0.0.7:40000', { inode: 0 });
    expect(await look({ sockets: [leftOpen, another] })).toHaveLength(1);
  });

  it('does not make an established one known, though its socket was captured once', async () => {
    const before = { sockets: [open], captured: [captured('10.0.0.7:40000', '10.0.0.9:80')] };
    expect(await look(before, { sockets: [open] })).toHaveLength(1);
  });
});

describe('a connection from elsewhere', () => {
  const served = [listening('0.0.0.0:8080'), listening('[::]:9090')];

  it.each([
    ['10.0.0.7:8080', '10.0.0.9:40000', 'inbound ipv4 Everything else'],
    ['10.0.0.7:9090', '10.0.0.9:40000', 'inbound ipv4 Everything else'],
    ['[fd00::7]:9090', '[fd00::9]:40000', 'inbound ipv6 Everything else'],
  ])('is suspect when it did not come through the sidecar: %s from %s', async (local, remote, expected) => {
    expect(await look({ sockets: [...served, socket(local, remote)] })).toEqual([expected]);
  });

  it.each([
    ['delivered from loopback', '10.0.0.7:8080', '127.0.0.6:40000', {}],
    ['delivered from IPv6 loopback', '[fd00::7]:9090', '[::6]:40000', {}],
    ["delivered from the pod's address", '10.0.0.7:8080', '10.0.0.7:40000', {}],
    ['to an excluded port', '10.0.0.7:8080', '10.0.0.9:40000', { excludeInboundPorts: [port(8080)] }],
    ['to a port that is not included', '10.0.0.7:8080', '10.0.0.9:40000', { includeInboundPorts: [port(9090)] }],
    ['where nothing is captured', '10.0.0.7:8080', '10.0.0.9:40000', { includeInboundPorts: [] }],
  ])('is in order %s', async (_, local, remote, scope) => {
    expect(await look({ sockets: [...served, socket(local, remote)], scope })).toEqual([]);
  });

  it('stays one from elsewhere when the server has stopped listening', async () => {
    const connection = socket('10.0.0.7:8080', '10.0.0.9:40000');
    const scope = { includeInboundPorts: [port(9090)] };
    expect(await look({ sockets: [...served, connection], scope }, { sockets: [connection], scope })).toEqual([]);
  });

  it('stays one from elsewhere in each look in which it is seen, also where all is captured', async () => {
    const connection = socket('10.0.0.7:8080', '10.0.0.9:40000');
    const scope = { includeOutboundIpRanges: [] };
    const alone = { sockets: [connection], scope };
    expect(await look({ sockets: [...served, connection] }, alone, alone)).toEqual(['inbound ipv4 Everything else']);
  });

  it('is suspect when it is half-closed', async () => {
    const sockets = [...served, socket('10.0.0.7:8080', '10.0.0.9:40000', { state: 'half-closed' })];
    expect(await look({ sockets })).toEqual(['inbound ipv4 Everything else']);
  });

  it('is in order on an excluded port that was served for a moment only', async () => {
    const scope = { excludeInboundPorts: [port(30_000, 30_100)] };
    expect(await look({ sockets: [socket('10.0.0.7:30005', '10.0.0.9:40000')], scope })).toEqual([]);
  });
});

it('leaves out what came into being while the table was read', async () => {
  const ours = socket('10.0.0.7:40000', '10.0.0.9:15008', { uid: 1337 });
  const applications = socket('10.0.0.7:40001', '10.0.0.9:80');
  let isRead = false;
  const looker = createLooker({
    sockets: async (visit) => {
      visit(ours);
      visit(applications);
      isRead = true;
      return true;
    },
    ownInodes: async () => new Set(isRead ? [ours.inode] : []),
    captured: () => (isRead ? [captured('10.0.0.7:40001', '10.0.0.9:80')] : []),
    rules: () => createCaptureRules(wholePod, sidecarPorts),
    capturePort: sidecarPorts.outbound,
    pause: async () => undefined,
  });
  expect((await looker()).suspects).toEqual([]);
});
