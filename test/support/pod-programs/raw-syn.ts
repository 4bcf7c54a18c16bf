/**
 * Sends one TCP SYN that no TCP socket has made: `ip 10.77.0.2 10.77.0.3 8080` through a raw IP socket, `packet …`
 * through a packet socket on the interface with index `IFINDEX`, the last argument. Needs CAP_NET_RAW.
 */
import koffi from 'koffi';

const AF_INET = 2;
const AF_PACKET = 17;
const SOCK_DGRAM = 2;
const SOCK_RAW = 3;
const IPPROTO_RAW = 255;
const IPPROTO_TCP = 6;
const ETH_P_IP = 0x0800;

const [kind = '', source = '', destination = '', port = '', interfaceIndex = ''] = process.argv.slice(2);
const bytesOf = (ip: string) => ip.split('.').map(Number);

/** The checksum of the IP header is the sum of its words, so that a router believes it. */
function ipChecksum(header: Buffer): number {
  let sum = 0;
  for (let i = 0; i < 20; i += 2) sum += header.readUInt16BE(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

const packet = Buffer.alloc(40);
packet.writeUInt16BE(0x4500, 0);
packet.writeUInt16BE(packet.length, 2);
packet[8] = 64;
packet[9] = IPPROTO_TCP;
packet.set([...bytesOf(source), ...bytesOf(destination)], 12);
packet.writeUInt16BE(ipChecksum(packet), 10);
packet.writeUInt16BE(40000, 20);
packet.writeUInt16BE(Number(port), 22);
packet.writeUInt16BE(0x5002, 32);
packet.writeUInt16BE(0xffff, 34);

const address = Buffer.alloc(20);
if (kind === 'ip') {
  address.writeUInt16LE(AF_INET, 0);
  address.set(bytesOf(destination), 4);
} else {
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16BE(ETH_P_IP, 2);
  address.writeInt32LE(Number(interfaceIndex), 4);
  address[11] = 6;
  address.fill(0xff, 12, 18);
}

const libc = koffi.load(null);
const openSocket = libc.func('int socket(int domain, int type, int protocol)');
const sendTo = libc.func(
  'intptr_t sendto(int fd, const uint8_t *data, size_t length, int flags, const uint8_t *to, uint32_t toLength)',
);
const fd = kind === 'ip' ? openSocket(AF_INET, SOCK_RAW, IPPROTO_RAW) : openSocket(AF_PACKET, SOCK_DGRAM, 0);
const sent = Number(sendTo(fd, packet, packet.length, 0, address, kind === 'ip' ? 16 : 20));
if (sent !== packet.length) throw new Error(`sendto() failed with errno ${koffi.errno()}`);
process.stdout.write('sent\n');
