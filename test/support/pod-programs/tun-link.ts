import { createInterface } from 'node:readline';
import koffi from 'koffi';
import type { Faults } from '../link.ts';

/*
 * A link with faults: what comes out of one TUN device goes into the other, late, twice, damaged, too early or never.
 * `tun-link.ts NAME NAME SEED` makes both devices in its own namespace and prints `ready`; each line of standard input is
 * a number and the faults from then on, `1 {"delayMs":20,...}`, and is answered with that number.
 */
const [firstName = '', secondName = '', seed = '1'] = process.argv.slice(2);

const libc = koffi.load(null);
const open = libc.func('int open(const char *path, int flags)');
const ioctl = libc.func('int ioctl(int fd, unsigned long request, const uint8_t *argument)');
const poll = libc.func('int poll(const uint8_t *descriptors, unsigned long count, int timeout)');
const read = libc.func('intptr_t read(int fd, _Out_ uint8_t *buffer, size_t length)');
const write = libc.func('intptr_t write(int fd, const uint8_t *buffer, size_t length)');

const O_RDWR = 2;
const O_NONBLOCK = 0o4000;
const TUNSETIFF = 0x400454ca;
const IFF_TUN_WITHOUT_HEADER = 0x1001;
const POLLIN = 1;
/** Lengths of the shortest IPv4 header and of the IPv6 header: TCP's checksum sees every bit behind them. */
const headerLength = { 4: 20, 6: 40 } as Record<number, number>;

/** TUN without vnet headers: whole packets of at most the MTU, with their checksums. */
function openDevice(name: string): number {
  const fd = open('/dev/net/tun', O_RDWR | O_NONBLOCK);
  const request = Buffer.alloc(40);
  request.write(name, 'latin1');
  request.writeUInt16LE(IFF_TUN_WITHOUT_HEADER, 16);
  if (fd < 0 || ioctl(fd, TUNSETIFF, request) !== 0)
    throw new Error(`no TUN device ${name}: errno ${koffi.errno()}, expected root and /dev/net/tun`);
  return fd;
}

/** Mulberry32: the same faults for the same packets and seed. */
function createRandom(state: number): () => number {
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const random = createRandom(Number(seed));
const happens = (percent = 0) => random() * 100 < percent;
let faults: Faults = {};

/** As netem does it: a packet that overtakes others is one that is not delayed. */
function carry(packet: Buffer, to: number): void {
  if (happens(faults.lossPercent)) return;
  if (happens(faults.corruptPercent)) flipOneBit(packet);
  for (let copies = happens(faults.duplicatePercent) ? 2 : 1; copies > 0; copies -= 1) {
    const delayMs = (faults.delayMs ?? 0) + (faults.jitterMs ?? 0) * (2 * random() - 1);
    if (delayMs < 1 || happens(faults.reorderPercent)) write(to, packet, packet.length);
    else setTimeout(write, delayMs, to, packet, packet.length);
  }
}

function flipOneBit(packet: Buffer): void {
  const from = headerLength[packet.readUInt8(0) >> 4] ?? 0;
  const at = from + Math.floor(random() * (packet.length - from));
  packet.writeUInt8(packet.readUInt8(at) ^ (1 << Math.floor(random() * 8)), at);
}

const buffer = Buffer.alloc(65_536);
function drain(from: number, to: number): void {
  for (;;) {
    const length = Number(read(from, buffer, buffer.length));
    if (length <= 0) return;
    carry(Buffer.from(buffer.subarray(0, length)), to);
  }
}

const first = openDevice(firstName);
const second = openDevice(secondName);
const watched = Buffer.alloc(16);
for (const [index, fd] of [first, second].entries()) {
  watched.writeInt32LE(fd, 8 * index);
  watched.writeInt16LE(POLLIN, 8 * index + 4);
}
function forward(): void {
  drain(first, second);
  drain(second, first);
  poll.async(watched, 2, -1, forward);
}
forward();
createInterface({ input: process.stdin })
  .on('line', (line) => {
    const [number = '', text = ''] = line.split(/ (.*)/);
    faults = JSON.parse(text);
    console.log(number);
  })
  .on('close', () => process.exit());
console.log('ready');
