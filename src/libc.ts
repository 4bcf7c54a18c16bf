import { isIPv4, Socket, SocketAddress } from 'node:net';
import { endianness } from 'node:os';
import koffi from 'koffi';
import type { Address } from './addresses.ts';
import { canonicalIp } from './addresses.ts';

/**
 * The few calls of the C library that Node.js has no words for; the only place that loads native code. Linux only;
 * numbers are those of the kernel's headers, which every architecture that Remora ships for shares.
 */
const libc = koffi.load(null);
const getsockopt = libc.func(
  'int getsockopt(int fd, int level, int name, _Out_ uint8_t *value, _Inout_ uint32_t *length)',
);
const setsockopt = libc.func('int setsockopt(int fd, int level, int name, const uint8_t *value, uint32_t length)');
const openSocket = libc.func('int socket(int domain, int type, int protocol)');
const bindSocket = libc.func('int bind(int fd, const uint8_t *address, uint32_t length)');
const controlDevice = libc.func('int ioctl(int fd, unsigned long request, _Out_ int *value)');
const closeDescriptor = libc.func('int close(int fd)');
const setProcessAttribute = libc.func('int prctl(int option, uint64_t value, uint64_t _3, uint64_t _4, uint64_t _5)');
const trimHeap = libc.func('int malloc_trim(size_t keep)');
const lockDescriptor = libc.func('int flock(int fd, int operation)');
const receive = libc.func('intptr_t recv(int fd, _Out_ uint8_t *buffer, size_t length, int flags)');

const AF_INET = 2;
const AF_INET6 = 10;
const AF_PACKET = 17;
const SOCK_STREAM = 1;
const SOCK_RAW = 3;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_ERROR = 4;
const SO_LINGER = 13;
const SO_RCVBUFFORCE = 33;
const IPPROTO_IP = 0;
const IPPROTO_TCP = 6;
const IPPROTO_IPV6 = 41;
const SO_ORIGINAL_DST = 80;
const IP_BIND_ADDRESS_NO_PORT = 24;
const TCP_INFO = 11;
const ETH_P_ALL = 3;
const SIOCOUTQ = 0x5411;
const MSG_TRUNC = 0x20;
const PR_SET_DUMPABLE = 4;
const LOCK_EX = 2;
const LOCK_NB = 4;
const EAGAIN = 11;
const EPIPE = 32;

/** Lengths of sockaddr_in and sockaddr_in6. */
const sockaddrLength = { v4: 16, v6: 28 } as const;

/** A call of the C library that failed; `errno` is the kernel's number. */
export class SystemCallError extends Error {
  readonly errno: number;

  constructor(call: string) {
    const errno = koffi.errno();
    super(`${call} failed with errno ${errno}`);
    this.name = 'SystemCallError';
    this.errno = errno;
  }
}

/** The descriptor of a connected socket; undefined once it is closed. */
function descriptorOf(socket: Socket): number | undefined {
  const handle = (socket as unknown as { _handle?: { fd?: number } | null })._handle;
  return handle?.fd !== undefined && handle.fd >= 0 ? handle.fd : undefined;
}

const sockaddr = new Uint8Array(sockaddrLength.v6);
const sockaddrView = new DataView(sockaddr.buffer);

/**
 * Where a redirected connection was going before the rules turned it to us (SO_ORIGINAL_DST). Undefined when the kernel
 * does not know: no connection tracking, or the socket is closed. A connection that was not redirected answers its own
 * local address. Must be called on the raw socket, before any TLS.
 */
export function originalDestination(socket: Socket): Address | undefined {
  const fd = descriptorOf(socket);
  const local = socket.localAddress;
  if (fd === undefined || local === undefined) return undefined;
  const isV4 = canonicalIp(local)?.includes('.') === true;
  const length = new Uint32Array([isV4 ? sockaddrLength.v4 : sockaddrLength.v6]);
  if (getsockopt(fd, isV4 ? IPPROTO_IP : IPPROTO_IPV6, SO_ORIGINAL_DST, sockaddr, length) !== 0) return undefined;
  const port = sockaddrView.getUint16(2);
  if (isV4) return { ip: sockaddr.subarray(4, 8).join('.'), port };
  const groups = Array.from({ length: 8 }, (_, i) => sockaddrView.getUint16(8 + 2 * i).toString(16));
  const ip = canonicalIp(groups.join(':'));
  return ip === undefined ? undefined : { ip, port };
}

function sockaddrOf(ip: string, port: number): Uint8Array {
  const isV4 = isIPv4(ip);
  const bytes = new Uint8Array(isV4 ? sockaddrLength.v4 : sockaddrLength.v6);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, isV4 ? AF_INET : AF_INET6, endianness() === 'LE');
  view.setUint16(2, port);
  if (isV4) bytes.set(ip.split('.').map(Number), 4);
  else bytes.set(ipv6Bytes(ip), 8);
  return bytes;
}

function ipv6Bytes(ip: string): Uint8Array {
  const [head = '', tail] = new SocketAddress({ address: ip, family: 'ipv6' }).address.split('::');
  const groupsOf = (text: string) => (text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16)));
  const first = groupsOf(head);
  const last = groupsOf(tail ?? '');
  const groups = [...first, ...new Array<number>(8 - first.length - last.length).fill(0), ...last];
  return Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff]));
}

/**
 * A TCP socket bound to `ip`, its source port chosen by the kernel only when it connects (IP_BIND_ADDRESS_NO_PORT). A
 * source port is then used again for another destination, where `net.connect({ localAddress })` would take one for the
 * whole pod and run out. IPv4 only gains by it. Throws `SystemCallError` when the address is not one of this host.
 */
export function socketBoundTo(ip: string): Socket {
  const fd = openSocket(isIPv4(ip) ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) as number;
  if (fd < 0) throw new SystemCallError('socket()');
  const one = new Uint8Array(new Int32Array([1]).buffer);
  const address = sockaddrOf(ip, 0);
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, one, one.length);
  if (bindSocket(fd, address, address.length) !== 0) {
    const error = new SystemCallError(`bind(${ip})`);
    closeDescriptor(fd);
    throw error;
  }
  return new Socket({ fd, allowHalfOpen: true });
}

/** struct linger: on, and no time to linger; and off. */
const noLinger = new Uint8Array(new Int32Array([1, 0]).buffer);
const linger = new Uint8Array(new Int32Array([0, 0]).buffer);

/**
 * Makes the kernel answer with a reset when the socket is closed, whatever it is doing until then (SO_LINGER, socket(7)).
 * Node.js can do it as well, but fails while the socket is ending, and then never closes it.
 */
export function resetOnClose(socket: Socket): void {
  const fd = descriptorOf(socket);
  if (fd !== undefined) setsockopt(fd, SOL_SOCKET, SO_LINGER, noLinger, noLinger.length);
}

/** Undoes `resetOnClose`: when the socket is closed, the kernel delivers what was written and says the end. */
export function finishOnClose(socket: Socket): void {
  const fd = descriptorOf(socket);
  if (fd !== undefined) setsockopt(fd, SOL_SOCKET, SO_LINGER, linger, linger.length);
}

/**
 * What the peer of a socket has done, as far as the kernel knows. `ended`: its end is here, and all of its bytes are here
 * or read already, whatever becomes of it afterwards; also for a socket that is closed. `cut`: gone without an end; reset the
 * socket then.
 */
export type PeerState = 'open' | 'ended' | 'cut';

/** States of include/net/tcp_states.h. */
const TCP_TIME_WAIT = 6;
const TCP_CLOSE = 7;
const TCP_CLOSE_WAIT = 8;
const TCP_LAST_ACK = 9;
const TCP_CLOSING = 11;
const statesAfterPeersEnd: ReadonlySet<number> = new Set([TCP_TIME_WAIT, TCP_CLOSE_WAIT, TCP_LAST_ACK, TCP_CLOSING]);

const tcpState = new Uint8Array(1);
const socketError = new Uint32Array(1);
const socketErrorBytes = new Uint8Array(socketError.buffer);

/**
 * Asks the kernel, about 1 µs, without reading: Node.js does not hear of a peer that goes away while a socket is paused. The
 * first byte of TCP_INFO is the state. CLOSE is also where a connection comes to in which both sides have ended, with bytes
 * to read; an error tells the two apart, and EPIPE is that of a reset behind the peer's end.
 *
 * To ask for the error takes it away, and what is read of a socket that was cut would then come to an end as if nothing had
 * happened: hence the duty to reset it.
 */
export function peerStateOf(socket: Socket): PeerState {
  const fd = descriptorOf(socket);
  if (fd === undefined) return 'ended';
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, tcpState, new Uint32Array([1])) !== 0) return 'open';
  const state = tcpState[0] ?? 0;
  if (state !== TCP_CLOSE) return statesAfterPeersEnd.has(state) ? 'ended' : 'open';
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, socketErrorBytes, new Uint32Array([4])) !== 0) return 'open';
  return socketError[0] === 0 || socketError[0] === EPIPE ? 'ended' : 'cut';
}

const unsent = new Int32Array(1);

/** Bytes that were written to a socket and that its peer has not acknowledged (SIOCOUTQ, tcp(7)); 0 once it is closed. */
export function unsentBytes(socket: Socket): number {
  const fd = descriptorOf(socket);
  return fd !== undefined && controlDevice(fd, SIOCOUTQ, unsent) === 0 ? (unsent[0] ?? 0) : 0;
}

/**
 * Keeps the memory of this process to itself: no core dump, whatever collects them, and no other process of the same user
 * reads it (PR_SET_DUMPABLE, prctl(2)). Until the next execve(2).
 */
export function hideMemory(): void {
  setProcessAttribute(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

/** Gives back to the kernel what is free in the heap of the C library (malloc_trim(3)), where buffers lie; 0.2 to 7 ms. */
export function returnFreeMemory(): void {
  trimHeap(0);
}

/**
 * Takes the lock of an open file or folder (flock(2)) and says whether it has it now; false while somebody else has. It
 * ends with the descriptor, so also with the process. Throws `SystemCallError` where the file system has no locks.
 */
export function tryLock(fd: number): boolean {
  if (lockDescriptor(fd, LOCK_EX | LOCK_NB) === 0) return true;
  if (koffi.errno() === EAGAIN) return false;
  throw new SystemCallError('flock()');
}

/** Every frame that this network namespace sees on one link, from the moment it is opened. Needs CAP_NET_RAW. */
export interface PacketCapture {
  /** All frames since the last call, each whole; returns at once. */
  drain(): Buffer[];
  close(): void;
}

/** Opens a packet(7) socket on the interface with this index; throws `SystemCallError`. */
export function captureLink(interfaceIndex: number): PacketCapture {
  const protocol = new DataView(new ArrayBuffer(2));
  protocol.setUint16(0, ETH_P_ALL);
  const networkOrder = protocol.getUint16(0, endianness() === 'LE');
  const fd = openSocket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, networkOrder) as number;
  if (fd < 0) throw new SystemCallError('socket(AF_PACKET)');
  const size = new Uint8Array(new Int32Array([64 * 1024 * 1024]).buffer);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, size, size.length);
  const address = new DataView(new ArrayBuffer(20));
  address.setUint16(0, AF_PACKET, endianness() === 'LE');
  address.setUint16(2, ETH_P_ALL);
  address.setInt32(4, interfaceIndex, endianness() === 'LE');
  if (bindSocket(fd, new Uint8Array(address.buffer), 20) !== 0) {
    const error = new SystemCallError('bind(AF_PACKET)');
    closeDescriptor(fd);
    throw error;
  }
  const buffer = Buffer.alloc(256 * 1024);
  return {
    drain() {
      const frames: Buffer[] = [];
      for (;;) {
        const length = Number(receive(fd, buffer, buffer.length, MSG_TRUNC));
        if (length < 0 && koffi.errno() === EAGAIN) return frames;
        if (length < 0) throw new SystemCallError('recv(AF_PACKET)');
        frames.push(Buffer.from(buffer.subarray(0, Math.min(length, buffer.length))));
      }
    },
    close: () => void closeDescriptor(fd),
  };
}
