/**
 * What a captured Ethernet frame carries. Lengths come from the IP header, so that the padding of short frames does not
 * count; a header that makes no sense leaves the frame `other`, which is searched as a whole.
 */
export type Frame =
  | {
      readonly kind: 'tcp';
      /** The same for every segment of one direction of one connection. */
      readonly flow: string;
      readonly sourcePort: number;
      readonly destinationPort: number;
      readonly sequence: number;
      readonly isLast: boolean;
      readonly payload: Buffer;
    }
  | { readonly kind: 'other'; readonly bytes: Buffer };

const etherTypes = { ipv4: 0x0800, ipv6: 0x86dd } as const;
const etherHeaderBytes = 14;
const ipv6HeaderBytes = 40;
const protocolTcp = 6;
const FIN_OR_RST = 0x05;

/** Where the TCP segment of an IP packet lies, and whose it is. */
interface Segment {
  readonly addresses: Buffer;
  readonly bytes: Buffer;
}

/** Parses one frame; never throws. */
export function readFrame(bytes: Buffer): Frame {
  const segment = segmentOf(bytes);
  return (segment && tcpFrame(segment)) ?? { kind: 'other', bytes };
}

function segmentOf(frame: Buffer): Segment | undefined {
  if (frame.length < etherHeaderBytes) return undefined;
  const packet = frame.subarray(etherHeaderBytes);
  switch (frame.readUInt16BE(12)) {
    case etherTypes.ipv4:
      return ipv4Segment(packet);
    case etherTypes.ipv6:
      return ipv6Segment(packet);
    default:
      return undefined;
  }
}

function ipv4Segment(packet: Buffer): Segment | undefined {
  if (packet.length < 20 || packet.readUInt8(9) !== protocolTcp) return undefined;
  const headerBytes = (packet.readUInt8(0) & 0x0f) * 4;
  return {
    addresses: packet.subarray(12, 20),
    bytes: packet.subarray(headerBytes, packet.readUInt16BE(2) || undefined),
  };
}

/** Extension headers are not followed: nothing here sends them, and such a frame is searched as a whole. */
function ipv6Segment(packet: Buffer): Segment | undefined {
  if (packet.length < ipv6HeaderBytes || packet.readUInt8(6) !== protocolTcp) return undefined;
  const length = packet.readUInt16BE(4);
  const end = length === 0 ? undefined : ipv6HeaderBytes + length;
  return { addresses: packet.subarray(8, ipv6HeaderBytes), bytes: packet.subarray(ipv6HeaderBytes, end) };
}

function tcpFrame({ addresses, bytes }: Segment): Frame | undefined {
  if (bytes.length < 20) return undefined;
  const headerBytes = (bytes.readUInt8(12) >> 4) * 4;
  if (headerBytes < 20 || headerBytes > bytes.length) return undefined;
  return {
    kind: 'tcp',
    flow: addresses.toString('latin1') + bytes.toString('latin1', 0, 4),
    sourcePort: bytes.readUInt16BE(0),
    destinationPort: bytes.readUInt16BE(2),
    sequence: bytes.readUInt32BE(4),
    isLast: (bytes.readUInt8(13) & FIN_OR_RST) !== 0,
    payload: bytes.subarray(headerBytes),
  };
}
