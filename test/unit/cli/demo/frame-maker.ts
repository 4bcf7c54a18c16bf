export interface Segment {
  readonly payload?: string;
  readonly sequence?: number;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  /** FIN is 1, RST 4, ACK 16. */
  readonly flags?: number;
  readonly ipOptionBytes?: number;
  readonly tcpOptionBytes?: number;
}

/** An Ethernet frame with a TCP segment over IPv4; checksums are left out. */
export function tcpV4(segment: Segment): Buffer {
  const tcp = tcpSegment(segment);
  const ip = Buffer.alloc(20 + (segment.ipOptionBytes ?? 0));
  ip.writeUInt8(0x40 | (ip.length / 4), 0);
  ip.writeUInt16BE(ip.length + tcp.length, 2);
  ip.writeUInt8(6, 9);
  ip.set([10, 77, 0, 11, 10, 77, 0, 12], 12);
  return Buffer.concat([ethernet(0x0800), ip, tcp]);
}

/** The same over IPv6. */
export function tcpV6(segment: Segment): Buffer {
  const tcp = tcpSegment(segment);
  const ip = Buffer.alloc(40);
  ip.writeUInt8(0x60, 0);
  ip.writeUInt16BE(tcp.length, 4);
  ip.writeUInt8(6, 6);
  ip.writeUInt8(0x11, 23);
  ip.writeUInt8(0x12, 39);
  return Buffer.concat([ethernet(0x86dd), ip, tcp]);
}

function ethernet(type: number): Buffer {
  const header = Buffer.alloc(14);
  header.writeUInt16BE(type, 12);
  return header;
}

function tcpSegment(segment: Segment): Buffer {
  const { payload = '', sequence = 1, sourcePort = 40_000, destinationPort = 80, flags = 0x10 } = segment;
  const header = Buffer.alloc(20 + (segment.tcpOptionBytes ?? 0));
  header.writeUInt16BE(sourcePort, 0);
  header.writeUInt16BE(destinationPort, 2);
  header.writeUInt32BE(sequence, 4);
  header.writeUInt8((header.length / 4) << 4, 12);
  header.writeUInt8(flags, 13);
  return Buffer.concat([header, Buffer.from(payload)]);
}
